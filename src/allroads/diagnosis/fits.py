"""The fits of one learner, order by order."""

from __future__ import annotations

from itertools import pairwise

from allroads.errors import InputError
from allroads.evidence import FULL, Evidence, Fit, Learner


def chains(evidence: Evidence, learner: Learner) -> dict[int, tuple[Fit, ...]]:
    """Each order's fits of every weight, from the fewest pairs to the most.

    Raises:
        InputError: the learner has none, or an order's fit does not take over where the one before
            it ends (`count` and the pairs that follow make the next `count`).
    """
    found: dict[int, list[Fit]] = {}
    for fit in evidence.fits:
        if fit.learner == learner and fit.capacity == FULL:
            found.setdefault(fit.order, []).append(fit)
    if not found:
        raise InputError(f"fits must hold the {learner} at capacity {FULL!r}, got none of it")
    for order, fits in found.items():
        fits.sort(key=lambda fit: fit.count)
        for fit in fits:
            if len(fit.following) != len(fit.following_prompts):
                raise InputError(
                    f"following_prompts must name the prompt of each of {len(fit.following)} "
                    f"following pairs, got {len(fit.following_prompts)} ({learner}, order {order})"
                )
        for before, after in pairwise(fits):
            if before.count + len(before.following) != after.count:
                raise InputError(
                    f"the {learner}'s fits of order {order} must follow one another: after "
                    f"{before.count} pairs and a block of {len(before.following)} comes a fit to "
                    f"{after.count}; leave out the fits after the gap"
                )
    return {order: tuple(found[order]) for order in sorted(found)}


def sizes(evidence: Evidence, learner: Learner) -> list[dict[int, Fit]]:
    """The same by size: the first fit of every order, the second, and so on.

    Counts of one size differ by a few pairs where prompts with several pairs are kept together.
    """
    by_order = chains(evidence, learner)
    longest = max(map(len, by_order.values()))
    return [
        {order: fits[k] for order, fits in by_order.items() if k < len(fits)}
        for k in range(longest)
    ]
