"""The win rate that would be left if both answers had the same length."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from allroads.errors import InputError

_DEVIATION = 5.0
"""Standard deviation of the coefficients' weak normal prior, in log-odds: 5 is 0.993 to 1."""


def length_controlled(wins: ArrayLike, differences: ArrayLike) -> NDArray[np.float64] | None:
    """Win rate at equal length, as one value per prompt whose mean it is.

    Model, fitted to one seed: P(win) = sigma(a + b tanh(difference / s)), with s the root mean
    square of the differences (so that a policy that is always longer still varies inside the
    tanh). The controlled win rate is sigma(a): where hardly any answer is shorter, an
    extrapolation along this curve. A weak normal prior on a and b keeps them finite
    where the data are separable. Prompt p's value is sigma(a) plus p's influence on it (delta
    method), so that the values of several seeds go through `stats.two_way_mean` as wins do.

    Args:
        wins: (P,) in [0, 1]: win 1, tie 1/2, loss 0, or a mean of these.
        differences: (P,) length of the policy's answer minus that of its opponent, in tokens.

    Returns:
        (P,) values. Where all differences are 0 they are the wins; where all are the same but not
        0, nothing can be told apart: None.

    Raises:
        InputError: for wins outside [0, 1], or arrays that do not match or hold NaN.

    Source: Dubois et al. 2024, arXiv:2404.04475 (without their term for a prompt's difficulty).
    """
    won = np.asarray(wins, dtype=np.float64)
    longer = np.asarray(differences, dtype=np.float64)
    if won.ndim != 1 or won.shape != longer.shape or not won.size:
        raise InputError(
            f"wins and differences must be two arrays of one length, got {won.shape} and "
            f"{longer.shape}"
        )
    if not (np.all((won >= 0) & (won <= 1)) and np.all(np.isfinite(longer))):
        raise InputError("wins must lie in [0, 1] and differences must be finite; leave out others")
    if not longer.any():
        return won
    if np.ptp(longer) == 0:
        return None
    scale = np.sqrt(np.mean(longer**2))
    features = np.stack([np.ones_like(longer), np.tanh(longer / scale)], axis=1)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = features @ weights
        value = np.sum(np.logaddexp(0, odds) - won * odds) + np.sum(weights**2) / 2 / _DEVIATION**2
        slope = features.T @ (special.expit(odds) - won) + weights / _DEVIATION**2
        return float(value), slope

    weights = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    expected = special.expit(features @ weights)
    curvature = (features.T * (expected * (1 - expected))) @ features
    curvature += np.eye(2) / _DEVIATION**2
    controlled = float(special.expit(weights[0]))
    influence = np.linalg.solve(curvature, features.T * (won - expected))[0]
    influence *= len(won) * controlled * (1 - controlled)
    return controlled + influence - influence.mean()
