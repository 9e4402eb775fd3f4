"""A scorer on preference pairs: what it says of each, from which everything else follows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from allroads import stats
from allroads.judges import Labeller
from allroads.models.states import Rows
from allroads.types import Pair


def margins(labeller: Labeller, pairs: Sequence[Pair]) -> list[float]:
    """Score of chosen minus score of rejected, for each pair, in the labeller's units."""
    prompts = [pair.prompt for pair in pairs]
    both = Rows(
        [*prompts, *prompts],
        [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)],
    )
    scores = labeller(both)
    return [a - b for a, b in zip(scores[: len(pairs)], scores[len(pairs) :], strict=True)]


def hits(margin: ArrayLike) -> NDArray[np.float64]:
    """1 where chosen scores higher, 1/2 for a tie, else 0."""
    values = np.asarray(margin, dtype=float)
    return (values > 0) + 0.5 * (values == 0)


def nll(margin: ArrayLike) -> NDArray[np.float64]:
    """Bradley-Terry surprise at each label in nats; log 2 for a coin."""
    return np.logaddexp(0.0, -np.asarray(margin, dtype=float))


def calibration(margin: ArrayLike, bins: int = 10) -> tuple[float, list[stats.ReliabilityBin]]:
    """Expected calibration error and reliability bins, each pair read in both directions."""
    values = np.asarray(margin, dtype=float)
    probability = 1 / (1 + np.exp(-np.clip(values, -500, 500)))
    both = np.concatenate([probability, 1 - probability])
    outcome = np.repeat([1.0, 0.0], len(values))
    return (
        stats.expected_calibration_error(both, outcome, bins=bins),
        stats.reliability(both, outcome, bins=bins),
    )
