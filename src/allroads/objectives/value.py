"""Losses of a critic."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def clipped_value_loss(
    value_N: Float[Tensor, "*n"],
    before_N: Float[Tensor, "*n"],
    returns_N: Float[Tensor, "*n"],
    *,
    clip: float,
) -> Float[Tensor, "*n"]:
    """Half the squared error of the critic, or of its step cut at `clip`, whichever is larger.

    All arguments have one shape, whatever it is. Half of max((V - R)^2, (V' - R)^2) with V' = V
    clamped to within `clip` of its value before the update. A step that overshoots `clip` towards
    the return gets no gradient.

    Args:
        value_N: the critic's values, in reward units.
        before_N: its values when the completions were written; carry no gradient.
        returns_N: what they should have been: advantage plus value of that moment. Carry no
            gradient.
        clip: greatest step that pays, in reward units. Positive; infinite is no clipping.

    Returns:
        Squared reward units, element by element.

    Source: Huang et al. 2024, arXiv:2403.17031, after the code of Schulman et al. 2017.
    """
    before_N, returns_N = before_N.detach(), returns_N.detach()
    near_N = before_N + (value_N - before_N).clamp(-clip, clip)
    return 0.5 * torch.maximum((value_N - returns_N) ** 2, (near_N - returns_N) ** 2)
