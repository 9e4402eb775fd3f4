"""What every statistic shares: the cells that it reads, and one table of seeds and prompts.

A statistic of one variant is brought to one table, (seeds, prompts), whose rows have the seeds'
values as their means; `stats.two_way_mean` of it is the estimate. So seeds are random, and prompts
(which the seeds share) are too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from allroads import stats
from allroads.errors import AllroadsError, InputError
from allroads.lab.study.power import Components

Floats = NDArray[np.float64]
Read = TypeVar("Read")
_FEWEST = 2
REWARD = "true reward, 0 to 1"
"""Unit of what is not said to have another."""


class NoEstimate(AllroadsError):
    """The finished cells cannot say what the statistic asks for; its test is no test."""


class Cells(Protocol):
    """What finished cells left behind."""

    def rewards(self, variant: str, arm: str, seeds: Sequence[int]) -> NDArray:
        """(S, P) true rewards at the arm's tuned setting; a variant's arms share the prompts."""
        ...

    def frontier(
        self, variant: str, arm: str, seeds: Sequence[int]
    ) -> Sequence[tuple[NDArray, NDArray]]:
        """For each setting (kl, rewards), each (S, P); kl in nats per completion."""
        ...

    def margins(
        self, variant: str, arm: str, seeds: Sequence[int], on: str = "test"
    ) -> Sequence[tuple[NDArray, Sequence[str]]]:
        """For each seed (chosen minus rejected of each held-out pair, the pairs' prompts)."""
        ...


class Need(NamedTuple):
    """What a statistic reads."""

    variant: str
    arm: str
    kind: str
    """'rewards', 'frontier', or 'margins/' and what the pairs are of: 'margins/test'."""


@dataclass(frozen=True, kw_only=True)
class Measured(stats.Estimate):
    """An estimate that knows where its variance comes from."""

    parts: tuple[Components, ...]
    """Of the independent means that it is a sum or difference of; empty for one seed."""


class Table(NamedTuple):
    """(S, P) values and the name of each column's prompt."""

    values: Floats
    prompts: Sequence[Hashable]


class Statistic(Protocol):
    """What a test is made of."""

    @property
    def words(self) -> str:
        """The statistic as a noun, with its sign."""
        ...

    @property
    def unit(self) -> str:
        """Of its value."""
        ...

    @property
    def needs(self) -> tuple[Need, ...]:
        """What `estimate` reads of the cells."""
        ...

    def estimate(self, cells: Cells, seeds: Sequence[int]) -> Measured:
        """With its 95 % interval; `NoEstimate` where the cells do not allow one."""
        ...


@dataclass(frozen=True)
class Gap(ABC):
    """An arm against a baseline in one variant, paired by seed and by prompt."""

    variant: str
    arm: str
    baseline: str

    @property
    def words(self) -> str:
        """As in `Statistic`."""
        return f"{self._noun} of {self.arm} minus {self.baseline} on {self.variant}"

    @property
    def unit(self) -> str:
        """As in `Statistic`."""
        return REWARD

    @property
    def needs(self) -> tuple[Need, ...]:
        """The same of both arms, and for `EqualKL` the start's rewards."""
        both = tuple(Need(self.variant, arm, self._kind) for arm in (self.arm, self.baseline))
        return (*both, *self._more)

    def estimate(self, cells: Cells, seeds: Sequence[int]) -> Measured:
        """Two-way mean of the arms' differences by seed and prompt."""
        return measured(self.table(cells, seeds).values)

    @property
    @abstractmethod
    def _noun(self) -> str: ...

    @property
    @abstractmethod
    def _kind(self) -> str: ...

    @property
    def _more(self) -> tuple[Need, ...]:
        return ()

    @abstractmethod
    def table(self, cells: Cells, seeds: Sequence[int]) -> Table:
        """The differences of which `estimate` is the mean."""


def measured(values: Floats) -> Measured:
    """The two-way mean of (S, P) values, with its components."""
    estimate = stats.two_way_mean(values)
    components = Components.of(values)
    return Measured(**asdict(estimate), parts=() if components is None else (components,))


def crossed(values: Floats) -> Table:
    """A table whose prompts are known by their places alone."""
    return Table(values, range(values.shape[1]))


def shaped(values: NDArray, seeds: Sequence[int], words: str) -> Floats:
    """`values` as (S, P) floats, none missing; `words` says of what, for the error."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or len(array) != len(seeds) or array.size == 0:
        raise InputError(
            f"{words}: cells must be (seeds, prompts) for {len(seeds)} seeds, got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise InputError(
            f"{words}: {int((~np.isfinite(array)).sum())} of {array.size} cells are NaN or "
            "infinite: drop that prompt for every seed and arm, and report how many were dropped"
        )
    return array


def first_seeds(
    seeds: Sequence[int], read: Callable[[Sequence[int]], Read]
) -> tuple[Sequence[int], Read]:
    """What is read with the most of the first seeds that are all there, and those seeds.

    For tables, which show what there is; verdicts read the seeds that were said beforehand.

    Raises:
        NoEstimate: when there is nothing with the first two.
    """
    for count in range(len(seeds), _FEWEST, -1):
        try:
            return seeds[:count], read(seeds[:count])
        except NoEstimate:
            continue
    return seeds[:_FEWEST], read(seeds[:_FEWEST])
