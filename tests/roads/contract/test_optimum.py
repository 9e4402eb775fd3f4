"""Every road learns what it is for, and beta holds it back, where every answer can be listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from allroads.roads.choices import WRITER
from allroads.roads.stage import Stage
from tests.roads.contract.copying import STAGES, divergence, goodness, trained

SEEDS = range(6)
BEST = 2.0


@pytest.mark.parametrize("name", sorted(STAGES))
def test_every_road_learns_to_copy(name: str, tmp_path: Path):
    """The exact expected truth rises for each of six seeds; its optimum is 2.

    A sign-flip test: what learns nothing rises or falls alike, so it passes all six once in 64.
    The mean gain must also be a tenth of the way to the optimum (of a correlation of 1 for a
    scorer), and at so small a beta nothing stays at its reference.
    """
    stage = STAGES[name]
    gains, ways, moved = [], [], []
    for seed in SEEDS:
        before, after = trained(stage, seed, tmp_path / str(seed))
        gains.append(goodness(after) - goodness(before))
        ways.append((BEST if stage.makes == "policy" else 1.0) - goodness(before))
        if stage.makes == "policy":
            moved.append(divergence(after, before))
    assert min(gains) > 0
    assert sum(gains) > 0.1 * sum(ways)
    assert stage.makes == "reward model" or sum(moved) / len(moved) > 0.1


def held(stage: Stage) -> bool:
    """Whether a price keeps the stage near one fixed reference.

    SPIN's reference moves with it. KTO's utility is bounded: past the KL, a larger beta flattens
    it, and with labels that cannot all be pleased its best policy is at no distance whatever.
    """
    objective = stage.objective
    return objective.reference not in (None, WRITER) and objective.loss != "kahneman-tversky"


@pytest.mark.parametrize("name", sorted(name for name, stage in STAGES.items() if held(stage)))
def test_a_huge_beta_holds_every_road_at_its_reference(name: str, tmp_path: Path):
    """At the optimum leads and log-ratios are rewards over beta: hundredths of a nat at 100.

    24 steps under labels that no policy can please, so that the optimum is not at infinity. The
    exact KL ends below 0.03 nats; the same roads at beta 0.01 move by more than 0.1 (above).
    """
    stage = STAGES[name]
    length = {"rounds": 24} if stage.source.refresh == "update" else {"epochs": 8}
    schedule = {**length, "learning_rate": 5e-3, "decay": "cosine"}
    dear = stage.model_copy(
        update={
            "objective": stage.objective.model_copy(update={"beta": 100.0}),
            "schedule": stage.schedule.model_copy(update=schedule),
        }
    )
    start, end = trained(dear, 0, tmp_path, even=True)
    assert divergence(end, start) < 0.03
