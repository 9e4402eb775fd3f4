"""Rotary position embeddings: pairs of a head's coordinates, turned by an angle per position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Turn:
    """What N tokens turn by: the first r of a head's h coordinates, i together with i + r/2.

    Attributes:
        cosines: (N, 1, 1, h), 1 where nothing turns.
        sines: (N, 1, 1, r/2).
    """

    cosines: Tensor
    sines: Tensor

    @classmethod
    def by(cls, cosines: Tensor, sines: Tensor, width: int) -> Turn:
        """From (N, r) cosines and sines, each angle twice, for heads of this width."""
        rest = cosines.new_ones(len(cosines), width - cosines.shape[1])
        whole = torch.cat([cosines, rest], dim=1) if rest.numel() else cosines
        half = sines.shape[1] // 2
        return cls(whole[:, None, None], sines[:, None, None, :half])

    def at(self, places: Tensor) -> Turn:
        """That of the tokens at these places."""
        return Turn(self.cosines.index_select(0, places), self.sines.index_select(0, places))


def rotated(x: Tensor, turn: Turn | None) -> Tensor:
    """Queries, keys or both, (N, ., ., h), turned; as they are where nothing turns them.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 34, in the order of GPT-NeoX and Llama.
    """
    if turn is None:
        return x
    if torch.is_grad_enabled() and x.requires_grad:
        return _Rotate.apply(x, turn.cosines, turn.sines)  # type: ignore[return-value]
    return _turned(x, turn.cosines, turn.sines, 1)


def _turned(x: Tensor, cosines: Tensor, sines: Tensor, sign: int) -> Tensor:
    half = sines.shape[-1]
    first, second = slice(None, half), slice(half, 2 * half)
    out = x * cosines
    out[..., first].addcmul_(x[..., second], sines, value=-sign)
    out[..., second].addcmul_(x[..., first], sines, value=sign)
    return out


class _Rotate(torch.autograd.Function):
    """The gradient is turned back; only the angles are kept for it, not the input."""

    @staticmethod
    def forward(ctx, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(cosines, sines)
        return _turned(x, cosines, sines, 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cosines, sines = ctx.saved_tensors
        return _turned(grad, cosines, sines, -1), None, None
