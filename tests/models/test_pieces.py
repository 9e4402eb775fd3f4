"""Turns, activations and ragged rows, each against what can be said of it by hand."""

from __future__ import annotations

import math

import pytest
import torch

from allroads.models.activations import activation_of, gelu_tanh
from allroads.models.packing import Ragged
from allroads.models.rotary import Turn, rotated


def turn_by(angles: list[list[float]], width: int) -> Turn:
    """For each token the angle of each pair."""
    twice = torch.tensor([[*row, *row] for row in angles], dtype=torch.float64)
    return Turn.by(twice.cos(), twice.sin(), width)


def test_a_quarter_turn_by_hand():
    """(a, b) -> (-b, a) in the first pair, (c, d) -> (-c, -d) in the second, the rest as it is."""
    turn = turn_by([[math.pi / 2, math.pi]], width=5)
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64).view(1, 1, 1, 5)
    # Coordinate i is paired with i + 2: the pairs are (1, 3) and (2, 4).
    expected = torch.tensor([-3.0, -2.0, 1.0, -4.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(rotated(x, turn).flatten(), expected)


def test_products_of_turned_vectors_depend_on_the_distance_alone():
    q, k = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    speeds = [1.0, 0.3, 0.1]

    def at(x: torch.Tensor, place: int) -> torch.Tensor:
        turn = turn_by([[place * s for s in speeds]], width=8)
        return rotated(x.view(1, 1, 1, 8), turn).flatten()

    same = [float(at(q, p + 3) @ at(k, p)) for p in range(5)]
    assert same == pytest.approx([same[0]] * 5)
    assert float(at(q, 4) @ at(k, 0)) != pytest.approx(same[0])


def test_the_gradient_of_a_turn():
    turn = turn_by([[0.4, 1.1], [2.0, -0.7]], width=5)
    x = torch.randn(2, 3, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: rotated(v, turn), (x,))
    with torch.no_grad():
        assert torch.equal(rotated(x, turn), rotated(x.clone(), turn))


def test_gelu_is_its_definition_and_so_is_its_gradient():
    x = torch.linspace(-9, 9, 1001, dtype=torch.float64, requires_grad=True)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    torch.testing.assert_close(gelu_tanh(x), x * (1 + inner.tanh()) / 2, atol=1e-14, rtol=1e-14)
    assert torch.autograd.gradcheck(gelu_tanh, (x[::50].detach().requires_grad_(),))


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh", "gelu", "silu", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_activation_is_that_of_its_module(name: str, dtype: torch.dtype):
    from transformers.activations import ACT2FN

    module = ACT2FN[name]
    x = torch.linspace(-6, 6, 301).to(dtype)
    close = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(activation_of(module)(x), module(x), atol=close, rtol=close)


def test_ragged_rows_by_hand():
    rows = Ragged([2, 0, 3], torch.device("cpu"))
    packed = torch.tensor([10, 11, 30, 31, 32])
    assert rows.mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert rows.positions.tolist() == [0, 1, 0, 1, 2]
    padded = rows.padded(packed)
    assert padded[rows.mask].tolist() == packed.tolist()
    assert rows.pack(padded).tolist() == packed.tolist()
    full = Ragged([2, 2], torch.device("cpu"))
    assert full.full
    assert full.padded(packed[:4]).tolist() == [[10, 11], [30, 31]]
    assert full.ends.tolist() == [1, 3]
