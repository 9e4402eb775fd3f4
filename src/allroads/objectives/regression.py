"""Policy optimisation as regression of relative rewards."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def rebel_loss(
    log_ratio_UK: Float[Tensor, "units k"],
    reward_UK: Float[Tensor, "units k"],
    *,
    eta: float,
) -> Float[Tensor, " units"]:
    """Mean over a group's pairs of ((1/eta) (lr_i - lr_j) - (r_i - r_j))^2.

    It is 0 where the policy's implied rewards, log ratio / eta, differ as the rewards do; what all
    completions of a prompt share does not matter.

    Args:
        log_ratio_UK: log(policy / policy that wrote them) of each whole completion, in nats,
            summed over tokens.
        reward_UK: reward of each completion, in reward units; carries no gradient.
        eta: length of the step, in nats per reward unit. Positive. A factor of it on both sides,
            as in the authors' code, scales the loss by its square.

    Returns:
        Squared reward units per group.

    Raises:
        ValueError: with fewer than two completions in a group there is no pair.

    Source: Gao et al. 2024, arXiv:2404.16767, algorithm 1; all pairs of a group instead of one.
    """
    k = log_ratio_UK.shape[1]
    if k < 2:
        raise ValueError(f"rebel_loss needs at least 2 completions in a group, got {k}")
    # The mean squared difference over pairs is twice the variance, with k - 1 below.
    return 2 * (log_ratio_UK / eta - reward_UK.detach()).var(dim=1)
