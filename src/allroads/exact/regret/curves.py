"""From regrets to numbers of pairs: equal regret, growth of the description length, intervals.

Intervals are percentiles of a bootstrap over seeds. Cells share their seeds, so one draw of seeds
serves all cells. Axis letters: B bootstrap draws, S seeds, N sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from allroads.exact.regret.cell import CODE_UNIT, DOUBLINGS, REGRET_UNIT
from allroads.exact.regret.settings import SIZES
from allroads.exact.tree import Array
from allroads.seeding import child

DRAWS = 2000
EQUAL_AT = 512
"""Equal regret is taken at what (c) reaches with this many pairs."""

Cell = dict[str, Any]
"""One cell of the results file."""


class Interval(NamedTuple):
    """A number with its 95 % interval over seeds. Infinite: not reached at the greatest size."""

    value: float
    low: float
    high: float


def mean_regret(cell: Cell, learner: str, seeds: NDArray[np.intp] | None = None) -> Array:
    """Mean over (chosen) seeds at each size, (N,), reward units."""
    rows = np.array(cell["regret"][learner], dtype=float) * REGRET_UNIT
    return (rows if seeds is None else rows[seeds]).mean(axis=0)


def pairs_needed(curve_N: Array, target: float) -> float:
    """The number of pairs after which a curve stays at or below a target.

    Straight between the sizes in logarithms of both. Infinite where the last size is still above;
    the least size where all are below.
    """
    above = np.flatnonzero(curve_N > target)
    if not len(above):
        return float(SIZES[0])
    last = above[-1]
    if last == len(SIZES) - 1:
        return float("inf")
    x, y = np.log(SIZES[last : last + 2]), np.log(curve_N[last : last + 2])
    return float(np.exp(x[0] + (np.log(target) - y[0]) / (y[1] - y[0]) * (x[1] - x[0])))


def data_ratio(cell: Cell, seeds: NDArray[np.intp] | None = None, at: int = EQUAL_AT) -> float:
    """n_a' / n_c at equal regret: pairs that (a') needs for what (c) reaches with `at`."""
    target = mean_regret(cell, "simple", seeds)[SIZES.index(at)]
    return pairs_needed(mean_regret(cell, "token", seeds), target) / at


def code_growth(cell: Cell, seeds: NDArray[np.intp] | None = None) -> float:
    """Nats by which (a')'s description of the labels grows more than (c)'s, per doubling."""
    rows = np.array(cell["code"], dtype=float) * CODE_UNIT / DOUBLINGS
    return float((rows if seeds is None else rows[seeds]).mean())


def predicted_ratio(cell: Cell) -> float | None:
    """n_a' / n_c that the Fisher information of both promises; None where one misses the truth."""
    named = cell["predicted"]
    if not {"token", "simple"} <= named.keys():
        return None
    return float(np.mean(named["token"]) / np.mean(named["simple"]))


def bootstrap(statistic: Callable[[NDArray[np.intp] | None], float], seeds: int) -> Interval:
    """A statistic of seeds with its percentile interval."""
    rng = child(0, "regret", "bootstrap")
    draws = [statistic(rng.integers(seeds, size=seeds)) for _ in range(DRAWS)]
    low, high = np.sort(draws)[[round(0.025 * DRAWS), round(0.975 * DRAWS) - 1]]
    return Interval(statistic(None), float(low), float(high))


def slope(x: Array, y: Array) -> float:
    """Least squares of y on x; not a number where some y is infinite."""
    if not np.isfinite(y).all():
        return float("nan")
    return float(np.polyfit(x, y, 1)[0])
