"""From regrets to numbers of pairs: equal regret, growth of the description length, intervals.

Intervals are percentiles of a bootstrap over seeds. Cells share their seeds, so one draw of seeds
serves all cells. Axis letters: B the plain mean and then one resampling of seeds each, N sizes.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from allroads.exact.regret.cell import CODE_UNIT, DOUBLINGS, REGRET_UNIT
from allroads.exact.regret.settings import SIZES
from allroads.exact.tree import Array
from allroads.seeding import child

DRAWS = 2000
"""Resamplings of seeds."""

EQUAL_AT = 512
"""Equal regret is taken at what (c) reaches with this many pairs."""

Cell = dict[str, Any]
"""One cell of the results file."""


class NotRunError(LookupError):
    """A cell that the results do not hold yet."""


class Results(dict[str, Cell]):
    """Cells by name; the study is committed cell by cell, so some may be missing."""

    def __missing__(self, name: str) -> Cell:
        raise NotRunError(name)


class Interval(NamedTuple):
    """A number with its 95 % interval over seeds. Infinite: not reached at the greatest size."""

    value: float
    low: float
    high: float


def interval(values_B: Array) -> Interval:
    """The plain value, and the percentiles of the resampled ones."""
    drawn = np.sort(values_B[1:])
    low, high = drawn[round(0.025 * DRAWS)], drawn[round(0.975 * DRAWS) - 1]
    return Interval(float(values_B[0]), float(low), float(high))


@cache
def _shares(seeds: int) -> Array:
    """How much each seed weighs, (B, S)."""
    rng = child(0, "regret", "bootstrap")
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    return np.concatenate([np.ones((1, seeds)), drawn]) / seeds


def mean_regret(cell: Cell, learner: str) -> Array:
    """Mean over seeds at each size, (B, N), reward units."""
    rows = np.array(cell["regret"][learner], dtype=float) * REGRET_UNIT
    return _shares(len(rows)) @ rows


def pairs_needed(curve_BN: Array, target_B: Array) -> Array:
    """The number of pairs after which each curve stays at or below its target, (B,).

    Straight between the sizes in logarithms of both. Infinite where the last size is still above;
    the least size where all are below.
    """
    above = curve_BN > target_B[:, None]
    last = len(SIZES) - 1 - np.argmax(above[:, ::-1], axis=1)
    here = np.minimum(last, len(SIZES) - 2)
    row, x, y = np.arange(len(here)), np.log(SIZES), np.log(curve_BN)
    fall = (y[row, here] - np.log(target_B)) / (y[row, here] - y[row, here + 1])
    crossing = np.exp(x[here] + fall * (x[here + 1] - x[here]))
    crossing = np.where(last == len(SIZES) - 1, np.inf, crossing)
    return np.where(above.any(axis=1), crossing, float(SIZES[0]))


def data_ratio(cell: Cell, at: int = EQUAL_AT) -> Array:
    """n_a' / n_c at equal regret, (B,): pairs that (a') needs for what (c) reaches with `at`."""
    target = mean_regret(cell, "simple")[:, SIZES.index(at)]
    return pairs_needed(mean_regret(cell, "token"), target) / at


def code_growth(cell: Cell) -> Array:
    """Nats by which (a')'s description of the labels grows more than (c)'s, per doubling, (B,)."""
    rows = np.array(cell["code"], dtype=float) * CODE_UNIT / DOUBLINGS
    return _shares(len(rows)) @ rows


def predicted_ratio(cell: Cell) -> float | None:
    """n_a' / n_c that the Fisher information of both promises; None where one misses the truth."""
    named = cell["predicted"]
    if not {"token", "simple"} <= named.keys():
        return None
    return float(np.mean(named["token"]) / np.mean(named["simple"]))


def slope(x_C: Array, y_BC: Array) -> Array:
    """Least squares of y on x over cells, (B,); infinite values give no number."""
    off = x_C - x_C.mean()
    with np.errstate(invalid="ignore"):
        return y_BC @ off / np.sum(off**2)
