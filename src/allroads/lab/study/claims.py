"""What may be claimed of a value, and when the claim holds or fails.

From the estimate (value, standard error, degrees of freedom of its t) each claim makes two
p-values, one for holding and one for failing:

    claim          holds                                    fails
    above(d)       value > 0: 95 % interval above 0         value < d: 95 % interval below d
    below(d)       above(d) of minus the value
    at_least(d)    value > d: 95 % interval above d         value < d: 95 % interval below d
    within(d)      |value| < d: 90 % interval inside +-d    value != 0: 95 % interval without 0

`above(d)` says that there is an effect, and that it is not shown to be smaller than what counts;
only `at_least(d)` shows that it counts. Where both sides reach 5 %, failing wins for `above` and
`below`, holding wins for `within`: an effect that is shown to be too small to count is none.

A value between 0 and d makes `above` neither true nor false: the grey zone that d says is of no
interest. There a first verdict may be 'supported' and one with more seeds 'refuted'. In the same
zone `within` may fail first and hold with more seeds: to fail is to differ, not to differ enough.

Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657 (`within`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from allroads.errors import ConfigError

Floats = NDArray[np.float64]

ALPHA = 0.05


@dataclass(frozen=True)
class Claim:
    """What a test says of its value; made by `above`, `below`, `within` and `at_least`."""

    kind: Literal["above", "below", "within", "at least"]
    delta: float

    @property
    def words(self) -> str:
        """The prediction as the end of a sentence."""
        return {
            "above": f"above 0, not shown to be below {self.delta:g}",
            "below": f"below 0, not shown to be above {-self.delta:g}",
            "within": f"within +-{self.delta:g}",
            "at least": f"at least {self.delta:g}",
        }[self.kind]

    def p_values(self, value: float, error: ArrayLike, df: ArrayLike) -> tuple[Floats, Floats]:
        """For holding and for failing; each at most .05 exactly where the claim holds or fails.

        Args:
            value: the estimate.
            error: its standard error; any shape.
            df: degrees of freedom of its t, in the same shape.

        Returns:
            Two arrays. A two-sided p (twice the tail) for each, but `within` holds by the larger
            tail of two one-sided tests. Never both at most .05: the side that loses (see the
            head of this file) has 1.
        """
        if self.kind == "below":
            return above(self.delta).p_values(-value, error, df)
        if self.kind == "within":
            holds = _tail(abs(value) - self.delta, error, df)
            fails = np.minimum(1.0, 2 * _tail(-abs(value), error, df))
            return holds, np.where(holds <= ALPHA, 1.0, fails)
        floor = self.delta if self.kind == "at least" else 0.0
        holds = np.minimum(1.0, 2 * _tail(floor - value, error, df))
        fails = np.minimum(1.0, 2 * _tail(value - self.delta, error, df))
        return np.where(fails <= ALPHA, 1.0, holds), fails


def above(delta: float) -> Claim:
    """There is an effect above zero; one below `delta` (positive) would not count."""
    return Claim("above", _positive(delta))


def below(delta: float) -> Claim:
    """There is an effect below zero; one above -`delta` would not count."""
    return Claim("below", _positive(delta))


def within(delta: float) -> Claim:
    """There is no effect that counts: none of `delta` or more, in either direction."""
    return Claim("within", _positive(delta))


def at_least(delta: float) -> Claim:
    """The value is at least `delta`, which may be zero: stricter than `above`, for premises."""
    if not np.isfinite(delta):
        raise ConfigError(f"delta must be a number, got {delta}")
    return Claim("at least", delta)


def _tail(distance: float, error: ArrayLike, df: ArrayLike) -> Floats:
    """P(T <= distance / error), a step where the error is zero."""
    error, df = np.asarray(error, dtype=np.float64), np.asarray(df, dtype=np.float64)
    scaled = distance / np.where(error > 0, error, 1.0)
    tail = np.where(np.isinf(df), special.ndtr(scaled), special.stdtr(df, scaled))
    return np.where(error > 0, tail, 0.0 if distance < 0 else 1.0)


def _positive(delta: float) -> float:
    if not (np.isfinite(delta) and delta > 0):
        raise ConfigError(
            f"delta must be a positive number (what counts as an effect), got {delta}"
        )
    return float(delta)
