"""Half-precision weights with single-precision masters: no small step is lost."""

from __future__ import annotations

import torch
from torch import nn

from allroads.roads.optimiser import Optimiser
from allroads.roads.stage import Schedule

SCHEDULE = Schedule(learning_rate=1e-4, gradient_clip=100.0)


def layer(dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3).to(dtype)


def push(model: nn.Module, optimiser: Optimiser, steps: int, pieces: int = 1) -> None:
    """A constant gradient of 1 for every weight, in so many pieces."""
    for _ in range(steps):
        for _ in range(pieces):
            for parameter in model.parameters():
                gradient = torch.full_like(parameter, 1.0 / pieces)
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
            optimiser.collect()
        optimiser.clip()
        optimiser.step(SCHEDULE.learning_rate)


def test_adam_moves_by_the_learning_rate_however_small_beside_the_weight():
    """Under a constant gradient each of Adam's steps is the learning rate exactly: 100 of 1e-4.

    In bfloat16 alone a weight near 1 is spaced by 2^-8 or more, so a step of 1e-4 rounds away.
    """
    model = layer(torch.bfloat16)
    nn.init.constant_(model.weight, 1.0)
    push(model, Optimiser(model, SCHEDULE), 100)
    expected = torch.tensor(1.0 - 100 * 1e-4).bfloat16()
    assert (model.weight == expected).all()
    assert expected != 1.0


def test_masters_follow_the_single_precision_run():
    half, single = layer(torch.bfloat16), layer(torch.bfloat16).float()
    for model in (half, single):
        push(model, Optimiser(model, SCHEDULE), 20)
    for a, b in zip(half.parameters(), single.parameters(), strict=True):
        assert torch.equal(a, b.bfloat16())


def test_gradients_of_pieces_are_added_in_single_precision():
    """256 pieces of 1/256: a bfloat16 sum would stall at 0.5 + 1/512's rounding."""
    model = layer(torch.bfloat16)
    optimiser = Optimiser(model, SCHEDULE)
    for _ in range(256):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1.0 / 256)
        optimiser.collect()
    numbers = sum(p.numel() for p in model.parameters())
    assert optimiser.clip() == float(torch.tensor(float(numbers)).sqrt())


def test_state_restores_to_the_same_bits():
    straight = layer(torch.bfloat16)
    push(straight, Optimiser(straight, SCHEDULE), 30)
    model = layer(torch.bfloat16)
    first = Optimiser(model, SCHEDULE)
    push(model, first, 17)
    saved = {name: value.clone() for name, value in first.state().items()}
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    again = layer(torch.bfloat16)
    again.load_state_dict(weights)
    second = Optimiser(again, SCHEDULE)
    second.load(saved)
    push(again, second, 13)
    for a, b in zip(straight.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
