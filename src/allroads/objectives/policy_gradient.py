"""Policy gradients on groups of completions of one prompt."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def penalised_rewards(
    score_UK: Float[Tensor, "units k"],
    behaviour_UK: Float[Tensor, "units k"],
    reference_UK: Float[Tensor, "units k"],
    *,
    beta: float,
) -> Float[Tensor, "units k"]:
    """Score minus beta times the sequence-level k1 estimate of KL(behaviour || reference).

    The KL sits in the reward, so its policy gradient is the gradient of the KL.

    Args:
        score_UK: the labeller's score of each completion, in reward units.
        behaviour_UK: log-probability under the policy that wrote it, in nats, summed over tokens.
        reference_UK: the same under the reference.
        beta: price of one nat, in reward units.

    Source: Ahmadian et al. 2024, arXiv:2402.14740, eq. 3.
    """
    return score_UK - beta * (behaviour_UK - reference_UK)


def leave_one_out(reward_UK: Float[Tensor, "units k"]) -> Float[Tensor, "units k"]:
    """Each reward minus the mean of the other rewards of its group (REINFORCE leave-one-out).

    Raises:
        ValueError: with fewer than two completions in a group there is no other.

    Source: Ahmadian et al. 2024, arXiv:2402.14740, eq. 7; Kool et al. 2019.
    """
    k = reward_UK.shape[1]
    if k < 2:
        raise ValueError(f"leave_one_out needs at least 2 completions in a group, got {k}")
    return (reward_UK - reward_UK.mean(dim=1, keepdim=True)) * (k / (k - 1))


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
