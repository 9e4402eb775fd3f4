"""Pairs of an earlier stage, trained on once more in another order."""

from __future__ import annotations

from pathlib import Path

import pytest

from allroads.errors import RunFolderError
from allroads.records import Cost
from allroads.roads import replay
from allroads.roads.loop import Keeping, train
from allroads.roads.units import Round, Unit
from tests.roads.problem import (
    CONTROLS,
    STAGES,
    Killed,
    die_at,
    lines_of,
    met_online,
    round_of,
    run,
    supplies,
    tiny_policy,
    total_steps,
    trainee,
)

STAGE, BEFORE = CONTROLS["dpo-shuffled"], STAGES["online-dpo"]


def test_what_a_stage_was_trained_on_is_kept_round_by_round(tmp_path: Path):
    run(BEFORE, tmp_path)
    kept = replay.kept(tmp_path, BEFORE.schedule.rounds)
    size = BEFORE.schedule.batch_size
    assert kept.slots == BEFORE.schedule.rounds * size
    # As many pairs in each step of online DPO as stand in that round's slots.
    per_round = [sum(unit.slot // size == i for unit in kept.units) for i in range(4)]
    assert per_round == [line["units"] for line in lines_of(tmp_path)]
    # The first round is written by the start, which anybody can ask again.
    start = tiny_policy()
    first = round_of(BEFORE, supplies(BEFORE, start), start, 0)
    bare = [(u.slot, u.prompt, u.completions) for u in first.units]
    assert [(u.slot, u.prompt, u.completions) for u in kept.units if u.slot < size] == bare


def test_a_kill_leaves_the_same_pairs(tmp_path: Path):
    run(BEFORE, tmp_path / "straight")
    for step in (1, 2, 4):
        with pytest.raises(Killed):
            run(BEFORE, tmp_path / "killed", progress=die_at(step), checkpoint_seconds=0)
        with (tmp_path / "killed" / replay.FILE).open("a") as file:
            file.write('\n{"round": 2, "slo')
    run(BEFORE, tmp_path / "killed", checkpoint_seconds=0)
    assert replay.kept(tmp_path / "killed", 4) == replay.kept(tmp_path / "straight", 4)


def test_only_pairs_of_samples_are_kept(tmp_path: Path):
    for name in ("dpo", "rloo", "dpo-relabelled"):
        run(STAGES[name], tmp_path / name)
        assert not (tmp_path / name / replay.FILE).exists()
    run(STAGES["spin"], tmp_path / "spin")
    assert (tmp_path / "spin" / replay.FILE).is_file()


def test_a_round_that_is_not_there_is_named(tmp_path: Path):
    replay.keep(Round((Unit(0, (1,), ((2,), (3,))),), 2, {}), 0, tmp_path)
    with pytest.raises(RunFolderError, match="the pairs of round 1 of 2 are not there"):
        replay.kept(tmp_path, 2)


def test_a_replay_trains_on_all_pairs_once_in_another_order_for_as_many_updates(tmp_path: Path):
    start, cost = tiny_policy(), Cost()
    given = supplies(STAGE, start)
    round_ = round_of(STAGE, given, start, 0, cost)
    met = met_online()
    assert [(u.prompt, u.completions) for u in round_.units] == [
        (u.prompt, u.completions) for u in met.units
    ]
    assert round_.slots == met.slots
    assert all(u.reference is not None for u in round_.units)
    # Nobody is asked again: the stage before has paid.
    assert (cost.labels, cost.outside_queries, cost.tokens_sampled) == (0, 0, 0)
    run(STAGE, tmp_path)
    lines = lines_of(tmp_path)
    assert len(lines) == total_steps(STAGE) == total_steps(BEFORE)
    assert sum(line["units"] for line in lines) == len(met.units)
    size = BEFORE.schedule.batch_size
    in_order = [sum(u.slot // size == i for u in met.units) for i in range(4)]
    run(STAGE, tmp_path / "other", seed=13)
    orders = [[line["units"] for line in lines_of(tmp_path / one)] for one in (".", "other")]
    assert any(order != in_order for order in orders)


def test_updates_take_the_place_of_passes(tmp_path: Path):
    """Twelve slots, three of them filled, are three steps a pass; five updates are 1 2/3 passes."""
    few = Round(met_online().units[:3], 12, {})
    schedule = STAGE.schedule.model_copy(update={"updates": 5})
    stage = STAGE.model_copy(update={"schedule": schedule})
    given = supplies(stage, tiny_policy(), replayed=few)
    train(stage, trainee(stage), given, Keeping(tmp_path))
    units = [line["units"] for line in lines_of(tmp_path)]
    assert len(units) == 5
    assert sum(units[:3]) == 3
    assert sum(units[3:]) <= 3
