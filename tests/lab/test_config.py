"""Settings: an error names the key, what was expected and what was found; flags win over YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from allroads.errors import ConfigError
from allroads.lab.config import CompareConfig, build_config, load_yaml, recipe_for
from tests.lab import tiny


def refused(**fields: Any) -> str:
    with pytest.raises(ConfigError) as error:
        build_config(fields, origin="x.yaml")
    message = str(error.value)
    assert "\n" not in message
    return message


def routes(**fields: Any) -> str:
    return refused(world="routes", **fields)


# YAML ---------------------------------------------------------------------------------------------


def yaml_refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_yaml(path)
    return str(error.value)


def test_yaml_errors_name_the_file_and_the_line(tmp_path: Path):
    path = tmp_path / "x.yaml"
    assert yaml_refused(path, "world: routes\nseeds: [0, 1\nbetas: [1]\n").startswith(
        f"--config {path}, line 3: not YAML: "
    )
    assert yaml_refused(path, "world: routes\n\tseeds: 3\n").startswith(f"--config {path}, line 2")
    assert yaml_refused(path, "a: b: c\n").startswith(f"--config {path}, line 1")
    assert yaml_refused(path, "- routes\n") == (
        f"--config {path}: expected a mapping of settings, found ['routes']"
    )
    assert yaml_refused(path, "") == f"--config {path}: expected a mapping of settings, found None"
    with pytest.raises(ConfigError, match=r"absent\.yaml: No such file or directory"):
        load_yaml(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_yaml(tmp_path)


def test_yaml_is_what_the_fields_are(tmp_path: Path):
    (tmp_path / "x.yaml").write_text(
        "world: routes\nseeds: [4]\nbetas: [1]\nsizes:\n  pairs: 7\n"
        "recipe:\n  sft:\n    epochs: 3\n"
    )
    config = build_config(load_yaml(tmp_path / "x.yaml"))
    assert (config.seeds, config.betas, config.sizes.pairs) == ((4,), (1.0,), 7)
    assert config.recipe is not None
    assert config.recipe.sft.epochs == 3


# Unknown keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sede": [1]}, "x.yaml: unknown key 'sede': did you mean 'seeds'?"),
        ({"beta": [1]}, "x.yaml: unknown key 'beta': did you mean 'betas'?"),
        (
            {"sizes": {"demonstratons": 5}},
            "x.yaml: unknown key 'sizes.demonstratons': did you mean 'demonstrations'?",
        ),
        (
            {"recipe": {"sft": {"learning_rte": 1}}},
            "x.yaml: unknown key 'recipe.sft.learning_rte': did you mean 'learning_rate'?",
        ),
        (
            {"recipe": {"sftt": {}}},
            "x.yaml: unknown key 'recipe.sftt': did you mean 'sft'?",
        ),
        (
            {"world_options": {"twons": 20}},
            "unknown key 'world_options.twons': did you mean 'towns'?",
        ),
        (
            {"custom": [{"name": "r", "stages": [], "sumary": ""}]},
            "x.yaml: unknown key 'custom.0.sumary': did you mean 'summary'?",
        ),
        (
            {
                "custom": [
                    {
                        "name": "r",
                        "stages": [
                            {
                                "name": "sft",
                                "source": {"who": "demonstrations", "refesh": "once"},
                                "objective": {"loss": "likelihood"},
                            }
                        ],
                    }
                ]
            },
            "x.yaml: unknown key 'custom.0.stages.0.source.refesh': did you mean 'refresh'?",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(fields: dict[str, Any], message: str):
    if "custom" in fields and "summary" in message:
        fields["custom"][0]["stages"] = [tiny_stage()]
    assert routes(**fields) == message


def tiny_stage() -> dict[str, Any]:
    return {
        "name": "sft",
        "source": {"who": "demonstrations"},
        "objective": {"loss": "likelihood"},
    }


def test_a_key_that_is_like_none_gets_the_whole_list():
    message = routes(zzz=1)
    assert message.startswith("x.yaml: unknown key 'zzz': valid: base, betas, ") or (
        "valid: " in message and "betas" in message
    )


# Values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seeds": []}, "seeds: Tuple should have at least 1 item"),
        ({"seeds": ["a"]}, "seeds.0: Input should be a valid integer"),
        ({"seeds": [0, 0]}, "--seeds: a value is given twice: [0, 0]"),
        ({"ns": [2, 2]}, "--n: a value is given twice: [2, 2]"),
        ({"betas": [1, 1]}, "--betas: a value is given twice: [1.0, 1.0]"),
        (
            {"roads": ["dpo", "sft", "dpo"]},
            "--roads: a value is given twice: ['dpo', 'sft', 'dpo']",
        ),
        ({"betas": [-1]}, "--betas: each must be positive, got [-1.0]"),
        ({"betas": [float("nan")]}, "--betas: each must be positive, got [nan]"),
        ({"ns": [64]}, "--n: each must lie between 1 and the pool of 32 samples, got [64]"),
        ({"ns": [4], "pool": 2}, "--n: each must lie between 1 and the pool of 2 samples, got [4]"),
        ({"ns": [0]}, "--n: each must lie between 1 and the pool of 32 samples, got [0]"),
        ({"start": "base"}, "--start base: a world's pairs are samples of its SFT policy, so its"),
        ({"start": "sft-chosen"}, "--start sft-chosen: a world's pairs are samples"),
        ({"model": "m"}, "--world brings its own model and demonstrations; leave them out"),
        ({"grader": "tf-idf"}, "--grader tf-idf: a world knows the truth; leave it out"),
        ({"data": "d"}, "give either --data FILE --model DIR (your own) or --world routes"),
        ({"policies": {"sft": "d"}}, "--policy sft: a road has that name; choose another"),
        ({"temperature": 0}, "temperature: Input should be greater than 0, found 0"),
        ({"margin": 0}, "margin: Input should be greater than 0, found 0"),
        ({"max_length": 7}, "max_length: Input should be greater than or equal to 8, found 7"),
        ({"samples_per_prompt": 0}, "samples_per_prompt: Input should be greater than or equal"),
        ({"snapshots": -1}, "snapshots: Input should be greater than or equal to 0, found -1"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds: Input should be greater than or equal"),
        ({"over_long": "cut"}, "over_long: Input should be 'drop', 'truncate' or 'raise', found"),
        ({"on_bad_row": "skip"}, "on_bad_row: Input should be 'drop' or 'raise', found 'skip'"),
        ({"device": "tpu"}, "device: Input should be 'auto', 'cpu', 'cuda' or 'mps', found 'tpu'"),
        ({"recipe": {"sft": {"epochs": 0}}}, "recipe.sft.epochs: Input should be greater than or"),
        ({"sizes": 3}, "sizes: Input should be a valid dictionary or instance of WorldSizes"),
    ],
)
def test_a_value_that_cannot_be_is_named(fields: dict[str, Any], message: str):
    assert message in routes(**fields)


def test_data_needs_a_model_and_one_of_data_and_world_is_needed():
    assert refused(data="d") == "--data needs --model DIR, the base model that the roads start from"
    assert "found data = None, world = None" in refused()


def test_an_illegal_road_of_ones_own_is_refused_as_a_built_in_would_be():
    stage = {**tiny_stage(), "labeller": "data"}
    assert routes(custom=[{"name": "r", "stages": [stage]}]) == (
        "stage 'sft': source 'demonstrations' is labelled by 'none', found 'data'"
    )


# What is left open --------------------------------------------------------------------------------


def test_defaults_depend_on_what_is_compared():
    world, files = build_config({"world": "routes"}), build_config({"data": "d", "model": "m"})
    # A world is small and its truth is known: more settings, moments, prompts and samples.
    for name in ("betas", "snapshots", "eval_prompts", "pool", "token_budget"):
        more, fewer = getattr(world, name), getattr(files, name)
        if name == "betas":
            more, fewer = len(more), len(fewer)
        assert more > fewer > 0, name
        # What is asked for is what is done, and 0 asks for the default.
        if name != "betas":
            assert getattr(build_config({"world": "routes", "ns": [2], name: 3}), name) == 3
            assert getattr(build_config({"world": "routes", name: 0}), name) == more
    assert (world.start_stage, files.start_stage) == ("sft", "sft-chosen")
    on_cuda = build_config({"data": "d", "model": "m", "device": "cuda", "demonstrations": "s"})
    assert (on_cuda.token_budget, on_cuda.start_stage) == (32768, "sft")
    assert build_config({"data": "d", "model": "m", "start": "base"}).start_stage == "base"


def test_what_is_written_down_is_read_back_the_same():
    """The manifest holds the configuration; `report` builds it from there."""
    config = tiny.config(custom=[{"name": "r", "stages": [tiny_stage()]}], policies={"a": "b"})
    assert CompareConfig.model_validate(config.model_dump(mode="json")) == config


def test_rates_fall_with_the_width():
    narrow, wide = recipe_for(64), recipe_for(2048)
    for name in ("sft", "reward", "policy", "online"):
        assert getattr(narrow, name).learning_rate == pytest.approx(
            32 * getattr(wide, name).learning_rate
        )
    assert wide.sft.learning_rate == 2e-5


def test_settings_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        tiny.config().seeds = (1,)  # type: ignore[misc]
