"""Pure mathematics of the roads: tensors in, tensors out; no model, no configuration, no device.

Axis letters, here and in every caller: B rows, T tokens, U units (a unit is what one loss term
needs: a single completion, a pair or a group), K completions of one unit, N anything flat.
"""

from allroads.objectives.advantages import (
    centred,
    generalised_advantages,
    leave_one_out,
    less_others_of_round,
    penalised_rewards,
    standardised,
    whitened,
)
from allroads.objectives.kl import k1, k2, k3
from allroads.objectives.likelihood import negative_log_likelihood
from allroads.objectives.policy_gradient import (
    clip_stops,
    clipped_policy_gradient,
    importance_weighted_policy_gradient,
)
from allroads.objectives.preference import (
    bradley_terry_nll,
    hinge_loss,
    identity_preference_loss,
    implicit_reward,
    kahneman_tversky_loss,
    odds_ratio_nll,
)
from allroads.objectives.regression import rebel_loss
from allroads.objectives.value import clipped_value_loss

__all__ = [
    "bradley_terry_nll",
    "centred",
    "clip_stops",
    "clipped_policy_gradient",
    "clipped_value_loss",
    "generalised_advantages",
    "hinge_loss",
    "identity_preference_loss",
    "implicit_reward",
    "importance_weighted_policy_gradient",
    "k1",
    "k2",
    "k3",
    "kahneman_tversky_loss",
    "leave_one_out",
    "less_others_of_round",
    "negative_log_likelihood",
    "odds_ratio_nll",
    "penalised_rewards",
    "rebel_loss",
    "standardised",
    "whitened",
]
