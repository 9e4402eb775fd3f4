"""A road that cannot be trained is shown as failed; the others are compared all the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from allroads import api
from allroads.errors import TrainingError
from allroads.records import Results
from tests.lab import tiny
from tests.lab.conftest import Straight

RECIPE = tiny.FIELDS["recipe"]
SFT = {
    "name": "sft",
    "source": {"who": "demonstrations"},
    "objective": {"loss": "likelihood"},
    "schedule": RECIPE["sft"],
}
RUNAWAY = {
    "name": "runaway",
    "start": "sft",
    "source": {"who": "pairs"},
    "labeller": "data",
    "objective": {"loss": "bradley-terry", "score": "implicit", "reference": "sft"},
    # The first step throws the weights so far that the second loss is no number.
    "schedule": {"epochs": 2, "learning_rate": 1e30, "warmup": 0},
}
FOLLOWER = {
    "name": "follower",
    "start": "sft",
    "source": {"who": "self", "per_prompt": 2, "refresh": "update"},
    "labeller": "runaway",
    "pick": "two",
    "objective": {"loss": "bradley-terry", "score": "implicit", "reference": "sft"},
    "schedule": {"rounds": 2},
}


def fields(**changes: Any) -> dict[str, Any]:
    custom = [
        {"name": "runaway", "stages": [SFT, RUNAWAY]},
        {"name": "follower", "stages": [SFT, RUNAWAY, FOLLOWER]},
    ]
    return tiny.fields(roads=["dpo", "runaway", "follower"], custom=custom, **changes)


@pytest.fixture(scope="module")
def failed(straight: Straight, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    folder = tmp_path_factory.mktemp("failed") / "run"
    shutil.copytree(straight.folder, folder)
    config = tiny.build_config(fields(), origin="test")
    return folder, api.compare(out=folder, config=config)


def test_failed_roads_are_named_with_the_reason(failed: tuple[Path, Results]):
    _, results = failed
    assert [(f.road, f.knob, f.value, f.seeds) for f in results.failures] == [
        ("runaway", "beta", 0.5, (0,)),
        ("follower", "beta", 0.5, (0,)),
    ]
    for failure in results.failures:
        assert failure.reason.startswith("stage 'runaway': the loss became nan at step 1")
    assert {p.road for p in results.points} == {"sft", "dpo"}
    assert {row.road for row in results.ledger} >= {"sft", "dpo"}
    assert not any("runaway" in row.name for row in results.reward_models)


def test_the_page_shows_them(failed: tuple[Path, Results]):
    folder, _ = failed
    page = (folder / "report.html").read_text("utf-8")
    for road in ("runaway", "follower"):
        assert f"Failed: <bdi>{road} at beta 0.5</bdi>" in page
    assert "the loss became nan at step 1" in page


def test_a_failure_is_not_tried_again(failed: tuple[Path, Results]):
    folder, results = failed
    heard = tiny.Heard()
    config = tiny.build_config(fields(), origin="test")
    again = api.compare(out=folder, config=config, listener=heard)
    assert heard.worked == []
    assert again.failures == results.failures


def test_a_setting_that_failed_with_one_seed_is_left_out_with_all(
    failed: tuple[Path, Results], tmp_path: Path
):
    """Seed 1 alone fails: its result is written by hand where the runner would write it."""
    from allroads import files
    from allroads.lab.compare import prepare, rebuild

    folder = tmp_path / "run"
    shutil.copytree(failed[0], folder)
    config = tiny.config(roads=["dpo"], seeds=[0, 1])
    api.compare(out=folder, config=config)
    (cell,) = [c for c in prepare(config).plan.cells if (c.road, c.seed) == ("dpo", 1)]
    files.write_json(folder / "evaluations" / f"{cell.evaluation}.json", {"failed": "it broke"})
    results = rebuild(folder)
    assert [(f.road, f.seeds, f.reason) for f in results.failures] == [("dpo", (1,), "it broke")]
    assert {p.road for p in results.points} == {"sft"}
    assert "Failed: dpo." in results.verdict.headline


def test_without_the_start_policy_nothing_can_be_compared(tmp_path: Path):
    changed = tiny.fields(roads=["dpo"])
    changed["recipe"]["sft"] = {"learning_rate": 1e30, "warmup": 0, "epochs": 3}
    with pytest.raises(TrainingError, match="stage 'sft': the loss became nan"):
        api.compare(out=tmp_path / "run", config=tiny.build_config(changed, origin="test"))
