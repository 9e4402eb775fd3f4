"""What should make a reader doubt a road's number is said, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import allroads
from allroads import files
from allroads.lab.jobs import Plan
from tests.lab.conftest import evaluations


def test_a_road_of_which_no_setting_is_within_reach_is_named(changed: Path, plan: Plan):
    for job in evaluations(plan, "sft", None):
        path = changed / "evaluations" / f"{job}.json"
        value = files.read_json(path)
        value["snapshots"][-1]["entropy"] = [5.0] * 20  # Of which a fifth is one nat.
        files.write_json(path, value)
    for nearest, said in ((0.9, False), (1.1, True)):
        for beta in (0.2, 0.5):
            for job in evaluations(plan, "dpo", beta):
                path = changed / "evaluations" / f"{job}.json"
                value = files.read_json(path)
                for snapshot in value["snapshots"]:
                    snapshot["kl"] = [nearest if beta == 0.5 else 7.0] * 20
                files.write_json(path, value)
        notes = allroads.open_run(changed).notes
        named = [note for note in notes if note.startswith("dpo: none of 4 settings and moments")]
        assert len(named) == said
        if said:
            assert "the nearest, at 1.10 nats, was taken" in named[0]
            assert named[0].endswith("give it larger betas or a lower learning rate")


@pytest.mark.parametrize(
    ("brought", "moment", "said"),
    [
        # Every prompt and seed gained a tenth, or all but one: sure. Half gained, half lost: not.
        ([0.1] * 20, 1, True),
        ([0.1] * 19 + [-0.04], 1, True),
        ([0.1, -0.1] * 10, 1, False),
        ([-0.1] * 20, 1, False),
        # Chosen half-way: how much a longer training brings is not the question.
        ([0.1] * 20, 0, False),
    ],
)
def test_a_road_that_still_gains_when_it_ends_is_named(
    brought: list[float], moment: int, said: bool, changed: Path, plan: Plan
):
    for job in evaluations(plan, "dpo", 0.2):
        path = changed / "evaluations" / f"{job}.json"
        value = files.read_json(path)
        value["snapshots"][0]["metric"] = [0.4] * 20
        value["snapshots"][1]["metric"] = [0.4 + more for more in brought]
        # Where the rate has fallen to nothing nothing is gained: the whole second half counts.
        value["snapshots"].insert(1, {**value["snapshots"][1], "fraction": 0.75})
        moment = 2 if moment == 1 else moment
        for at, snapshot in enumerate(value["snapshots"]):
            snapshot.update(selection=50.0 if at == moment else 0.0, kl=[0.0] * 20)
        files.write_json(path, value)
    notes = allroads.open_run(changed).notes
    named = [note for note in notes if note.startswith("dpo was not done: from 50% of its ")]
    assert len(named) == said
    if said:
        assert f"it still gained {np.mean(brought):.3f} [" in named[0]
