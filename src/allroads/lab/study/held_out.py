"""Two scorers on the same held-out pairs: which predicts the labels better?"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from allroads.errors import InputError
from allroads.lab.study.measured import Cells, Floats, Gap, Table


@dataclass(frozen=True)
class HeldOut(Gap):
    """Two scorers on the same held-out pairs of each seed, paired within it, clustered by prompt.

    A seed's value is the mean over its pairs, each weighing equally; a prompt's part in it is the
    sum of its pairs' deviations. A prompt that returns with another seed is the same column, so
    its difficulty is counted once; pairs and their number may differ between the seeds.
    """

    on: str = "test"

    @property
    def _kind(self) -> str:
        return f"margins/{self.on}"

    @abstractmethod
    def _grade(self, margins: Floats) -> Floats: ...

    def table(self, cells: Cells, seeds: Sequence[int]) -> Table:
        """As in `Gap`."""
        ours = cells.margins(self.variant, self.arm, seeds, self.on)
        theirs = cells.margins(self.variant, self.baseline, seeds, self.on)
        rows = []
        for s, seed in enumerate(seeds):
            (a, prompts), (b, same) = ours[s], theirs[s]
            if list(prompts) != list(same) or not len(a) == len(b) == len(prompts) > 0:
                raise InputError(
                    f"both scorers must grade the same pairs: seed {seed} of {self.variant} has "
                    f"{len(a)} of {self.arm} and {len(b)} of {self.baseline}, or other prompts"
                )
            difference = self._grade(np.asarray(a, float)) - self._grade(np.asarray(b, float))
            rows.append((difference, list(prompts)))
        place = {name: k for k, name in enumerate(dict.fromkeys(n for _, ns in rows for n in ns))}
        values = np.empty((len(rows), len(place)))
        for s, (difference, prompts) in enumerate(rows):
            mean = difference.mean()
            members = [place[name] for name in prompts]
            sums = np.bincount(members, difference - mean, len(place))
            values[s] = mean + sums * len(place) / len(difference)
        return Table(values, list(place))


@dataclass(frozen=True)
class Accuracy(HeldOut):
    """Share of held-out pairs that the arm ranks right minus the baseline's; a tie is a half."""

    @property
    def _noun(self) -> str:
        return f"accuracy on {self.on} pairs"

    @property
    def unit(self) -> str:
        """As in `Statistic`."""
        return "share of held-out pairs"

    def _grade(self, margins: Floats) -> Floats:
        return np.heaviside(margins, 0.5)


@dataclass(frozen=True)
class Nll(HeldOut):
    """Surprise of the arm at held-out labels minus the baseline's, nats a pair: above 0 is worse.

    Of Bradley and Terry: -log sigmoid(margin), the margin in the scorer's own units.
    """

    @property
    def _noun(self) -> str:
        return f"NLL on {self.on} pairs"

    @property
    def unit(self) -> str:
        """As in `Statistic`."""
        return "nats a pair"

    def _grade(self, margins: Floats) -> Floats:
        return -special.log_expit(margins)


@dataclass(frozen=True)
class Probability(HeldOut):
    """Mean probability that the arm gives to held-out labels minus the baseline's.

    Of Bradley and Terry: sigmoid(margin), the margin in the scorer's own units; what the paper
    calls a reward model's likelihood.
    """

    @property
    def _noun(self) -> str:
        return f"probability of the labels of {self.on} pairs"

    @property
    def unit(self) -> str:
        """As in `Statistic`."""
        return "mean probability"

    def _grade(self, margins: Floats) -> Floats:
        return special.expit(margins)
