"""The rule by which a grader may be believed, fixed before any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from allroads import stats
from allroads.evaluation.scorers import hits

LEAST_CLUSTERS = 10
"""With fewer held-out clusters a t interval of right and wrong means nothing."""
BASELINES = ("length", "tf-idf")


@dataclass(frozen=True)
class Grade:
    """How a grader and its baselines do on the same held-out pairs; intervals are over clusters."""

    pairs: int
    clusters: int
    """Prompts, or the conversations that they continue."""
    accuracy: Mapping[str, stats.Estimate]
    """Of 'grader', 'length' and 'tf-idf'; a tie counts half."""
    over: Mapping[str, stats.Estimate]
    """Accuracy of the grader minus that of 'a coin', 'length' and 'tf-idf', on the same pairs."""

    @property
    def not_beaten(self) -> tuple[str, ...]:
        """What the grader does not beat with its whole 95 % interval."""
        return tuple(
            name
            for name, estimate in self.over.items()
            if estimate.low is None or estimate.low <= 0
        )

    @property
    def believed(self) -> bool:
        """Whether a verdict may be drawn: all three are beaten, on at least 10 clusters."""
        return not self.not_beaten and self.clusters >= LEAST_CLUSTERS


def grade(margins: Mapping[str, ArrayLike], clusters: Sequence[str]) -> Grade:
    """Judge a grader beside its baselines.

    Args:
        margins: (N,) log-odds of the chosen answers by 'grader', 'length' and 'tf-idf'.
        clusters: N prompts, or conversations; pairs of one are not independent.
    """
    right = {name: hits(margins[name]) for name in ("grader", *BASELINES)}
    rivals = {"a coin": np.full(len(clusters), 0.5), **{name: right[name] for name in BASELINES}}
    return Grade(
        pairs=len(clusters),
        clusters=len(set(clusters)),
        accuracy={name: _share(values, clusters) for name, values in right.items()},
        over={
            name: stats.cluster_mean(right["grader"] - other, clusters)
            for name, other in rivals.items()
        },
    )


def _share(values: ArrayLike, clusters: Sequence[str]) -> stats.Estimate:
    """The accuracy for the eye: inside [0, 1], and never without width."""
    estimate = stats.cluster_mean(values, clusters)
    if estimate.low is None or estimate.high is None:
        return estimate
    if estimate.low == estimate.high:
        # All right, all wrong or all ties: the prompts still are a sample, as Wilson counts them.
        prompts = len(set(clusters))
        wilson = stats.proportion(estimate.value * prompts, prompts)
        return replace(estimate, low=wilson.low, high=wilson.high)
    return replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))
