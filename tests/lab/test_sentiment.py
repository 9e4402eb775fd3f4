"""A comparison on the world of sentiment from end to end: a tiny model, made-up reviews."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allroads import api, files
from allroads.data.worlds import sentiment
from allroads.errors import ConfigError, DataError, ModelError
from allroads.lab.compare import prepare
from allroads.lab.config import CompareConfig, build_config
from allroads.lab.runner import Event
from allroads.records import Results
from tests.lab import tiny
from tests.reviews import OPTIONS, made_up, write_reviews
from tests.words import save_model

ROADS = ["sft", "dpo", "best-of-n", "online-dpo", "rloo"]
SHORT = {"epochs": 1, "learning_rate": 3e-3, "batch_size": 16}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("materials")
    return {
        "world": "sentiment",
        "model": str(save_model(folder / "model", "llama")),
        "world_options": {
            **OPTIONS,
            "reviews": str(write_reviews(folder / "reviews.csv", made_up(820))),
        },
        "sizes": {"demonstrations": 40, "pairs": 48, "selection_pairs": 32, "test_pairs": 32},
        "roads": ROADS,
        "seeds": [0, 1],
        "betas": [0.1],
        "ns": [2],
        "eval_prompts": 20,
        "pool": 8,
        "snapshots": 1,
        "processes": 1,
        "checkpoint_seconds": 0,
        "recipe": {
            "sft": SHORT,
            "reward": SHORT,
            "policy": SHORT,
            "online": {**SHORT, "rounds": 3, "batch_size": 8},
            "reading": "head-last",
            "group": 3,
        },
    }


def config(settings: dict[str, Any], **changes: Any) -> CompareConfig:
    return build_config({**settings, **changes}, origin="test")


Run = tuple[Path, Results]


@pytest.fixture(scope="module")
def run(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Never interrupted. Do not write into it."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    return folder, api.compare(out=folder, config=config(settings))


def test_every_road_has_its_truth_and_its_second_opinion(run: Run):
    folder, results = run
    assert {point.road for point in results.points} == set(ROADS)
    assert results.metric.unit == "log-odds of a positive review"
    assert "fitted on 120 other reviews" in results.metric.check
    assert "both classifiers are fixed" in results.what_seeds_vary
    for point in results.points:
        assert point.check is not None
        assert (point.check.seeds, point.check.prompts) == (2, 20)
        assert point.check.value != point.reward.value
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Second opinion" in page
    assert "by definition of the task" in page


def test_a_completion_of_full_length_is_finished(run: Run):
    _, results = run
    assert all(point.no_eos is None for point in results.points)
    answers = [answer for sample in results.samples for answer in sample.answers]
    assert {answer.tokens for answer in answers} >= {6}
    assert all(answer.finished for answer in answers)
    assert not any("both unfinished" in note for note in results.notes)


def test_the_judges_are_fitted_once_and_kept(
    run: Run, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(run[0], tmp_path / "run")
    for name in ("fit_logistic", "fit_naive_bayes"):
        monkeypatch.setattr(sentiment, name, lambda *_: pytest.fail("fitted again"))
    more = config(settings, roads=[*ROADS, "online-dpo-verifier"])
    grown = api.compare(out=tmp_path / "run", config=more)
    assert {point.road for point in grown.points} == {*ROADS, "online-dpo-verifier"}


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    run: Run, settings: dict[str, Any], tmp_path: Path
):
    """Stopped five times, in the middle of stages."""

    class Stop(Exception):
        pass

    def stop_after(steps: int) -> Callable[[Event], None]:
        def listen(event: Event) -> None:
            nonlocal steps
            steps -= event[0] == "progress" and event[2] < event[3]
            if steps == 0:
                raise Stop

        return listen

    for steps in (2, 4, 3, 7, 2):
        with pytest.raises(Stop):
            api.compare(out=tmp_path / "run", config=config(settings), listener=stop_after(steps))
    results = api.compare(out=tmp_path / "run", config=config(settings))
    assert tiny.trained(tmp_path / "run") == tiny.trained(run[0])
    assert tiny.measured(tmp_path / "run") == tiny.measured(run[0])
    assert results.points == run[1].points


def test_a_gain_that_the_second_opinion_does_not_share_is_noted(run: Run, tmp_path: Path):
    """DPO's answers are made 2 better in truth; the second opinion sees 0.9 of it, or 1.1."""
    for seen, noted in ((0.9, True), (1.1, False)):
        folder = tmp_path / f"{seen}"
        shutil.copytree(run[0], folder)
        for seed in (0, 1):
            (start,) = (folder / "evaluations").glob(f"evaluate-sft-s{seed}-*.json")
            (path,) = (folder / "evaluations").glob(f"evaluate-dpo-beta0.1-s{seed}-*.json")
            first, record = (files.read_json(p)["snapshots"][-1] for p in (start, path))
            record["metric"] = [value + 2 for value in first["metric"]]
            record["check"] = [value + seen for value in first["check"]]
            files.write_json(path, {"snapshots": [record]})
        notes = [note for note in api.open_run(folder).notes if note.startswith("dpo: ")]
        assert len(notes) == noted
        if noted:
            assert "the truth rises by 2.00 over sft, the second opinion by +0.90" in notes[0]


def test_the_report_needs_neither_reviews_nor_model(run: Run, tmp_path: Path):
    shutil.copytree(run[0], tmp_path / "run")
    manifest = files.read_json(tmp_path / "run" / "manifest.json")
    manifest["config"]["model"] = "gone"
    manifest["config"]["world_options"]["reviews"] = "gone.csv"
    files.write_json(tmp_path / "run" / "manifest.json", manifest)
    assert api.open_run(tmp_path / "run").points == run[1].points


# What cannot be -----------------------------------------------------------------------------------


def refused(settings: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(ConfigError) as error:
        config(settings, **changes)
    return str(error.value)


def test_sentiment_needs_a_model_and_brings_its_demonstrations(settings: dict[str, Any]):
    assert refused(settings, model=None).startswith("--world sentiment needs --model DIR")
    assert refused(settings, demonstrations="d") == (
        "--world brings its own demonstrations; leave them out"
    )
    assert refused(settings, world_options={"model": "m"}).startswith(
        "unknown key 'world_options.model': "
    )


def test_what_is_missing_is_found_before_any_training(settings: dict[str, Any]):
    with pytest.raises(ModelError, match="--model nowhere: expected a folder with config"):
        prepare(config(settings, model="nowhere"))
    with pytest.raises(DataError, match=r"world_options\.reviews: no file gone\.csv"):
        prepare(config(settings, world_options={**OPTIONS, "reviews": "gone.csv"}))
    long = {**settings["world_options"], "max_new_tokens": 60}
    with pytest.raises(ModelError, match="needs 66 positions, the model has 64"):
        prepare(config(settings, world_options=long))


def test_each_world_has_its_own_defaults(settings: dict[str, Any]):
    chosen = build_config({"world": "sentiment", "model": "m", "sizes": {"pairs": 7}})
    assert (chosen.sizes.pairs, chosen.sizes.demonstrations) == (7, 1280)
    routes = build_config({"world": "routes", "sizes": {"pairs": 7}})
    assert (routes.sizes.pairs, routes.sizes.demonstrations) == (7, 12000)
    assert chosen.betas != routes.betas
    assert prepare(config(settings, recipe=None)).settings.recipe.reading == "head-mean"
