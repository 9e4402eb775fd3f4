"""Pure mathematics of the roads: tensors in, tensors out; no model, no configuration, no device.

Axis letters, here and in every caller: B rows, T tokens, U units (a unit is what one loss term
needs: a single completion, a pair or a group), K completions of one unit, N anything flat.
"""

from allroads.objectives.kl import k1, k2, k3
from allroads.objectives.likelihood import negative_log_likelihood
from allroads.objectives.policy_gradient import (
    importance_weighted_policy_gradient,
    leave_one_out,
    penalised_rewards,
)
from allroads.objectives.preference import bradley_terry_nll, implicit_reward

__all__ = [
    "bradley_terry_nll",
    "implicit_reward",
    "importance_weighted_policy_gradient",
    "k1",
    "k2",
    "k3",
    "leave_one_out",
    "negative_log_likelihood",
    "penalised_rewards",
]
