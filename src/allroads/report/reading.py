"""Which of the points is meant: the last of a training, the one that was chosen, a road's path."""

from __future__ import annotations

from collections.abc import Sequence

from allroads.records import Comparison, Point, Results
from allroads.report import numbers


def roads(results: Results) -> tuple[str, ...]:
    """Every road that has points, in the order of the records."""
    return tuple(dict.fromkeys(point.road for point in results.points))


def drawable(point: Point) -> bool:
    """Whether the point has a place on the frontier."""
    return numbers.finite(point.kl.value) is not None and (
        numbers.finite(point.reward.value) is not None
    )


def of_road(results: Results, road: str) -> tuple[Point, ...]:
    """The points of one road."""
    return tuple(point for point in results.points if point.road == road)


def last(points: Sequence[Point]) -> tuple[Point, ...]:
    """For each setting, the point at the end of its training."""
    ends: dict[tuple[str, str, float | None], Point] = {}
    for point in points:
        key = (point.road, point.knob, point.value)
        if key not in ends or point.fraction >= ends[key].fraction:
            ends[key] = point
    return tuple(ends.values())


def chosen(results: Results, road: str) -> Point | None:
    """The road's selected point; its only setting where there is no choice; otherwise None."""
    points = of_road(results, road)
    marked = [point for point in points if point.selected]
    if marked:
        return max(marked, key=lambda point: point.fraction)
    ends = last(points)
    return ends[0] if len(ends) == 1 else None


def setting(point: Point) -> str:
    """For example `beta 0.1` or `N 16, at 50 % of training`."""
    words = []
    if point.knob and point.value is not None:
        words.append(f"{point.knob} {numbers.number(point.value)}")
    if point.fraction < 1:
        words.append(f"at {numbers.number(100 * point.fraction)} % of training")
    return ", ".join(words) or "no setting"


def path(points: Sequence[Point], point: Point) -> tuple[Point, ...]:
    """The training of one point's setting, in order of time."""
    same = [p for p in points if (p.knob, p.value) == (point.knob, point.value)]
    return tuple(sorted(same, key=lambda p: p.fraction))


def baseline(results: Results) -> str | None:
    """The road that most of the comparisons are against."""
    names = [comparison.baseline for comparison in results.comparisons]
    return max(dict.fromkeys(names), key=names.count) if names else None


def against(results: Results, road: str, base: str | None) -> Comparison | None:
    """The comparison of `road` with `base`, if there is one."""
    pairs = (c for c in results.comparisons if c.road == road and c.baseline == base)
    return next(pairs, None)


def bars(results: Results) -> str:
    """What a figure's caption says about its interval bars."""
    return "one seed: no interval" if len(results.seeds) <= 1 else "bars are 95 % intervals"


def state(results: Results) -> str:
    """What the verdict's band says: `decided`, `undecided` or `no verdict`."""
    if results.verdict.decided:
        return "decided"
    silent = all(c.conclusion == "no verdict" for c in results.comparisons)
    return "no verdict" if silent or len(results.seeds) <= 1 else "undecided"
