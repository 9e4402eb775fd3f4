"""Power laws through measured points, and whether they keep what is expected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

TOLERANCE = 0.1
"""What an exponent may lie above its expectation."""


@dataclass(frozen=True)
class Exponent:
    """`y` grows as `x` to the power of `value`; `last` is the power between the last two points.

    `low` and `high` end the 95 % interval of least squares in logarithms.
    """

    value: float
    low: float
    high: float
    last: float


def fitted(xs: Sequence[float], ys: Sequence[float]) -> Exponent:
    """The power law through at least three points, all positive."""
    if len(xs) != len(ys) or len(xs) < 3 or min(*xs, *ys) <= 0:
        raise ValueError(f"expected three or more positive points, got {list(zip(xs, ys))}")  # noqa: B905
    x, y = np.log(xs), np.log(ys)
    spread = float(((x - x.mean()) ** 2).sum())
    value = float((x - x.mean()) @ (y - y.mean())) / spread
    rest = y - y.mean() - value * (x - x.mean())
    df = len(xs) - 2
    error = math.sqrt(float(rest @ rest) / df / spread)
    reach = float(special.stdtrit(df, 0.975)) * error
    last = float((y[-1] - y[-2]) / (x[-1] - x[-2]))
    return Exponent(value, value - reach, value + reach, last)


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the straight line through the points by least squares."""
    x, y = np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)
    x = x - x.mean()
    return float(x @ y / (x @ x))


def verdict(found: Exponent, most: float) -> str:
    """Whether growth is at most `most`: "yes" or "no" if the whole interval says so."""
    limit = most + TOLERANCE
    if found.high <= limit:
        return "yes"
    return "no" if found.low > limit else "unclear"
