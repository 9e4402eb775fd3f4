"""The reference's weights are in memory only while somebody asks them something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from weakref import ref

import pytest

from allroads.models.policy import Policy
from allroads.roads.loop import Keeping, train
from tests.roads.problem import (
    OFFLINE,
    STAGES,
    Killed,
    counters,
    die_at,
    rescheduled,
    supplies,
    tiny_policy,
    trainee,
)

REFERRING = [n for n in OFFLINE if STAGES[n].objective.reference is not None]
"""Offline stages with a reference."""


class Shelf:
    """Hands out references and remembers, weakly, each one."""

    def __init__(self) -> None:
        self.given: list[ref[Policy]] = []

    def __call__(self) -> Policy:
        policy = tiny_policy()
        self.given.append(ref(policy))
        return policy

    @property
    def alive(self) -> int:
        return sum(one() is not None for one in self.given)


@pytest.mark.parametrize("name", REFERRING)
def test_an_offline_stage_does_not_train_beside_its_reference(name: str, tmp_path: Path):
    stage, shelf = STAGES[name], Shelf()
    given = replace(supplies(stage, tiny_policy()), reference=shelf)
    alive: list[int] = []
    train(
        stage, trainee(stage), given, Keeping(tmp_path), lambda done, _: alive.append(shelf.alive)
    )
    assert len(shelf.given) == 1
    assert set(alive) == {0}


def test_a_stage_that_samples_opens_its_reference_once(tmp_path: Path):
    stage, shelf = STAGES["rloo"], Shelf()
    assert stage.schedule.rounds > 1
    given = replace(supplies(stage, tiny_policy()), reference=shelf)
    train(stage, trainee(stage), given, Keeping(tmp_path))
    assert len(shelf.given) == 1


def test_a_run_that_goes_on_inside_its_round_needs_no_reference(tmp_path: Path):
    stage, shelf = rescheduled("dpo", epochs=2), Shelf()
    given = replace(supplies(stage, tiny_policy()), reference=shelf)
    keeping = Keeping(tmp_path, checkpoint_seconds=0)
    with pytest.raises(Killed):
        # A checkpoint is written after the step's progress is told: the one before counts.
        train(stage, trainee(stage), given, keeping, die_at(2))
    train(stage, trainee(stage), given, keeping)
    assert len(shelf.given) == 1


def test_known_log_probabilities_need_no_reference_and_cost_the_same(tmp_path: Path):
    stage, shelf = STAGES["dpo"], Shelf()
    given = replace(
        supplies(stage, tiny_policy()), reference=shelf, reference_cache=tmp_path / "known.json"
    )
    first, again = (
        counters(train(stage, trainee(stage), given, Keeping(tmp_path / name)))
        for name in ("first", "again")
    )
    assert len(shelf.given) == 1
    assert first == again
