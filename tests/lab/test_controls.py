"""Controls through the whole path: planned, trained, measured; what they share is trained once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import allroads
from allroads import files
from allroads.lab.compare import prepare
from allroads.lab.estimate import Tokens, tokens_of
from allroads.lab.jobs import Plan
from allroads.roads import replay
from allroads.roads.atlas import all_controls
from tests.lab import tiny
from tests.lab.test_estimate import SHAPE

CONTROLS = list(all_controls())


def plan_of(**changes: Any) -> Plan:
    return prepare(tiny.config(**changes)).plan


def named(plan: Plan, name: str) -> list[str]:
    return [job.id for job in plan.jobs.values() if job.kind == "stage" and job.stage.name == name]


def test_a_replay_waits_for_the_stage_that_it_replays_at_its_own_beta():
    plan = plan_of(roads=["dpo-shuffled"], betas=[0.2, 0.5])
    assert len(named(plan, "online-dpo")) == len(named(plan, "dpo-shuffled")) == 2
    for again in named(plan, "dpo-shuffled"):
        job = plan.jobs[again]
        before = plan.jobs[job.spec["links"]["replayed"]]
        assert before.id in job.needs
        assert before.stage.objective.beta == job.stage.objective.beta
        assert job.spec["links"]["writer"] == ""
    # The road that it replays brings no work of its own but its grades.
    both = plan_of(roads=["dpo-shuffled", "online-dpo"], betas=[0.2, 0.5])
    assert {both.jobs[name].kind for name in both.jobs.keys() - plan.jobs.keys()} == {"evaluate"}


def test_the_head_that_the_recipe_reads_anyhow_is_no_work_of_its_own():
    plan = plan_of(roads=["online-dpo", "online-dpo-head-sum", "online-dpo-head-last"])
    assert len(named(plan, "reward-model")) == len(named(plan, "reward-model-last")) == 1
    assert len(named(plan, "online-dpo")) == 2
    assert named(plan, "reward-model-sum") == []
    assert {row[0] for row in plan.scorers} >= {"reward-model", "reward-model-last"}


def test_what_controls_will_cost():
    roads = ["dpo-shuffled", "dpo-samples", "online-dpo-margin"]
    prepared = prepare(tiny.config(roads=roads, betas=[0.5]))
    found = {
        cell.road: tokens_of(prepared.plan.jobs[cell.last], SHAPE, prepared)
        for cell in prepared.plan.cells
        if cell.last
    }
    # 3 rounds of 32 pairs of 10 tokens a side, 9 updates of 32: three passes; one of the reference.
    assert found["dpo-shuffled"] == Tokens(3 * 96 * 2 * 10, 0, 96 * 2 * 10)
    # Two samples of 5 tokens for each of 90 pairs, rows of 4 + 5: scored, and each known twice.
    assert found["dpo-samples"] == Tokens(2 * 90 * 2 * 9, 90 * 2 * 5, 90 * 9 * (2 + 2 * 2))
    # Four samples each; and both sides of 90 pairs of the data are scored, once.
    assert found["online-dpo-margin"] == Tokens(
        3 * 96 * 2 * 9, 96 * 4 * 5, 96 * 9 * (4 + 2 * 2) + 2 * 90 * 10
    )


@pytest.mark.slow  # Every control through the whole path: a minute.
def test_every_control_is_trained_and_reported_and_a_finished_run_grows_by_a_replay(
    tmp_path: Path,
):
    first = [name for name in CONTROLS if name != "dpo-shuffled"]
    allroads.compare(out=tmp_path, config=tiny.config(roads=["dpo", "online-dpo", *first]))
    before = tiny.trained(tmp_path)
    results = allroads.compare(
        out=tmp_path, config=tiny.config(roads=["dpo", "online-dpo", *CONTROLS])
    )
    after = tiny.trained(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[1].split("-b0.5")[0] for name in after.keys() - before.keys()} == {
        "dpo-shuffled"
    }
    controls = all_controls()
    policies = {name for name, one in controls.items() if one.road.purpose == "policy"}
    assert policies <= {point.road for point in results.points}
    assert controls.keys() - policies <= {row.name.split(",")[0] for row in results.reward_models}
    ((path,),) = [tmp_path.glob("checkpoints/dpo-shuffled-*/done.json")]
    assert files.read_json(path)["cost"]["labels"] == 0
    kept = list(tmp_path.glob(f"checkpoints/*/{replay.FILE}"))
    assert {path.parent.name.split("-b0.5")[0] for path in kept} >= {"online-dpo", "dpo-relabelled"}
