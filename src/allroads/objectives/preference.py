"""Bradley-Terry likelihood, and the reward that a policy implies.

DPO is not a loss of its own: it is `bradley_terry_nll` on `implicit_reward`. The global reward
model is `bradley_terry_nll` on a scalar head. The two differ only in the class of rewards.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def implicit_reward(
    policy_N: Float[Tensor, " n"], reference_N: Float[Tensor, " n"], *, beta: float
) -> Float[Tensor, " n"]:
    """Reward that a policy implies about each completion: beta * log(policy / reference).

    Args:
        policy_N: log-probability of each whole completion in nats, summed over tokens.
        reference_N: the same under the frozen reference; carries no gradient. All zeros give the
            reference-free local reward beta * log(policy).
        beta: price of one nat of divergence, in reward units. Positive.

    Returns:
        Reward in reward units, up to a constant per prompt that no pair can see.

    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 5.
    """
    return beta * (policy_N - reference_N.detach())


def bradley_terry_nll(
    better_U: Float[Tensor, " units"], worse_U: Float[Tensor, " units"]
) -> Float[Tensor, " units"]:
    """Surprise that `better` was preferred: -log sigma(better - worse), in nats per pair.

    Only the difference matters. It is log 2 where both rewards are equal, and falls with the lead.

    Args:
        better_U: reward of the preferred completion, in reward units.
        worse_U: reward of the other one.

    Source: Bradley and Terry 1952; Rafailov et al. 2023, arXiv:2305.18290, eq. 7, with rewards
    that a policy implies.
    """
    return -F.logsigmoid(better_U - worse_U)
