"""Every road: the same seed gives the same weights, and nothing moves that should not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from allroads.roads.loop import Keeping, train
from tests.roads.problem import (
    STAGES,
    Straight,
    lines_of,
    rescheduled,
    run,
    same_weights,
    supplies,
    tiny_policy,
    trainee,
)

NAMES = sorted(STAGES)


@pytest.mark.parametrize("name", NAMES)
def test_zero_learning_rate_moves_nothing(name: str, tmp_path: Path):
    stage = rescheduled(name, learning_rate=0.0, rounds=1)
    model, _ = run(stage, tmp_path)
    assert same_weights(model, trainee(stage))
    assert all(line["gradient_norm"] > 0 for line in lines_of(tmp_path) if line["units"])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights_and_moves_them(
    name: str, straight: Straight, tmp_path: Path
):
    """Whatever torch's own generator says; the start and the reference are left alone."""
    stage, start = STAGES[name], tiny_policy()
    first = straight(name)
    model = trainee(stage)
    torch.manual_seed(2)
    cost = train(stage, model, supplies(stage, start), Keeping(tmp_path))
    first.check(model, cost, tmp_path)
    assert not same_weights(model, trainee(stage))
    assert same_weights(start, tiny_policy())
    assert all(p.grad is None for p in start.model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_other_weights(name: str, straight: Straight, tmp_path: Path):
    other, _ = run(rescheduled(name, rounds=1), tmp_path, seed=8)
    first = lines_of(tmp_path)[0]
    assert not same_weights(other, straight(name).model)
    assert first != straight(name).lines[0]
