"""Numbers that a hypothesis is about: arms, differences of arms, differences of differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from allroads.errors import ConfigError, InputError
from allroads.lab.study.equal_kl import EqualKL
from allroads.lab.study.held_out import Accuracy, Nll, Probability
from allroads.lab.study.measured import (
    REWARD,
    Cells,
    Floats,
    Gap,
    Measured,
    Need,
    NoEstimate,
    Statistic,
    Table,
    crossed,
    measured,
    shaped,
)

__all__ = [
    "Accuracy",
    "Cells",
    "Difference",
    "EqualKL",
    "Interaction",
    "Level",
    "Measured",
    "Need",
    "Nll",
    "NoEstimate",
    "Probability",
    "Statistic",
]


@dataclass(frozen=True)
class Level:
    """Mean true reward of an arm at its tuned setting."""

    variant: str
    arm: str

    @property
    def words(self) -> str:
        """As in `Statistic`."""
        return f"reward of {self.arm} on {self.variant}"

    @property
    def unit(self) -> str:
        """As in `Statistic`."""
        return REWARD

    @property
    def needs(self) -> tuple[Need, ...]:
        """The arm's rewards."""
        return (Need(self.variant, self.arm, "rewards"),)

    def estimate(self, cells: Cells, seeds: Sequence[int]) -> Measured:
        """Two-way mean of the rewards."""
        rewards = cells.rewards(self.variant, self.arm, seeds)
        return measured(shaped(rewards, seeds, self.words))


@dataclass(frozen=True)
class Difference(Gap):
    """Mean true reward of the arm minus the baseline's, each at its tuned setting."""

    @property
    def _noun(self) -> str:
        return "reward"

    @property
    def _kind(self) -> str:
        return "rewards"

    def table(self, cells: Cells, seeds: Sequence[int]) -> Table:
        """As in `Gap`."""
        ours, theirs = (
            shaped(cells.rewards(self.variant, arm, seeds), seeds, self.words)
            for arm in (self.arm, self.baseline)
        )
        if ours.shape != theirs.shape:
            raise InputError(
                f"{self.words}: both must have the same prompts, got {ours.shape}, {theirs.shape}"
            )
        return crossed(ours - theirs)


@dataclass(frozen=True)
class Interaction:
    """Difference in differences: the first gap minus the second, two gaps of one kind.

    Gaps of different variants count as independent: the variances add, with Welch and
    Satterthwaite's degrees of freedom. If seeds or prompts that both share push both gaps the same
    way, the interval is too wide; never give it two variants of which one is derived from the
    other's results. Gaps of one variant are paired by seed, and by prompt where both have it.
    """

    first: Gap
    second: Gap

    def __post_init__(self) -> None:
        if type(self.first) is not type(self.second):
            kinds = [type(gap).__name__ for gap in (self.first, self.second)]
            raise ConfigError(
                f"an interaction takes two gaps of one kind, got {' and '.join(kinds)}"
            )
        if self.first == self.second:
            raise ConfigError(f"an interaction takes two different gaps, got twice {self.first}")

    @property
    def words(self) -> str:
        """As in `Statistic`."""
        return f"({self.first.words}) minus ({self.second.words})"

    @property
    def unit(self) -> str:
        """That of both gaps."""
        return self.first.unit

    @property
    def needs(self) -> tuple[Need, ...]:
        """What both gaps need."""
        both = (*self.first.needs, *self.second.needs)
        return tuple(dict.fromkeys(both))

    def estimate(self, cells: Cells, seeds: Sequence[int]) -> Measured:
        """First minus second, in their unit."""
        if self.first.variant == self.second.variant:
            return measured(
                _aligned_difference(self.first.table(cells, seeds), self.second.table(cells, seeds))
            )
        return _independent_difference(
            self.first.estimate(cells, seeds), self.second.estimate(cells, seeds)
        )


def _independent_difference(one: Measured, other: Measured) -> Measured:
    prompts = None
    if one.prompts is not None and other.prompts is not None:
        prompts = min(one.prompts, other.prompts)
    apart = replace(
        one,
        value=one.value - other.value,
        low=None,
        high=None,
        standard_error=None,
        df=None,
        prompts=prompts,
        parts=(*one.parts, *other.parts),
    )
    if one.standard_error is None or other.standard_error is None:
        return apart
    squares = np.array([one.standard_error, other.standard_error]) ** 2
    df = None
    half = 0.0
    if squares.sum() > 0:
        # A part without degrees of freedom does not vary: it adds nothing.
        below = sum(v * v / d for v, d in zip(squares, (one.df, other.df), strict=True) if d)
        df = float(squares.sum() ** 2 / below)
        half = float(np.sqrt(squares.sum()) * special.stdtrit(df, 0.975))
    return replace(
        apart,
        low=apart.value - half,
        high=apart.value + half,
        standard_error=float(np.sqrt(squares.sum())),
        df=df,
    )


def _aligned_difference(one: Table, other: Table) -> Floats:
    """Tables of the same seeds subtracted by prompt; a prompt of only one has no part in it there.

    A prompt's part is its deviation from the seed's value, which grows with the number of columns
    that the seed's value is the mean of.
    """
    names = list(dict.fromkeys([*one.prompts, *other.prompts]))
    place = {name: k for k, name in enumerate(names)}

    def wide(table: Table) -> Floats:
        means = table.values.mean(axis=1, keepdims=True)
        out = np.repeat(means, len(names), axis=1)
        columns = [place[name] for name in table.prompts]
        out[:, columns] += (table.values - means) * len(names) / len(columns)
        return out

    return wide(one) - wide(other)
