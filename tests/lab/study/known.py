"""Cells and estimates whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from allroads.lab.study.measured import Measured, Need
from allroads.lab.study.power import Components, precision
from allroads.lab.study.statistics import NoEstimate


@dataclass
class Given:
    """Cells that were written down, by (variant, arm)."""

    reward: Mapping[tuple[str, str], object] = field(default_factory=dict)
    points: Mapping[tuple[str, str], Sequence[tuple[object, object]]] = field(default_factory=dict)
    pairs: Mapping[tuple[str, str, str], Sequence[tuple[object, Sequence[str]]]] = field(
        default_factory=dict
    )

    def rewards(self, variant: str, arm: str, seeds: Sequence[int]) -> NDArray:
        return np.array(self.reward[variant, arm], dtype=float)

    def frontier(self, variant: str, arm: str, seeds: Sequence[int]):
        return [
            (np.array(kl, float), np.array(r, float))
            for kl, r in self.points.get((variant, arm), [])
        ]

    def margins(self, variant: str, arm: str, seeds: Sequence[int], on: str = "test"):
        return [(np.array(m, float), names) for m, names in self.pairs[variant, arm, on]]


@dataclass(frozen=True)
class Said:
    """A statistic whose estimate is given; None for cells that cannot say."""

    words: str
    found: Measured | None

    @property
    def needs(self) -> tuple[Need, ...]:
        return ()

    def estimate(self, cells: object, seeds: Sequence[int]) -> Measured:
        if self.found is None:
            raise NoEstimate(f"{self.words} cannot be said")
        return self.found


def over_seeds(value: float, variance: float, seeds: int) -> Measured:
    """One number per seed, of this mean and sample variance."""
    return planned(value, Components(seed=variance, prompt=0, residual=0, prompts=1), seeds)


def planned(value: float, part: Components, seeds: int) -> Measured:
    """An estimate whose interval is exactly as wide as its components say."""
    error, df = (float(x) for x in precision((part,), max(2, seeds)))
    return Measured(
        value=value,
        low=None,
        high=None,
        standard_error=error,
        df=df,
        seeds=seeds,
        prompts=part.prompts,
        parts=(part,),
    )


def draw(
    rng: np.random.Generator,
    *,
    mean: float,
    seed: float,
    prompt: float,
    residual: float,
    seeds: int,
    prompts: int,
) -> NDArray:
    """Crossed random effects with these standard deviations, (seeds, prompts)."""
    return (
        mean
        + seed * rng.normal(size=(seeds, 1))
        + prompt * rng.normal(size=prompts)
        + residual * rng.normal(size=(seeds, prompts))
    )
