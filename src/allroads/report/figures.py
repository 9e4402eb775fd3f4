"""The figures of the policies: differences, frontier, over-optimisation. `Results` -> pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from allroads.records import Mean, Point, Results
from allroads.report import ink, numbers, reading, tables
from allroads.report.ink import Key, Picture, Sheet

KL_LABEL = "KL from the start, nats per completion (√ scale)"
_RING = Key(
    sign=ink.sign("o", stroke="currentColor", fill="none", size=11),
    name="chosen by held-out preferences",
)
_DIAMOND = Key(
    sign=ink.sign("D", stroke="currentColor", fill="none", size=9.5),
    name="best in hindsight (oracle; decides nothing)",
)
_TICK = Key(
    sign=Markup('<svg class="sign" viewBox="0 0 28 16" aria-hidden="true">')
    + Markup('<path d="M4 8H22M22 3V13" fill="none" stroke="currentColor"/></svg>'),
    name="upper bound on the KL of best-of-N",
)


def side_bars(mean: Mean) -> list[list[float]] | None:
    """The interval as matplotlib wants it: distances below and above the mean."""
    ends = numbers.bounds(mean)
    if ends is None:
        return None
    return [[max(mean.value - ends[0], 0.0)], [max(ends[1] - mean.value, 0.0)]]


@ink.styled
def differences(results: Results) -> Picture | None:
    """Each road's difference to its baseline with its interval, and the margin that counts as none.

    None without comparisons.
    """
    shown = [c for c in results.comparisons if numbers.finite(c.difference.value) is not None]
    if not shown:
        return None
    sheet = Sheet("differences", 72 + 42 * len(shown))
    bases = {c.baseline for c in shown}
    base = ink.plain(bases.pop(), 20) if len(bases) == 1 else "its baseline"
    top = sheet.heading(16, f"difference to {base} in {results.metric.name}, {results.metric.unit}")
    axes = sheet.axes(top=top, bottom=26, left=22, right=22)
    axes.grid(visible=False)
    margins = [c.margin for c in shown if numbers.finite(c.margin)]
    if margins:
        axes.axvspan(-min(margins), min(margins), color=ink.GRID, linewidth=0, alpha=0.6)
    axes.axvline(0, color=ink.SOFT, linewidth=1)
    for row, c in enumerate(shown):
        tone = ink.colour(0) if c.conclusion in {"better", "worse"} else ink.SOFT
        axes.errorbar(
            c.difference.value, row, xerr=side_bars(c.difference), fmt="o", color=tone, lw=2
        )
        text = f"{ink.plain(c.road, 28)}: {c.conclusion}"
        if bases:
            text = f"{ink.plain(c.road, 15)} against {ink.plain(c.baseline, 11)}: {c.conclusion}"
        axes.text(0, row - 0.2, sheet.word(text), transform=axes.get_yaxis_transform(), va="bottom")
    axes.set_ylim(len(shown) - 0.6, -0.75)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    ink.round_ticks(axes, "x")
    said = "; ".join(
        f"{c.road} against {c.baseline} {numbers.value_of(c.difference, sign=True)} "
        f"({numbers.interval_of(c.difference, sign=True)}), {c.conclusion}"
        for c in shown
    )
    return Picture(
        name="differences",
        title="What each road adds",
        svg=sheet.svg(f"Differences in {results.metric.name}: {said}."),
        reading="Right of the line, the road is ahead of its baseline "
        f"({reading.bars(results)}). Only a bar that keeps clear of the line can decide, and "
        "only one that stays inside the shaded margin shows that there is no difference that "
        "counts.",
        keys=(),
        table=tables.of_comparisons(results),
    )


@ink.styled
def frontier(results: Results) -> Picture | None:
    """The metric against the distance from the start policy, one line per road over its settings.

    None where no point can be drawn.
    """
    extra = [p for p in results.points if p.selected or p.oracle]
    shown = [p for p in (*reading.last(results.points), *extra) if reading.drawable(p)]
    shown = list(dict.fromkeys(shown))
    if not shown:
        return None
    sheet = Sheet("frontier", 340)
    top = sheet.heading(16, f"{results.metric.name} on held-out prompts, {results.metric.unit}")
    axes = sheet.axes(top=top, bottom=46)
    for index, road in enumerate(reading.roads(results)):
        mine = [p for p in shown if p.road == road]
        ends = sorted(reading.last(mine), key=lambda p: p.kl.value)
        line = [p for p in ends if not p.oracle or p.selected or p.fraction == 1]
        _polyline(axes, [(p.kl.value, p.reward.value) for p in line], index)
        for point in mine:
            _mark(axes, point, index)
    root_scale(axes, [*(p.kl.value for p in shown), *_bounds(shown)])
    axes.set_xlabel(KL_LABEL)
    ink.round_ticks(axes, "y")
    keys = [ink.series_key(i, road) for i, road in enumerate(reading.roads(results))]
    keys += [_RING] if any(p.selected for p in shown) else []
    keys += [_DIAMOND] if any(p.oracle for p in shown) else []
    keys += [_TICK] if _bounds(shown) else []
    return Picture(
        name="frontier",
        title="Reward gained for distance travelled",
        svg=sheet.svg(_told(results, shown)),
        reading="Higher is better; further right is further from the start policy. A road whose "
        "line lies above another's gets more for the same distance. Each point is one setting "
        f"at the end of its training; {reading.bars(results)}.",
        keys=tuple(keys),
        table=tables.of_points(results, tuple(shown)),
    )


@ink.styled
def overoptimisation(results: Results) -> Picture | None:
    """Above, the score that a road was trained on; below, the metric; both against KL.

    None where no road has such a score.
    """
    roads = reading.roads(results)
    paths = [(i, path) for i, road in enumerate(roads) for path in _paths(results, road)]
    if not paths:
        return None
    sheet = Sheet("overoptimisation", 470)
    top = sheet.heading(16, "the road's own training score, in its units", lines=1)
    upper = sheet.axes(top=top, bottom=262)
    top = sheet.heading(238, f"{results.metric.name} on held-out prompts, {results.metric.unit}")
    lower = sheet.axes(top=top, bottom=46)
    kls = [p.kl.value for _, path in paths for p in path]
    for index, path in paths:
        main = any(p.selected for p in path) or path[0].knob == "N"
        for axes, means in ((upper, [p.proxy for p in path]), (lower, [p.reward for p in path])):
            dots = [(p.kl.value, m.value) for p, m in zip(path, means, strict=True) if m]
            _polyline(axes, dots, index, faint=not main)
            for (x, y), mean in zip(dots, filter(None, means), strict=True):
                if main:
                    axes.errorbar(
                        x,
                        y,
                        yerr=side_bars(mean),
                        fmt=ink.marker(index),
                        color=ink.colour(index),
                        elinewidth=1,
                        markersize=5,
                    )
    for axes in (upper, lower):
        root_scale(axes, kls)
        ink.round_ticks(axes, "y")
    upper.set_xticklabels([])
    lower.set_xlabel(KL_LABEL)
    points = tuple(p for _, path in paths for p in path)
    return Picture(
        name="overoptimisation",
        title="When the training score stops telling the truth",
        svg=sheet.svg(f"Training score and {_told(results, points)}"),
        reading="Follow one road from left to right: as long as both panels rise, its scorer "
        "leads the right way. Where the upper line rises and the lower one falls, the road "
        "exploits its scorer's errors. Strong lines: the selected setting along its training "
        "(best-of-N: growing N); faint lines: the other settings.",
        keys=tuple(ink.series_key(i, roads[i]) for i in dict.fromkeys(i for i, _ in paths)),
        table=tables.of_points(results, points),
    )


def _paths(results: Results, road: str) -> list[tuple[Point, ...]]:
    """The road's trainings (or its sweep over N) that have a training score; selected ones last."""
    points = [p for p in reading.of_road(results, road) if reading.drawable(p)]
    points = [p for p in points if p.proxy and numbers.finite(p.proxy.value) is not None]
    ends = reading.last(points)
    if len(points) == len(ends):
        return [tuple(sorted(points, key=lambda p: p.kl.value))] if points else []
    paths = [reading.path(points, end) for end in ends]
    return sorted(paths, key=lambda path: any(p.selected for p in path))


def _bounds(points: Sequence[Point]) -> list[float]:
    return [p.kl_bound for p in points if p.kl_bound is not None and math.isfinite(p.kl_bound)]


def _polyline(
    axes: Axes, dots: Sequence[tuple[float, float]], index: int, *, faint: bool = False
) -> None:
    axes.plot(
        [x for x, _ in dots],
        [y for _, y in dots],
        color=ink.colour(index),
        linestyle=ink.dash(index),
        linewidth=1.2 if faint else 2,
        alpha=0.4 if faint else 1,
    )


def _mark(axes: Axes, point: Point, index: int) -> None:
    """One point of the frontier with its interval, ring, diamond and bound."""
    x, y, hue = point.kl.value, point.reward.value, ink.colour(index)
    axes.errorbar(
        x, y, yerr=side_bars(point.reward), fmt=ink.marker(index), color=hue, elinewidth=1.2
    )
    hollow: dict[str, Any] = {
        "markerfacecolor": "none",
        "markeredgecolor": ink.INK,
        "linestyle": "none",
    }
    if point.selected:
        axes.plot(x, y, marker="o", markersize=14, markeredgewidth=1.4, **hollow)
    if point.oracle:
        axes.plot(x, y, marker="D", markersize=14, markeredgewidth=1.1, **hollow)
    if point.kl_bound is not None and math.isfinite(point.kl_bound):
        axes.plot([x, point.kl_bound], [y, y], color=hue, linewidth=0.9)
        axes.plot(point.kl_bound, y, marker="|", markersize=11, color=hue)


def root_scale(axes: Axes, values: Sequence[float], *, room: float = 0.12) -> None:
    """A horizontal axis stretched near zero, with round ticks that leave room for their labels.

    Args:
        axes: theirs.
        values: what must be seen.
        room: between two ticks, in widths of the axes; half as much again for decimals.
    """
    top = max(*values, 0.0, 0.0) * 1.06
    top = top if top > 1e-3 else 1.0
    low = min(*values, 0.0, 0.0)
    axes.set_xscale(
        "function",
        functions=(
            lambda x: np.sign(x) * np.sqrt(np.abs(x)),
            lambda x: np.sign(x) * np.square(x),
        ),
    )
    steps = [m * 10.0**e for e in range(-4, 7) for m in (1, 2, 3, 4, 5, 7)]
    room *= (1 if top > 1 else 1.5) * math.sqrt(top)
    ticks = [0.0]
    latest = math.inf
    for step in [s for s in reversed(steps) if s <= top]:
        if latest - math.sqrt(step) >= room and math.sqrt(step) >= room:
            ticks.append(step)
            latest = math.sqrt(step)
    axes.set_xlim(min(low * 1.2, -0.0012 * top), top)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.number(value)))


def _told(results: Results, points: Sequence[Point]) -> str:
    """The points in words, road by road."""
    parts = []
    for road in dict.fromkeys(p.road for p in points):
        mine = sorted((p for p in points if p.road == road), key=lambda p: p.kl.value)
        ends = (mine[0], mine[-1]) if len(mine) > 1 else (mine[0],)
        kl = " to ".join(numbers.value_of(p.kl) for p in ends)
        reward = " to ".join(numbers.value_of(p.reward) for p in ends)
        parts.append(f"{road}: KL {kl} nats, {results.metric.name} {reward}")
    return f"{results.metric.name} against KL. " + "; ".join(parts) + "."
