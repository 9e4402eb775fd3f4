"""Gradients of a minibatch in pieces: what may be added in place to the gradient already there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_accumulating = False
"""No argument reaches a backward pass, which may run in another thread."""


@contextmanager
def accumulating() -> Iterator[None]:
    """Within it, a forward pass and `loss.backward()` add to the gradients that weights have.

    It saves the copies, as large as the vocabulary's weights, that autograd would add. Nobody may
    clear a gradient in between, and `torch.autograd.grad` would not see a head's.
    """
    global _accumulating
    _accumulating = True
    try:
        yield
    finally:
        _accumulating = False


def gradient_to_add_to(weight: Tensor) -> Tensor | None:
    """The weight's gradient, where more may be added to it in place."""
    return weight.grad if _accumulating and weight.is_leaf else None
