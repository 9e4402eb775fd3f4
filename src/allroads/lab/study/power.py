"""What a design can see: standard errors and detectable effects from variance components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from allroads.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances of one value of a crossed design, by source, in squared units of the value.

    The mean over S seeds and P prompts has the variance seed / S + prompt / P + residual / (S P):
    more seeds shrink the first and the last term only. All are expectations of the terms of
    `stats.two_way_mean`, whose degrees of freedom `degrees` predicts.
    """

    seed: float
    prompt: float
    residual: float
    prompts: int

    @classmethod
    def of(cls, values: ArrayLike) -> Components | None:
        """Estimated from (S, P) values by mean squares, none below zero; None for one seed.

        With S seeds they give back the standard error of `two_way_mean` exactly.
        """
        cells = np.asarray(values, dtype=np.float64)
        seeds, prompts = cells.shape
        if seeds == 1:
            return None
        of_seed, of_prompt = cells.mean(axis=1), cells.mean(axis=0)
        if prompts == 1:
            return cls(seed=float(of_seed.var(ddof=1)), prompt=0.0, residual=0.0, prompts=1)
        left = cells - of_seed[:, None] - of_prompt + cells.mean()
        residual = float(np.sum(left**2)) / ((seeds - 1) * (prompts - 1))
        return cls(
            seed=max(0.0, float(of_seed.var(ddof=1)) - residual / prompts),
            prompt=max(0.0, float(of_prompt.var(ddof=1)) - residual / seeds),
            residual=residual,
            prompts=prompts,
        )

    def variance(self, seeds: ArrayLike) -> Floats:
        """Of the mean over so many seeds and all `prompts`."""
        counts = np.asarray(seeds, dtype=np.float64)
        return (self.seed + self.residual / self.prompts) / counts + self.prompt / self.prompts

    def degrees(self, seeds: ArrayLike) -> Floats:
        """Of freedom of its t interval, at least 2 seeds; infinite where nothing varies."""
        counts = np.asarray(seeds, dtype=np.float64)
        if self.prompts == 1:
            return counts - 1
        df_seed, df_prompt = counts - 1, self.prompts - 1
        squares_seed = self.prompts * self.seed + self.residual
        squares_prompt = counts * self.prompt + self.residual
        terms = (
            (squares_seed * (counts + 1) / df_seed, df_seed),
            (squares_prompt * (self.prompts + 1) / df_prompt, df_prompt),
            (-self.residual, df_seed * df_prompt),
        )
        below = sum(weight**2 / df for weight, df in terms)
        above = sum(weight for weight, _ in terms) ** 2
        return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.inf)


def precision(parts: Sequence[Components], seeds: ArrayLike) -> tuple[Floats, Floats]:
    """Standard error and degrees of freedom of a sum (or difference) of independent means.

    Args:
        parts: the components of each mean; one for a mean that stands alone.
        seeds: how many, at least 2, the same for each part; any shape.

    Returns:
        Both in the shape of `seeds`; degrees are Welch and Satterthwaite's.

    Source: Satterthwaite 1946, Biometrics Bulletin 2, 110; Welch 1947, Biometrika 34, 28.
    """
    if not parts or np.any(np.asarray(seeds) < 2):
        raise InputError(f"precision needs components and at least 2 seeds, got {seeds} seeds")
    variances = np.array([part.variance(seeds) for part in parts])
    degrees = np.array([part.degrees(seeds) for part in parts])
    total, below = variances.sum(axis=0), (variances**2 / degrees).sum(axis=0)
    df = np.where(below > 0, total**2 / np.where(below > 0, below, 1.0), np.inf)
    return np.sqrt(total), df


def detectable_effect(
    parts: Sequence[Components], seeds: int, *, power: float = 0.8, level: float = 0.05
) -> float:
    """Smallest effect whose interval excludes zero, on its own side, with this probability.

    Args:
        parts: as in `precision`; their `prompts` are the prompts of the design.
        seeds: of the design, at least 2.
        power: probability of finding it, inside (0, 1).
        level: of the two-sided t test.

    Returns:
        The effect in units of the value: the noncentrality at which the noncentral t exceeds its
        critical value so often, times the standard error.
    """
    error, df = (float(x) for x in precision(parts, seeds))
    if error == 0.0:
        return 0.0
    df = min(df, 1e6)  # beyond, the noncentral t is normal, and scipy's inverse slow
    critical = special.stdtrit(df, 1 - level / 2)
    return error * float(special.nctdtrinc(df, 1 - power, critical))


def provable_margin(
    parts: Sequence[Components], seeds: int, *, power: float = 0.8, level: float = 0.05
) -> float:
    """Smallest margin inside which a true difference of zero is shown to lie this often.

    Both one-sided tests of `stats.equivalence` must pass: each may miss half of 1 - power. Takes
    the estimated standard error for the true one, so it is a little low with very few seeds.

    Args and units as `detectable_effect`; `level` is that of each one-sided test.

    Source: Julious 2004, Statistics in Medicine 23, 1921 (sample sizes for equivalence).
    """
    error, df = (float(x) for x in precision(parts, seeds))
    halves = special.stdtrit(min(df, 1e9), [1 - level, (1 + power) / 2])
    return error * float(halves.sum())
