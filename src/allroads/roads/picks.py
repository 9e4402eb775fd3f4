"""Which of a prompt's scored completions reach the loss. Order never decides: ties drop out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from allroads.types import Completion


@dataclass(frozen=True)
class Scored:
    """One sampled completion with its labeller's score; NaN marks a failed score."""

    completion: Completion
    score: float

    @property
    def rank(self) -> tuple[bool, float]:
        """A completion cut at the length limit ranks below every finished one."""
        return (self.completion.finished, self.score)


def _usable(group: Sequence[Scored]) -> list[Scored]:
    return [one for one in group if not math.isnan(one.score)]


def _by_rank(one: Scored) -> tuple[tuple[bool, float], float, tuple[int, ...]]:
    """Rank, then log-probability, then the tokens themselves: never the order of arrival."""
    return (one.rank, one.completion.logprob, one.completion.tokens)


def _ordered(better: Scored, worse: Scored) -> tuple[Scored, Scored] | None:
    if better.completion.tokens == worse.completion.tokens or better.rank == worse.rank:
        return None
    if not better.completion.finished and not worse.completion.finished:
        return None
    return better, worse


def two(group: Sequence[Scored]) -> tuple[Scored, Scored] | None:
    """The first two of independent samples, the better one first.

    None for a tie, for identical texts, when both are unfinished, or when a score failed.
    """
    first, second = group[0], group[1]
    if math.isnan(first.score) or math.isnan(second.score):
        return None
    better, worse = (first, second) if first.rank > second.rank else (second, first)
    return _ordered(better, worse)


def best_worst(group: Sequence[Scored]) -> tuple[Scored, Scored] | None:
    """The best and the worst of the samples; None as for `two`, over those whose score succeeded.

    Equal best (worst) scores are decided by log-probability, the likelier one.
    """
    usable = _usable(group)
    if len(usable) < 2:
        return None
    best = max(usable, key=_by_rank)
    worst = min(usable, key=lambda one: (one.rank, -one.completion.logprob, one.completion.tokens))
    return _ordered(best, worst)


def margin_matched(group: Sequence[Scored], target: float) -> tuple[Scored, Scored] | None:
    """Of all pairs of the samples, the one whose lead is nearest to a target, the better first.

    Args:
        group: the samples; only those whose score succeeded are looked at.
        target: the lead that is wanted, in the labeller's units.

    Returns:
        The pair, or None where no two of them make one: see `two`. Of equally near ones the pair
        with the larger lead, then the likelier better and the likelier worse one.
    """
    made = [
        pair
        for both in combinations(_usable(group), 2)
        if (pair := _ordered(*sorted(both, key=lambda one: one.rank, reverse=True))) is not None
    ]
    if not made:
        return None

    def place(pair: tuple[Scored, Scored]) -> tuple[float, float, object, object]:
        return (-abs(lead(pair) - target), lead(pair), _by_rank(pair[0]), _by_rank(pair[1]))

    return max(made, key=place)


def lead(pair: Sequence[Scored]) -> float:
    """The score of the first less that of the second, in the labeller's units."""
    return pair[0].score - pair[1].score


def winners(group: Sequence[Scored]) -> tuple[Scored, ...] | None:
    """The best sample; equal ones are decided by log-probability."""
    usable = _usable(group)
    if not usable:
        return None
    return (max(usable, key=_by_rank),)


def whole_group(group: Sequence[Scored]) -> tuple[Scored, ...] | None:
    """All samples; None when any score failed, because a baseline needs every one."""
    return tuple(group) if len(_usable(group)) == len(group) else None


def floored(groups: Sequence[Sequence[Scored]], *, penalty: float) -> list[list[Scored]]:
    """Unfinished completions get the round's lowest finished score minus `penalty`.

    A reward model's score of a text that it never saw cut off means nothing; this places such a
    text below every finished one by a stated amount, in the labeller's units. Where no finished
    completion of the round has a score, the others get none either: there is nothing to compare.
    """
    finished = [
        one.score
        for group in groups
        for one in group
        if one.completion.finished and not math.isnan(one.score)
    ]
    floor = min(finished) - penalty if finished else math.nan
    return [
        [one if one.completion.finished else Scored(one.completion, floor) for one in group]
        for group in groups
    ]


MARGIN_MATCHED = "margin-matched"
"""The pick that needs a target beside its group; the others stand in `PICKS`."""
PICKS = {"two": two, "best-worst": best_worst, "winners": winners, "group": whole_group}
