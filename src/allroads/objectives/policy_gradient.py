"""Policy gradients on completions, or tokens, that a behaviour policy wrote."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def importance_weighted_policy_gradient(
    logprob_UK: Float[Tensor, "units k"],
    behaviour_UK: Float[Tensor, "units k"],
    advantage_UK: Float[Tensor, "units k"],
) -> Float[Tensor, " units"]:
    """-(policy / behaviour) * advantage, averaged over each group; reward units, lower is better.

    On the behaviour policy itself the ratio is 1 and the gradient is that of REINFORCE,
    -advantage * grad log policy. Neither `behaviour_UK` nor `advantage_UK` carries gradient.
    """
    ratio_UK = torch.exp(logprob_UK - behaviour_UK.detach())
    return -(ratio_UK * advantage_UK.detach()).mean(dim=1)


def clip_stops(
    ratio_N: Float[Tensor, "*n"], advantage_N: Float[Tensor, "*n"], *, clip: float
) -> Bool[Tensor, "*n"]:
    """Where `clipped_policy_gradient` has no gradient: already moved as far as the clip allows."""
    return ((advantage_N > 0) & (ratio_N > 1 + clip)) | ((advantage_N < 0) & (ratio_N < 1 - clip))


def clipped_policy_gradient(
    logprob_N: Float[Tensor, "*n"],
    behaviour_N: Float[Tensor, "*n"],
    advantage_N: Float[Tensor, "*n"],
    *,
    clip: float,
) -> Float[Tensor, "*n"]:
    """-min(ratio * advantage, clip(ratio, 1 - clip, 1 + clip) * advantage), element by element.

    All arguments have one shape, whatever it is. Ratio is policy / behaviour. On the behaviour
    policy itself the gradient is that of REINFORCE. Where a step has already moved the ratio out
    of the interval in the direction that the advantage asks for, the gradient is 0; the way back
    is never clipped.

    Args:
        logprob_N: log-probability under the policy, of tokens or of whole completions, in nats.
        behaviour_N: the same under the policy that wrote them; carries no gradient.
        advantage_N: advantages, in any unit; the loss has the same. Carries no gradient.
        clip: half the interval's width, above 0 and below 1.

    Source: PPO, Schulman et al. 2017, arXiv:1707.06347, eq. 7, with the sign of a loss.
    """
    ratio_N = torch.exp(logprob_N - behaviour_N.detach())
    advantage_N = advantage_N.detach()
    clipped_N = ratio_N.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)
