"""Estimates as the records' means."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from numpy.typing import ArrayLike

from allroads import stats
from allroads.records import Mean


def to_mean(estimate: stats.Estimate, *, times: float = 1.0, plus: float = 0.0) -> Mean:
    """`times` (positive) the estimate, and `plus`."""

    def moved(number: float | None) -> float | None:
        return None if number is None else times * number + plus

    return Mean(
        value=times * estimate.value + plus,
        low=moved(estimate.low),
        high=moved(estimate.high),
        seeds=estimate.seeds,
        prompts=estimate.prompts,
    )


def crossed(values_OP: ArrayLike, clusters: Sequence[Hashable]) -> Mean:
    """Mean over orders and the held-out pairs that they share, each pair in its prompt's cluster.

    One order has no interval.
    """
    return to_mean(stats.two_way_mean(stats.by_cluster(values_OP, clusters)))


def clustered(values_P: ArrayLike, clusters: Sequence[Hashable]) -> Mean:
    """Mean over cases that come in clusters; one fit, so the interval says nothing of fits."""
    return to_mean(stats.cluster_mean(values_P, clusters))


def fraction(values_P: ArrayLike, clusters: Sequence[Hashable]) -> Mean:
    """The same for values in [0, 1]: an interval inside it, and of some width where none differ.

    Where all are equal the clusters still are a sample, as Wilson counts them.
    """
    estimate = stats.cluster_mean(values_P, clusters)
    if estimate.low is None or estimate.high is None:
        return to_mean(estimate)
    low, high = max(0.0, estimate.low), min(1.0, estimate.high)
    if estimate.low == estimate.high:
        prompts = len(set(clusters))
        wilson = stats.proportion(estimate.value * prompts, prompts)
        low, high = wilson.low, wilson.high
    return to_mean(estimate).model_copy(update={"low": low, "high": high})


def share(values_P: ArrayLike, clusters: Sequence[Hashable]) -> Mean:
    """The same for right and wrong (a tie is a half), counted as Wilson does."""
    return to_mean(stats.clustered_proportion(values_P, clusters))
