"""A/A test: how often does the lab's rule claim a difference between two equal roads?

From a pool of runs of one road, many small studies are drawn: 5 seeds against 5, on the same
prompts. Each claims a difference where the two-sided 95 % interval of `stats.paired_difference`
leaves out zero. The share of claims should be 5 % or less.

The studies of one pool share runs, so their share might scatter more than that of 200 independent
ones (binomial standard deviation .0154). In simulated pools of 40, 100 pools a mix, it hardly does:
.015 to .019 where runs differ beyond their prompts, and 4 to 7 % of such pools fail the check. Both
designs are symmetric given the pool; were replicates not swapped at random, the deviation would be
.027 and 11 % would fail, since each pool has a mean difference that all its studies inherit. Where
a seed moves single answers only, not their mean, the interval is too wide (see `two_way_mean`) and
the share about 1 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from allroads import stats
from allroads.errors import InputError
from allroads.records import Record

LEVEL = 0.05
FEWEST_RUNS = 40
Z = 1.645
"""At a true share of 5 % the check still fails for 4.4 % of independent draws."""


class Claims(Record):
    """How often a difference was claimed where there is none."""

    design: str
    """What was drawn against what."""
    pool: int
    """Seeds in the pool."""
    seeds: int
    """On each side of a study."""
    draws: int
    claims: int
    bound: float
    """Largest share that passes: .05 + 1.645 sqrt(.05 .95 / draws)."""

    @property
    def share(self) -> float:
        """Of studies that claim a difference."""
        return self.claims / self.draws

    @property
    def passes(self) -> bool:
        """The share is at most 5 %, up to the binomial error."""
        return self.share <= self.bound

    @property
    def words(self) -> str:
        """One sentence for the findings."""
        return (
            f"{self.design}: {self.claims} of {self.draws} studies of {self.seeds} seeds, drawn "
            f"from a pool of {self.pool}, claim a difference ({self.share:.1%}; at most "
            f"{self.bound:.1%} passes, 5 % plus 1.645 binomial standard errors): "
            f"{'passed' if self.passes else 'FAILED'}."
        )


def replicates(
    pool_a: ArrayLike,
    pool_b: ArrayLike,
    *,
    rng: np.random.Generator,
    seeds: int = 5,
    draws: int = 200,
) -> Claims:
    """Two runs of each seed, on the same data but with different training randomness, paired.

    Replicates have no order, so each study also draws which of a seed's two is on which side.

    Args:
        pool_a: (n, P) rewards, n at least 40.
        pool_b: the second runs of the same seeds, on the same prompts.
        rng: draws the studies.
        seeds: of a study.
        draws: studies.

    Raises:
        InputError: pools of different shapes or too small, or without any difference: two runs
            that are equal to the bit test nothing.
    """
    a, b = _pool("pool_a", pool_a, seeds), _pool("pool_b", pool_b, seeds)
    if a.shape != b.shape:
        raise InputError(f"pool_a and pool_b must have one shape, got {a.shape} and {b.shape}")
    if np.array_equal(a, b):
        raise InputError("pool_a and pool_b are equal: give the replicates other training seeds")
    claims = 0
    for _ in range(draws):
        chosen = rng.choice(len(a), seeds, replace=False)
        signs = rng.choice([-1.0, 1.0], (seeds, 1))
        claims += _claimed(signs * (a[chosen] - b[chosen]))
    design = "Two runs of each seed, paired"
    return _claims(design, len(a), seeds, draws, claims)


def halves(
    pool: ArrayLike, *, rng: np.random.Generator, seeds: int = 5, draws: int = 200
) -> Claims:
    """Distinct seeds of one pool against each other, paired in the order in which they are drawn.

    Args and errors as `replicates`.
    """
    runs = _pool("pool", pool, seeds)
    claims = 0
    for _ in range(draws):
        chosen = rng.choice(len(runs), 2 * seeds, replace=False)
        claims += _claimed(runs[chosen[:seeds]] - runs[chosen[seeds:]])
    return _claims("Distinct seeds of one road", len(runs), seeds, draws, claims)


def _claimed(differences: np.ndarray) -> bool:
    estimate = stats.two_way_mean(differences, level=1 - LEVEL)
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low > 0 or estimate.high < 0


def _claims(design: str, pool: int, seeds: int, draws: int, claims: int) -> Claims:
    bound = LEVEL + Z * float(np.sqrt(LEVEL * (1 - LEVEL) / draws))
    return Claims(design=design, pool=pool, seeds=seeds, draws=draws, claims=claims, bound=bound)


def _pool(name: str, values: ArrayLike, seeds: int) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or len(array) < FEWEST_RUNS:
        raise InputError(
            f"{name} must be (seeds, prompts) with at least {FEWEST_RUNS} seeds, got {array.shape}"
        )
    if not 2 <= seeds <= len(array) // 2:
        raise InputError(f"seeds must lie in [2, {len(array) // 2}], got {seeds}")
    return array
