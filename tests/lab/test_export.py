"""Cards beside checkpoints, and exported folders: plain transformers gives what we measured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import allroads
from allroads import files
from allroads.errors import ConfigError, RunFolderError
from allroads.lab.compare import reopen
from allroads.lab.workshop import Workshop
from allroads.models.reward_model import load_reward_model
from allroads.models.states import Rows
from allroads.rollouts.sampler import sample
from tests.lab import tiny
from tests.words import save_model, write_preferences

ROADS = ["dpo", "best-of-n", "best-of-n-local"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of the tiny world at two prices. Do not write into it."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    allroads.compare(out=folder, config=tiny.config(roads=ROADS, betas=[0.5, 0.2]))
    return folder


@pytest.fixture
def altered(run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "altered"
    shutil.copytree(run, folder)
    return folder


def points(run: Path, road: str) -> list[dict[str, Any]]:
    return [p for p in files.read_json(run / "results.json")["points"] if p["road"] == road]


def job_of(run: Path, name: str, beta: float | None = None) -> str:
    label = name if beta is None else f"{name}-b{beta:g}"
    (path,) = run.glob(f"checkpoints/{label}-s0-????????")
    return path.name


def prefer(run: Path, road: str, value: float | None, fraction: float) -> None:
    """Make the selection scorer have liked one point most."""
    results = files.read_json(run / "results.json")
    for point in results["points"]:
        if point["road"] == road:
            liked = point["value"] == value and point["fraction"] == fraction
            point["selection"], point["selected"] = (9.0 if liked else 0.0), liked
    files.write_json(run / "results.json", results)


def same(left: Path, right: Path) -> bool:
    """Whether two files hold the same weights."""
    a, b = load_file(left), load_file(right)
    return all(torch.equal(a[name], b[name]) for name in a.keys() & b.keys()) and len(a) > 3


def greedy(folder: Path, prompts: list[tuple[int, ...]]) -> list[list[int]]:
    """Token by token through plain transformers, each prompt alone."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    out = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, temperature=None,
            top_p=None, top_k=None,
        )  # fmt: skip
        out.append(made[0, len(prompt) :].tolist())
    return out


def ours(run: Path, job: str, count: int = 12) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    _, config, settings, plan = reopen(run)
    shop = Workshop(run, config, settings)
    needs = [name for name, one in plan.jobs.items() if one.kind == "pairs"]
    prompts = shop.dataset(needs, 0).prompts["test"][:count]
    drawn = sample(
        shop.policy(job, 0), prompts, per_prompt=1, temperature=0,
        max_new_tokens=settings.max_new_tokens, seed=(0, "test"),
    )  # fmt: skip
    return [p.tokens for p in prompts], [list(group[0].tokens) for group in drawn]


# Export -------------------------------------------------------------------------------------------


def test_the_exported_policy_writes_what_our_sampler_writes(run: Path, tmp_path: Path):
    out = allroads.export(run, job_of(run, "dpo", 0.5), out=tmp_path / "model")
    prompts, expected = ours(run, job_of(run, "dpo", 0.5))
    assert greedy(out, prompts) == expected
    assert len({tuple(answer) for answer in expected}) > 1, "it says more than one thing"
    assert AutoTokenizer.from_pretrained(out).eos_token_id == 0
    card = (out / "README.md").read_text()
    assert "- weights: at 100% of the training" in card


def test_a_base_models_own_generation_settings_do_not_come_along(tmp_path: Path):
    """On files: penalties and other ends of sequence would change what was measured."""
    data, model = write_preferences(tmp_path / "pairs.jsonl", 300), save_model(tmp_path / "tiny")
    (model / "generation_config.json").write_text(
        json.dumps({"repetition_penalty": 1.9, "eos_token_id": [3, 4], "do_sample": False})
    )
    short = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3}
    recipe = {"sft": short, "reward": short, "policy": short, "online": short}
    path = allroads.train(
        "dpo", out=tmp_path / "run", value=0.1, data=str(data), model=str(model), processes=1,
        recipe={**recipe, "reading": "head-last"}, snapshots=1,
    )  # fmt: skip
    out = allroads.export(tmp_path / "run", "dpo", out=tmp_path / "out")
    assert same(out / "model.safetensors", path / "model.safetensors")
    eos = files.read_json(tmp_path / "run" / "manifest.json")["settings"]["eos_id"]
    made = files.read_json(out / "generation_config.json")
    assert made["eos_token_id"] == eos
    assert "repetition_penalty" not in made
    prompts, expected = ours(tmp_path / "run", path.parent.name)
    assert greedy(out, prompts) == expected
    header = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert (header["base_model"], header["datasets"]) == ("tiny", ["pairs.jsonl"])
    assert str(tmp_path) not in (out / "README.md").read_text().split("## How it was made")[0]


def test_a_road_is_exported_at_its_selected_setting(altered: Path, tmp_path: Path):
    for beta in (0.5, 0.2):
        prefer(altered, "dpo", beta, 1.0)
        out = allroads.export(altered, "dpo", out=tmp_path / f"{beta:g}")
        model = altered / "checkpoints" / job_of(altered, "dpo", beta) / "model"
        assert same(out / "model.safetensors", model / "model.safetensors")


def test_the_selected_moment_need_not_be_the_last(altered: Path, tmp_path: Path):
    prefer(altered, "dpo", 0.2, 0.5)
    out = allroads.export(altered, "dpo", out=tmp_path / "half")
    folder = altered / "checkpoints" / job_of(altered, "dpo", 0.2)
    assert same(out / "model.safetensors", folder / "snapshots" / "1.safetensors")
    assert not same(out / "model.safetensors", folder / "model" / "model.safetensors")
    assert "- weights: at 50% of the training" in (out / "README.md").read_text()
    AutoModelForCausalLM.from_pretrained(out)
    # A setting that was asked for is taken at its own best moment.
    asked = allroads.export(altered, "dpo", beta=0.2, out=tmp_path / "asked")
    assert same(asked / "model.safetensors", out / "model.safetensors")


def test_best_of_n_is_a_policy_and_a_reward_model_side_by_side(run: Path, tmp_path: Path):
    out = allroads.export(run, "best-of-n", out=tmp_path / "pair")
    assert {path.name for path in out.iterdir()} == {"README.md", "policy", "reward-model"}
    for name, job in (("policy", "sft"), ("reward-model", "reward-model")):
        model = run / "checkpoints" / job_of(run, job) / "model" / "model.safetensors"
        assert same(out / name / "model.safetensors", model)
    card = (out / "README.md").read_text()
    assert "draw N completions" in card
    assert "N here: 2." in card


def test_the_cards_own_code_scores_as_we_do(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The printed program is run: it needs no allroads, and it gives our rewards."""
    out = allroads.export(run, "reward-model", out=tmp_path / "scorer")
    monkeypatch.chdir(out)
    (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    made: dict[str, Any] = {}
    exec(code, made)
    assert "allroads." not in code.replace("allroads.json", "")
    rows = Rows([(3, 4, 5), (6, 7)], [(8, 9, 0), (10, 0)])
    model = load_reward_model(out, dtype=torch.float32, device=torch.device("cpu"))
    with torch.no_grad():
        expected = model.scores(rows).tolist()
    pairs = zip(rows.prompts, rows.completions, strict=True)
    got = [made["reward"](list(p), list(c)) for p, c in pairs]
    assert got == pytest.approx(expected, abs=1e-5)
    assert model.reading == "sum"
    assert model.offset != 0


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("dpoo", {}, "did you mean 'dpo'?"),
        ("dpo", {"beta": 3.0}, "--beta 3: the run has 'dpo' at 0.5, 0.2"),
        ("dpo", {"n": 2}, "--n 2: 'dpo' has no such setting"),
        ("best-of-n", {"beta": 0.5}, "--beta 0.5: 'best-of-n' has no such setting"),
        ("dpo", {"seed": 4}, "--seed 4: the run's seeds are [0]"),
        ("best-of-n-local", {}, "is scored by the implicit reward of local-rm"),
    ],
)
def test_what_cannot_be_exported_is_said(
    run: Path, tmp_path: Path, what: str, options: dict[str, Any], said: str
):
    with pytest.raises(ConfigError, match=re.escape(said)):
        allroads.export(run, what, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(run: Path, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="expected a new or an empty folder; it holds files"):
        allroads.export(run, "dpo", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    allroads.export(run, "dpo", out=tmp_path / "empty")


def test_what_is_not_finished_or_failed_is_not_exported(altered: Path, tmp_path: Path):
    done = altered / "checkpoints" / job_of(altered, "dpo", 0.5) / "done.json"
    files.write_json(done, {"failed": "the loss became nan"})
    with pytest.raises(RunFolderError, match="could not be trained: the loss became nan"):
        allroads.export(altered, "dpo", beta=0.5, out=tmp_path / "out")
    done.unlink()
    with pytest.raises(RunFolderError, match="is not finished"):
        allroads.export(altered, "dpo", beta=0.5, out=tmp_path / "out")
    (altered / "results.json").unlink()
    with pytest.raises(ConfigError, match="none is selected"):
        allroads.export(altered, "dpo", out=tmp_path / "out")


# Cards --------------------------------------------------------------------------------------------


def cards(run: Path) -> dict[str, bytes]:
    return {p.parents[1].name: p.read_bytes() for p in run.glob("checkpoints/*/model/README.md")}


def test_every_checkpoint_has_a_card_with_its_figures(run: Path):
    found = cards(run)
    assert found.keys() == {path.parent.name for path in run.glob("checkpoints/*/model")}
    for point in points(run, "dpo"):
        if point["fraction"] != 1.0:
            continue
        text = found[job_of(run, "dpo", point["value"])].decode()
        assert f"- dpo, true reward: {point['reward']['value']:.3f} (reward, 0 to 1; " in text
        assert ("selected: yes" in text) == point["selected"]
    text = found[job_of(run, "reward-model")].decode()
    assert "reward-model, pairs ranked right: 0." in text
    assert "for: best-of-n, reward-model" in text


def test_cards_are_a_function_of_the_folder(altered: Path):
    """Lost, stale or never written: collecting the results again gives the same bytes."""
    before = cards(altered)
    for path in altered.glob("checkpoints/*/model/README.md"):
        path.unlink()
    allroads.open_run(altered)
    assert cards(altered) == before


def test_training_alone_leaves_a_card_without_figures(tmp_path: Path):
    path = allroads.train("dpo", out=tmp_path / "run", value=0.5, config=tiny.config())
    text = (path / "README.md").read_text()
    assert "Not evaluated." in text
    assert "- beta: 0.5" in text
    cost = files.read_json(path.parent / "done.json")["cost"]
    assert f"- preference pairs: {cost['labels']}\n" in text
    assert f"- tokens trained: {cost['tokens_trained']:,}\n" in text
    out = allroads.export(tmp_path / "run", "dpo", out=tmp_path / "out")
    assert same(out / "model.safetensors", path / "model.safetensors")
