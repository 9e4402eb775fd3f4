"""Bradley-Terry maximum likelihood over any smooth class of rewards, to about 1e-12.

Damped Newton steps with the curvature of the likelihood in the rewards (Gauss-Newton). For classes
that are linear in their parameters this is Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from allroads.errors import TrainingError
from allroads.exact.classes import RewardClass
from allroads.exact.pairs import Pairs, sigmoid
from allroads.exact.tree import Array


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Where the likelihood is highest."""

    parameters: Array
    reward_PL: Array
    nll: float
    """Surprise at the labels, without the ridge, in nats."""
    slope: float
    """Greatest derivative of the objective that is left: 0 at an optimum."""


def maximum_likelihood(
    rewards: RewardClass,
    pairs: Pairs,
    start: Array,
    *,
    ridge: float = 0.0,
    coordinates: Callable[[Array], Array] | None = None,
    steps: int = 500,
) -> Fit:
    """Minimise the Bradley-Terry NLL (plus a ridge) over a class of rewards.

    Args:
        rewards: the class.
        pairs: the labels.
        start: parameters to start from.
        ridge: strength of `ridge / 2 * sum of squares`, in nats per squared coordinate.
        coordinates: what the ridge squares: a linear map of rewards (P, L, ...) to an array of the
            same shape; by default the rewards themselves. See `classes.within_prompt`.
        steps: how many steps before giving up.

    Raises:
        TrainingError: the optimum was not reached, which says that it is at infinity.
    """
    coordinates = coordinates or (lambda reward: reward)

    def objective(reward: Array) -> float:
        return pairs.nll(reward) + 0.5 * ridge * float(np.sum(coordinates(reward) ** 2))

    theta, damping = np.array(start, dtype=np.float64), 1e-3
    reward, jacobian = rewards(theta)
    value = objective(reward)
    for _ in range(steps):
        slope, curvature = _second_order(pairs, reward, jacobian, ridge, coordinates)
        if np.abs(slope).max() < 1e-11:
            break
        scale = damping * max(float(np.trace(curvature)) / len(theta), 1e-12)
        step = np.linalg.solve(curvature + scale * np.eye(len(theta)), -slope)
        new_reward, new_jacobian = rewards(theta + step)
        new_value = objective(new_reward)
        # At the optimum the value stops changing before the slope does: rounding is no failure.
        if new_value <= value + 1e-14 * abs(value):
            theta, reward, jacobian, value = theta + step, new_reward, new_jacobian, new_value
            damping = max(damping / 5, 1e-12)
        else:
            damping = damping * 4
            if damping > 1e8:
                break
    slope, _ = _second_order(pairs, reward, jacobian, ridge, coordinates)
    if not np.abs(slope).max() < 1e-7:
        raise TrainingError(
            f"the likelihood has no optimum that {steps} steps reach: a slope of "
            f"{np.abs(slope).max():.1e} is left; give shares inside (0, 1), or a ridge"
        )
    return Fit(
        parameters=theta, reward_PL=reward, nll=pairs.nll(reward), slope=float(np.abs(slope).max())
    )


def _second_order(
    pairs: Pairs,
    reward: Array,
    jacobian: Array,
    ridge: float,
    coordinates: Callable[[Array], Array],
) -> tuple[Array, Array]:
    """Slope (K,) and positive semi-definite curvature (K, K) of the objective."""
    at_first = jacobian[pairs.prompt_M, pairs.first_M]
    rows = at_first - jacobian[pairs.prompt_M, pairs.second_M]
    chance = sigmoid(pairs.differences(reward))
    slope = rows.T @ (pairs.weight_M * (chance - pairs.share_M))
    curvature = rows.T @ (rows * (pairs.weight_M * chance * (1 - chance))[:, None])
    if ridge:
        squared, table = coordinates(reward).ravel(), coordinates(jacobian)
        table = table.reshape(len(squared), -1)
        slope = slope + ridge * table.T @ squared
        curvature = curvature + ridge * table.T @ table
    return slope, curvature
