"""A learning curve as a power law with a floor.

    nll(n) = limit + amplitude (n / unit)^-exponent                      bits a pair

Bounds, and why: the limit lies in [0, 1], as a coin needs one bit; the amplitude is not negative,
as more data never harm on average; the exponent lies in [1/20, 2]. Fits of d well specified
parameters fall with exponent 1 and large models with 0.05 to 0.5 (Hestness et al. 2017,
arXiv:1712.00409); below 1/20 a few doublings cannot tell a power from a straight line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from allroads.stats import Floats

EXPONENTS: Floats = np.geomspace(1 / 20, 2, 61)
"""Those that are tried; neighbours differ by 6 %."""


class PowerLaw(NamedTuple):
    """One law, or D of them at once."""

    limit: Floats
    amplitude: Floats
    """At `unit` pairs."""
    exponent: Floats
    unit: float

    def at(self, count: float) -> Floats:
        """Bits a pair after `count` pairs, (D,)."""
        return self.limit + self.amplitude * (count / self.unit) ** -self.exponent

    def needed(self, nll: ArrayLike) -> Floats:
        """Pairs after which the law is at `nll`, (D,); infinite where it never is.

        A flat law is there from the first pair (0), or never.
        """
        excess = np.asarray(nll) - self.limit
        flat = self.amplitude == 0
        safe = np.where((excess > 0) & ~flat, excess, 1.0)
        with np.errstate(over="ignore"):
            reached = self.unit * (self.amplitude / safe) ** (1 / self.exponent)
        reached = np.where(excess > 0, reached, np.inf)
        return np.where(flat, np.where(excess >= 0, 0.0, np.inf), reached)


def fit(counts_K: ArrayLike, nll_DK: ArrayLike, weights_K: ArrayLike) -> PowerLaw:
    """Weighted least squares within the bounds, for D curves at once.

    For each exponent the problem is linear with two bounds, so its solution is the free one or lies
    on one of three edges; the best exponent of a grid is taken.

    Args:
        counts_K: pairs, at least three different.
        nll_DK: bits a pair, one row a curve.
        weights_K: how much each count's squared error matters.

    Returns:
        The laws, with the largest count as unit.
    """
    counts_K, y_DK = np.asarray(counts_K, dtype=float), np.asarray(nll_DK, dtype=float)
    w_K = np.asarray(weights_K, dtype=float) / np.sum(weights_K)
    x_EK = (counts_K / counts_K.max()) ** -EXPONENTS[:, None]
    mean_x_E, square_x_E = x_EK @ w_K, x_EK**2 @ w_K
    mean_y_D, product_DE = y_DK @ w_K, (y_DK * w_K) @ x_EK.T
    slope_DE = (product_DE - np.outer(mean_y_D, mean_x_E)) / (square_x_E - mean_x_E**2)
    free_DE = mean_y_D[:, None] - slope_DE * mean_x_E
    inside_DE = (slope_DE >= 0) & (free_DE >= 0) & (free_DE <= 1)
    edges = [
        (np.zeros_like(slope_DE), np.maximum(0.0, product_DE / square_x_E)),
        (np.ones_like(slope_DE), np.maximum(0.0, (product_DE - mean_x_E) / square_x_E)),
        (np.clip(mean_y_D, 0, 1)[:, None] + np.zeros_like(slope_DE), np.zeros_like(slope_DE)),
    ]
    free = (np.where(inside_DE, free_DE, edges[0][0]), np.where(inside_DE, slope_DE, edges[0][1]))
    limit_CDE, amplitude_CDE = (np.stack(part) for part in zip(free, *edges, strict=True))
    # Weighted squares of y - limit - amplitude x, without the part that all share.
    error_CDE = (
        limit_CDE**2
        + amplitude_CDE**2 * square_x_E
        + 2 * limit_CDE * amplitude_CDE * mean_x_E
        - 2 * limit_CDE * mean_y_D[:, None]
        - 2 * amplitude_CDE * product_DE
    )
    best_DE = np.argmin(error_CDE, axis=0)[None]
    limit_DE, amplitude_DE, error_DE = (
        np.take_along_axis(part, best_DE, axis=0)[0]
        for part in (limit_CDE, amplitude_CDE, error_CDE)
    )
    best_D = np.argmin(error_DE, axis=1)[:, None]
    return PowerLaw(
        np.take_along_axis(limit_DE, best_D, axis=1)[:, 0],
        np.take_along_axis(amplitude_DE, best_D, axis=1)[:, 0],
        EXPONENTS[best_D[:, 0]],
        float(counts_K.max()),
    )
