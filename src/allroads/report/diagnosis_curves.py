"""The figures of the two learners: learning curves, capacities, the code of the labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from allroads.diagnoses import Capacity, Code, Curve, CurvePoint
from allroads.records import Mean
from allroads.report import diagnosis_tables, forest, ink, numbers
from allroads.report.diagnosis_words import percent, told
from allroads.report.figures import side_bars
from allroads.report.forest import Bar, Row
from allroads.report.ink import Key, Picture, Sheet

SERIES = {"verifier": 0, "generator": 1}
"""Each learner has the same colour and marker in every figure."""
_APART = 1.035
"""The learners' points stand a little apart, so that each interval can be seen."""
_MOST = 1.2
"""Bits up to which intervals of what is extrapolated are shown: beyond a coin they say no more."""
_HOLLOW = Key(
    sign=ink.sign("o", stroke="currentColor", fill="var(--paper)", line="dashed"),
    name="extrapolated; at ∞, what endless data would leave",
)
_COIN = Key(sign=ink.line_sign("var(--soft)", "2 2", 1), name="a coin")


def keys_of(learners: Iterable[str], learned: dict[str, bool] | None = None) -> list[Key]:
    """The legend of these learners, with who has not learned."""
    known = learned or {}
    return [
        ink.series_key(SERIES[name], name if known.get(name, True) else f"{name} (not learned)")
        for name in dict.fromkeys(learners)
    ]


def shifted(x: float, learner: str) -> float:
    """Where a learner's point stands on a logarithmic axis."""
    return x * _APART if SERIES[learner] else x / _APART


def path(
    axes: Axes,
    dots: Sequence[tuple[float, Mean]],
    series: int,
    *,
    name: str,
    hollow: bool = False,
) -> None:
    """A line through means with their intervals; hollow and dashed where it is not measured."""
    if not dots:
        return
    hue = ink.colour(series)
    xs, ys = [x for x, _ in dots], [mean.value for _, mean in dots]
    axes.plot(xs, ys, color=hue, linewidth=1.8, linestyle=(0, (4, 2)) if hollow else "solid")
    none = [[math.nan], [math.nan]]
    sides = [side_bars(mean) or none for _, mean in dots]
    drawn = axes.errorbar(
        xs,
        ys,
        yerr=[[side[end][0] for side in sides] for end in (0, 1)],
        fmt=ink.marker(series),
        color=hue,
        markerfacecolor=ink.PAPER if hollow else hue,
        markersize=5.5,
        elinewidth=1.2,
        zorder=3,
    )
    drawn.lines[0].set_gid(f"{name}-points")
    for line in drawn.lines[2]:
        line.set_gid(f"{name}-bars")


def log_axis(axes: Axes, values: Iterable[float], edge: float | None = None) -> None:
    """A logarithmic axis with ticks at these values, as many as their labels leave room for.

    Args:
        axes: theirs.
        values: the values that are drawn, all above 0.
        edge: where what is at infinity is drawn.
    """
    ordered: list[float] = sorted({*values} | ({edge} if edge is not None else set()), reverse=True)
    low, high = math.log(ordered[-1]), math.log(ordered[0])
    room = 0.06 * (high - low) or 0.1
    axes.set_xscale("log")
    axes.set_xlim(math.exp(low - room), math.exp(high + room))
    ticks: list[float] = []
    for value in ordered:
        if not ticks or math.log(ticks[-1]) - math.log(value) >= 0.13 * (high - low):
            ticks.append(value)
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "∞" if value == edge else numbers.large(round(value)))
    )


def breathe(axes: Axes, values: Iterable[float]) -> None:
    """Limits that show these values with some room, and round ticks."""
    low, high = min(values := list(values)), max(values)
    room = 0.08 * (high - low) or 0.05
    axes.set_ylim(low - room, high + room)
    ink.round_ticks(axes, "y")


def seen(means: Iterable[Mean]) -> list[float]:
    """Every value and end of an interval that is drawn."""
    return [v for mean in means for v in (mean.value, *(numbers.bounds(mean) or ()))]


@ink.styled
def curves(found: Sequence[Curve]) -> Picture | None:
    """Held-out bits a pair, and below them accuracy, against pairs. None without a point."""
    shown = [curve for curve in found if _measured(curve)]
    if not shown:
        return None
    points = [point for curve in shown for point in (*_measured(curve), *_further(curve))]
    edge = 2.0 * max(point.count for point in points)
    limits = [curve.limit for curve in shown if forest.drawable(curve.limit)]
    sheet = Sheet("curves", 420)
    top = sheet.heading(16, "surprise at held-out labels, bits a pair", lines=1)
    bits = sheet.axes(top=top, bottom=190, right=16)
    top = sheet.heading(268, "held-out pairs ordered rightly, %", lines=1)
    accuracy = sheet.axes(top=top, bottom=46, right=16)
    for curve in shown:
        _draw(bits, accuracy, curve, edge)
    shares = [numbers.percent(p.accuracy) for p in points if not p.extrapolated]
    beyond = seen([*(point.nll for point in points if point.extrapolated), *limits])
    surprises = [
        *(min(max(value, 0.0), _MOST) for value in beyond),
        *seen(point.nll for point in points if not point.extrapolated),
    ]
    for axes, coin, near, values in (
        (bits, 1.0, 0.95, surprises),
        (accuracy, 50.0, 55.0, seen(mean for mean in shares if mean and forest.drawable(mean))),
    ):
        axes.axhline(coin, color=ink.SOFT, linewidth=1, linestyle=(0, (2, 2)), gid=f"coin-{coin:g}")
        log_axis(axes, (point.count for point in points), edge)
        breathe(axes, [coin, near, *values])
    bits.set_xticklabels([])
    accuracy.set_xlabel("pairs that it was fitted to (log scale)")
    further = any(point.extrapolated for point in points) or bool(limits)
    learned = {curve.learner: curve.learned for curve in shown}
    said = "; ".join(_said(curve) for curve in shown)
    return Picture(
        name="curves",
        title="How fast each learns from pairs",
        svg=sheet.svg(f"Learning curves. {said}."),
        reading="Lower bits and higher accuracy are better, and the line that falls at fewer pairs "
        "is the simpler one to learn. Filled points are measured, with 95 % intervals; hollow ones "
        "are what the fitted curve says of more pairs than there are.",
        keys=tuple([*keys_of(learned, learned), *([_HOLLOW] if further else []), _COIN]),
        table=diagnosis_tables.of_curves(found),
    )


def _drawable(curve: Curve) -> list[CurvePoint]:
    return [p for p in curve.points if p.count > 0 and forest.drawable(p.nll)]


def _measured(curve: Curve) -> list[CurvePoint]:
    return [p for p in _drawable(curve) if not p.extrapolated]


def _further(curve: Curve) -> list[CurvePoint]:
    return [p for p in _drawable(curve) if p.extrapolated]


def _draw(bits: Axes, accuracy: Axes, curve: Curve, edge: float) -> None:
    series, name = SERIES[curve.learner], curve.learner
    known = [(shifted(p.count, name), p.nll) for p in _measured(curve)]
    beyond = [(shifted(p.count, name), p.nll) for p in _further(curve)]
    if forest.drawable(curve.limit):
        beyond.append((shifted(edge, name), curve.limit))
    if beyond:
        (x, last), (first, then) = known[-1], beyond[0]
        bits.plot([x, first], [last.value, then.value], color=ink.colour(series), linewidth=1.8,
                  linestyle=(0, (4, 2)))  # fmt: skip
    path(bits, beyond, series, hollow=True, name=f"further-{name}")
    path(bits, known, series, name=f"measured-{name}")
    rights = [(shifted(p.count, name), share) for p in _measured(curve)
              if (share := numbers.percent(p.accuracy)) and forest.drawable(share)]  # fmt: skip
    path(accuracy, rights, series, name=f"right-{name}")


def _said(curve: Curve) -> str:
    first, last = _measured(curve)[0], _measured(curve)[-1]
    state = "" if curve.learned else ", not learned"
    return (
        f"{curve.learner}{state}: {told(first.nll)} bits at {numbers.count(first.count)} pairs, "
        f"{told(last.nll)} at {numbers.count(last.count)}, limit {told(curve.limit)}; accuracy "
        f"there {percent(last.accuracy)}"
    )


@ink.styled
def capacities(found: Sequence[Capacity]) -> Picture | None:
    """Bits a pair by what may be trained. None where nothing can be drawn."""
    groups: dict[str, list[Capacity]] = {}
    for row in found:
        if forest.drawable(row.nll):
            groups.setdefault(row.capacity, []).append(row)
    if not groups:
        return None
    rows = tuple(
        Row(words=name, bars=tuple(Bar(mean=r.nll, series=SERIES[r.learner]) for r in group))
        for name, group in groups.items()
    )
    sheet = Sheet("capacities", forest.height(rows) + 4)
    forest.draw(sheet, 0, rows, "surprise at held-out labels, bits a pair", origin=1.0)
    said = "; ".join(f"{r.learner}, {r.capacity}: {told(r.nll)} bits" for r in found)
    return Picture(
        name="capacities",
        title="What may be trained",
        svg=sheet.svg(f"Held-out bits a pair by capacity. {said}."),
        reading="The line at 1 is a coin; further left is better. Where a learner does as well "
        "with little to train as with all weights, its task is simple; where only the full model "
        "learns, it is not.",
        keys=tuple(keys_of(row.learner for group in groups.values() for row in group)),
        table=diagnosis_tables.of_capacities(found),
    )


@ink.styled
def code(found: Code) -> Picture | None:
    """The difference of the codes block by block, and its parts. None where nothing was learned."""
    blocks = [(seen, mean) for seen, mean in found.by_block if forest.drawable(mean)]
    parts = (
        ("difference, in total", found.difference),
        ("of it misfit, what endless data would leave", found.misfit),
        ("of it the cost of learning, the gap", found.learning),
    )
    if not found.learned or not any(forest.drawable(mean) for _, mean in parts):
        return None
    rows = tuple(
        Row(words=name, note=told(mean, sign=True), bars=(Bar(mean=mean, series=2),))
        for name, mean in parts
        if forest.drawable(mean)
    )
    upper = 196.0 if blocks else 0.0
    sheet = Sheet("code", upper + forest.height(rows) + 4)
    if blocks:
        _blocks(sheet, upper, blocks)
    forest.draw(sheet, upper, rows, "over all pairs, bits")
    told_parts = "; ".join(f"{name} {told(mean, sign=True)} bits" for name, mean in parts)
    return Picture(
        name="code",
        title="The same labels, described by both",
        svg=sheet.svg(f"Code of the generator minus that of the verifier. {told_parts}."),
        reading="Each learner codes the next block of labels after it was fitted to the pairs "
        "before. Above (and right of) 0, the generator takes more bits than the verifier: "
        "verifying is simpler. Blocks double, so that a gap that is the cost of learning shows in "
        "the early ones, and one of misfit grows with them.",
        keys=(),
        table=diagnosis_tables.of_code(found),
    )


def _blocks(sheet: Sheet, upper: float, blocks: Sequence[tuple[int, Mean]]) -> None:
    top = sheet.heading(16, "generator minus verifier within each block, bits", lines=1)
    axes = sheet.axes(top=top, bottom=sheet.height - upper + 46)
    axes.axhline(0, color=ink.SOFT, linewidth=1)
    for k, (_, mean) in enumerate(blocks):
        axes.bar(k, mean.value, width=0.62, color=ink.colour(2), alpha=0.55, linewidth=0)
        axes.errorbar(k, mean.value, yerr=side_bars(mean), fmt="none", color=ink.colour(2), lw=1.6)
    breathe(axes, [0.0, *seen(mean for _, mean in blocks)])
    axes.set_xlim(-0.6, len(blocks) - 0.4)
    axes.grid(visible=False, axis="x")
    every = range(len(blocks) - 1, -1, -math.ceil(len(blocks) / 7))
    axes.set_xticks(list(every), [numbers.large(blocks[k][0]) for k in every])
    axes.set_xlabel("pairs seen before the block")
