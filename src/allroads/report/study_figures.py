"""The figures of the studies: effects against their claims, contrasts, frontiers, difficulty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from allroads.records import Mean
from allroads.report import forest, ink, numbers, study_tables
from allroads.report.figures import root_scale, side_bars
from allroads.report.forest import Bar, Region, Row
from allroads.report.ink import Key, Picture, Sheet
from allroads.report.tables import Table
from allroads.studies import (
    ArmRow,
    BesideRow,
    ContrastRow,
    FrontierPoint,
    Study,
    TestRow,
    VerdictRow,
)

LINES = ("dpo", "online-dpo")
"""Arms whose frontiers stand behind those of all others."""
PANEL = 168.0
"""Width of one arm's panel, in page units."""
_BAND = Markup(
    '<svg class="sign" viewBox="0 0 28 16" aria-hidden="true">'
    '<rect x="1" y="2" width="26" height="12" style="fill:var(--series-2);opacity:{}"/></svg>'
)
_RING = Key(
    sign=ink.sign("o", stroke="currentColor", fill="none", size=11),
    name="the setting that was tuned for the arm",
)


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Many small pictures that share both axes, with one way to read them."""

    name: str
    title: str
    panels: tuple[Markup, ...]
    reading: str
    keys: tuple[Key, ...]
    table: Table


@ink.styled
def tests(name: str, title: str, rows: Sequence[VerdictRow], by: str) -> Picture | None:
    """Every premise and test of some hypotheses against what it claims.

    Args:
        name: of the figure.
        title: likewise.
        rows: one hypothesis on several worlds, or several hypotheses.
        by: 'variant' or 'hypothesis': what tells the rows apart.

    Returns:
        None where nothing is tested. A premise that several rows share is drawn once.
    """
    units: dict[str, list[Row]] = {}
    seen: list[TestRow] = []
    for verdict in rows:
        entered = set()
        for premise, test in _all_tests(verdict):
            if test in seen and premise:
                continue
            seen.append(test)
            panel = units.setdefault(test.unit, [])
            if test.unit not in entered:
                entered.add(test.unit)
                panel.append(Row(words=_named(verdict, by)))
            panel.append(_test_row(test, premise=premise))
    if not units:
        return None
    panels = {unit: tuple(panel) for unit, panel in units.items()}
    titles = {unit: ink.wrapped(unit, 48, 2) for unit in panels}
    sheet = Sheet(name, sum(forest.height(p, len(titles[u])) for u, p in panels.items()) + 4)
    top = 0.0
    for unit, panel in panels.items():
        top = forest.draw(sheet, top, panel, unit)
    said = "; ".join(f"{t.words}: {_told(t.estimate)}, {t.outcome}" for t in seen)
    return Picture(
        name=name,
        title=title,
        svg=sheet.svg(f"Effects against what was claimed of them. {said}."),
        reading="",
        keys=(),
        table=study_tables.of_tests(rows),
    )


def _all_tests(verdict: VerdictRow) -> list[tuple[bool, TestRow]]:
    return [(True, t) for t in verdict.premises] + [(False, t) for t in verdict.tests]


def _named(verdict: VerdictRow, by: str) -> str:
    name = verdict.variant if by == "variant" else verdict.hypothesis
    return f"{name}: {study_tables.word(verdict)}"


def _test_row(test: TestRow, *, premise: bool) -> Row:
    part, region = "premise" if premise else "test", Region(claim=test.claim, delta=test.delta)
    if test.estimate is None or not forest.drawable(test.estimate):
        return Row(words=f"{part}: {test.words}", region=region, instead="no estimate")
    bar = Bar(mean=test.estimate, sure=test.outcome != "open")
    outcome = "is open" if test.outcome == "open" else test.outcome
    return Row(words=f"{part} {outcome}: {test.words}", bars=(bar,), region=region)


def how(rows: Sequence[VerdictRow]) -> tuple[str, tuple[Key, ...]]:
    """How to read the figures of `tests` on these rows, and their legend."""
    claims = {test.claim for row in rows for _, test in _all_tests(row)}
    parts = [
        "Each bar is an effect with its 95 % interval; the shade behind it is where its claim lies."
    ]
    keys = [Key(sign=_BAND.format("0.28"), name="what is claimed")]
    if claims & {"above", "below"}:
        keys.append(Key(sign=_BAND.format("0.11"), name="the claimed sign, too small to count"))
        parts.append(
            "A claim of a sign holds where the bar keeps to that side of zero, and fails where it "
            "ends before the strong shade."
        )
    if "at least" in claims:
        parts.append("A claim of a least size holds where the bar lies in the shade as a whole.")
    if "within" in claims:
        parts.append(
            "A claim of no difference holds where the 90 % interval, a little shorter than the "
            "bar, lies in the shade; it fails where it does not and the bar keeps clear of zero."
        )
    return " ".join([*parts, "A hollow point is open."]), tuple(keys)


@ink.styled
def contrasts(name: str, variant: str, rows: Sequence[ContrastRow]) -> Picture | None:
    """What one field changes, on one world. None where nothing is measured."""
    shown = [row for row in rows if forest.drawable(row.difference)]
    if not shown:
        return None
    lines = tuple(
        Row(
            words=f"{row.arm} minus {row.neighbour}",
            note=row.field,
            bars=(Bar(mean=row.difference, sure=_clear(row.difference)),),
        )
        for row in shown
    )
    sheet = Sheet(name, forest.height(lines) + 4)
    forest.draw(sheet, 0, lines, "difference in true reward")
    said = "; ".join(f"{row.arm} minus {row.neighbour} {_told(row.difference)}" for row in shown)
    return Picture(
        name=name,
        title=f"One field at a time on {variant}",
        svg=sheet.svg(f"Differences in true reward on {variant}: {said}."),
        reading="Right of the line, the first arm is better than its neighbour. Bars are 95 % "
        "intervals of each difference alone: among so many, one in twenty keeps clear of the line "
        "by luck. A hollow point does not.",
        keys=(),
        table=study_tables.of_contrasts(rows),
    )


def _clear(mean: Mean) -> bool:
    """Whether the interval lies on one side of zero."""
    ends = numbers.bounds(mean)
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def _told(mean: Mean | None) -> str:
    if mean is None or not forest.drawable(mean):
        return "no estimate"
    return f"{numbers.value_of(mean, sign=True)} ({numbers.interval_of(mean, sign=True)})"


@ink.styled
def frontiers(name: str, variant: str, arms: Sequence[ArmRow], start: str) -> Panels | None:
    """Reward against KL, a small panel for each arm, all on the same axes.

    Args:
        name: of the figure.
        variant: the world.
        arms: its arms.
        start: the arm that all others start from; its only point is a level line.

    Returns:
        None where no arm has a point.
    """
    dots = {arm.arm: [p for p in arm.frontier if _finite(p)] for arm in arms}
    shown = [arm for arm in arms if dots[arm.arm] and arm.arm != start]
    if not shown:
        return None
    level = next((p.reward.value for p in dots.get(start, ())), None)
    every = [point for points in dots.values() for point in points]
    rewards = [v for p in every for v in (p.reward.value, *_chosen_ends(p))]
    rewards += [] if level is None or numbers.finite(level) is None else [level]
    panels = []
    for k, arm in enumerate(shown):
        sheet = Sheet(f"{name}-{k}", 150, PANEL)
        axes = sheet.axes(top=24, bottom=22, left=38, right=6)
        for index, other in enumerate(LINES):
            if other in dots and other != arm.arm:
                _path(axes, dots[other], index + 1, faint=True)
        if level is not None:
            axes.axhline(level, color=ink.SOFT, linewidth=1, linestyle=(0, (2, 2)))
        _path(axes, dots[arm.arm], 0)
        for point in dots[arm.arm]:
            _point(axes, point)
        _panel_axes(axes, [p.kl.value for p in every], rewards)
        label = sheet.word(arm.arm, 24)
        sheet.figure.text(2 / PANEL, 1 - 13 / 150, label, va="baseline", weight="bold")
        said = "; ".join(_spoken(p) for p in dots[arm.arm])
        panels.append(sheet.svg(f"{arm.arm} on {variant}, true reward against KL: {said}."))
    return Panels(
        name=name,
        title=f"Reward gained for distance travelled on {variant}",
        panels=tuple(panels),
        reading="Means of the tuning seeds. Up: true reward on held-out prompts. Right: KL from "
        "the start policy, nats per completion, on a scale that is stretched near zero. Large "
        "points are settings at the end of their training, joined; small ones are earlier moments. "
        "All panels share both axes.",
        keys=tuple(_panel_keys(dots, level is not None, start)),
        table=study_tables.of_frontiers(shown),
    )


def _finite(point: FrontierPoint) -> bool:
    return numbers.finite(point.kl.value + point.reward.value) is not None


def _chosen_ends(point: FrontierPoint) -> tuple[float, ...]:
    return (numbers.bounds(point.reward) or ()) if point.chosen else ()


def _path(axes: Axes, points: Sequence[FrontierPoint], index: int, *, faint: bool = False) -> None:
    ends = sorted((p for p in points if p.fraction >= 1), key=lambda p: p.kl.value)
    axes.plot(
        [p.kl.value for p in ends],
        [p.reward.value for p in ends],
        color=ink.colour(index),
        linewidth=1.2 if faint else 2,
        linestyle=(0, (4, 2)) if index == 2 else "solid",
        alpha=0.75 if faint else 1,
    )


def _point(axes: Axes, point: FrontierPoint) -> None:
    x, y = point.kl.value, point.reward.value
    axes.plot(x, y, "o", color=ink.colour(0), markersize=5 if point.fraction >= 1 else 2.5)
    if point.chosen:
        axes.errorbar(x, y, yerr=side_bars(point.reward), fmt="none", color=ink.colour(0), lw=1.2)
        axes.plot(x, y, marker="o", markersize=11, markeredgewidth=1.4, linestyle="none",
                  markerfacecolor="none", markeredgecolor=ink.INK, gid="tuned")  # fmt: skip


def _panel_axes(axes: Axes, kls: Sequence[float], rewards: Sequence[float]) -> None:
    root_scale(axes, kls, room=0.3)
    low, high = min(rewards), max(rewards)
    room = 0.08 * (high - low) or 0.1
    axes.set_ylim(low - room, high + room)
    ink.round_ticks(axes, "y")
    ticks = list(axes.get_yticks())
    axes.yaxis.set_major_locator(FixedLocator(ticks[:: max(1, len(ticks) // 3)]))


def _panel_keys(dots: dict[str, list[FrontierPoint]], level: bool, start: str) -> list[Key]:  # noqa: FBT001
    hue = "var(--series-0)"
    keys = [Key(sign=ink.sign("o", stroke=hue, fill=hue, line="solid"), name="the arm"), _RING]
    for index, other in enumerate(LINES):
        if other in dots:
            line = ink.line_sign(f"var(--series-{index + 1})", "4 2" if index else "")
            keys.append(Key(sign=line, name=other))
    if level:
        line = ink.line_sign("var(--soft)", "2 2", 1)
        keys.append(Key(sign=line, name=f"{start}, the start"))
    return keys


def _spoken(point: FrontierPoint) -> str:
    mark = ", tuned" if point.chosen else ""
    return f"KL {numbers.value_of(point.kl)}, reward {numbers.value_of(point.reward)}{mark}"


@ink.styled
def difficulty(study: Study) -> Picture | None:
    """Pairs that verifying needs against demonstrations that generating needs, both logarithmic.

    None where no world has both.
    """
    shown = [
        row
        for row in study.difficulties
        if any(m is not None and m.value > 0 for m in (row.pairs, row.demonstrations))
    ]
    known = [m.value for row in shown for m in (row.pairs, row.demonstrations)
             if m is not None and m.value > 0]  # fmt: skip
    if not known:
        return None
    low, high = math.log10(min(known)), math.log10(max(known))
    low, high = math.floor(low - 0.15), math.ceil(high + 0.15)
    edge = 10 ** (high + 0.25)
    sheet = Sheet("difficulty", 350)
    top = sheet.heading(16, "pairs that the verifier needs", lines=1)
    axes = sheet.axes(top=top, bottom=46, left=50, right=20)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for limit in (axes.set_xlim, axes.set_ylim):
        limit(10 ** (low - 0.1), 10 ** (high + 0.4))
    axes.plot([10.0**low, 10.0**high], [10.0**low, 10.0**high], color=ink.SOFT, linewidth=1)
    for index, row in enumerate(shown):
        _world(
            axes, row.pairs, row.demonstrations, edge, index, study_tables.gap(study, row.variant)
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value, 10.0**high)))
    axes.set_xlabel("demonstrations that the generator needs")
    said = "; ".join(
        f"{row.variant}: {study_tables.amount(row.pairs)} pairs, "
        f"{study_tables.amount(row.demonstrations)} demonstrations"
        for row in shown
    )
    return Picture(
        name="difficulty",
        title="How hard it is to verify, and to generate",
        svg=sheet.svg(f"Pairs against demonstrations that fixed learners need. {said}."),
        reading="On the line both take as many examples; the further below it, the easier it is to "
        "verify than to generate. A larger point is a larger gap between online-dpo and dpo, a "
        "hollow one a gap in favour of dpo. A point at the edge needed more than was tried.",
        keys=tuple(
            ink.series_key(
                index, f"{row.variant}, gap {study_tables.gap_words(study, row.variant)}"
            )
            for index, row in enumerate(shown)
        ),
        table=study_tables.of_difficulties(study),
    )


def _world(
    axes: Axes,
    pairs: Mean | None,
    demonstrations: Mean | None,
    edge: float,
    index: int,
    gap: float | None,
) -> None:
    x = demonstrations.value if demonstrations else edge
    y = pairs.value if pairs else edge
    hue = ink.colour(index)
    axes.errorbar(
        x,
        y,
        xerr=side_bars(demonstrations) if demonstrations else None,
        yerr=side_bars(pairs) if pairs else None,
        fmt="none",
        color=hue,
        elinewidth=1.2,
    )
    size = 6 + 22 * math.sqrt(min(abs(gap or 0.0), 0.5))
    axes.plot(
        x,
        y,
        marker=ink.marker(index),
        color=hue,
        markersize=size,
        alpha=0.85,
        markerfacecolor=ink.PAPER if gap is not None and gap < 0 else hue,
        linestyle="none",
        clip_on=False,
        gid=f"world-{index}",
    )


def _power(value: float, most: float) -> str:
    return numbers.power_of_ten(value) if value <= 1.01 * most else ""


@ink.styled
def beside(rows: Sequence[BesideRow]) -> Picture | None:
    """The paper's differences and ours, each in units of its own main gap. None without any."""
    lines = []
    for row in rows:
        paper, ours = scaled(row.paper, row.paper_gap), scaled(row.ours, row.our_gap)
        bars = tuple(
            Bar(mean=mean, series=series, sure=_clear(mean))
            for mean, series in ((paper, 1), (ours, 0))
            if mean is not None
        )
        if bars:
            lines.append(Row(words=f"{row.words} ({row.where})", note=_ours(row), bars=bars))
    if not lines:
        return None
    unit = "in main gaps: 1 is the whole advantage of online DPO over DPO on the main task"
    sheet = Sheet("beside", forest.height(lines, 2) + 4)
    forest.draw(sheet, 0, lines, unit, marks=(1.0,))
    said = "; ".join(
        f"{row.words}: paper {_told(scaled(row.paper, row.paper_gap))}, "
        f"ours {_told(scaled(row.ours, row.our_gap))}"
        for row in rows
    )
    return Picture(
        name="beside",
        title="The paper's differences beside ours",
        svg=sheet.svg(f"Differences divided by the main gap. {said}."),
        reading="Each difference is divided by the main gap of its own study, taken as a fixed "
        "number: the uncertainty of that gap is seen in its own row and nowhere else. Where a main "
        "gap is not clear of zero, nothing can be divided by it, and the row has the other bar "
        "only. A hollow point is not clear of zero.",
        keys=(ink.series_key(1, "the paper"), ink.series_key(0, "ours")),
        table=study_tables.of_beside(rows),
    )


def _ours(row: BesideRow) -> str:
    """What of ours stands beside the paper's, or why nothing does."""
    if not row.ours_words:
        return "nothing of ours is like it"
    missing = "not measured" if row.ours is None else "our main gap is not clear of zero"
    drawn = scaled(row.ours, row.our_gap) is not None
    return f"ours: {row.ours_words}{'' if drawn else f' ({missing})'}"


def scaled(mean: Mean | None, gap: Mean | None) -> Mean | None:
    """`mean` in units of the size of a gap; None unless that gap is clear of zero."""
    if mean is None or gap is None or not forest.drawable(mean) or not _clear(gap):
        return None
    unit, ends = abs(gap.value), numbers.bounds(mean) or (None, None)
    low, high = (None if end is None else end / unit for end in ends)
    return mean.model_copy(update={"value": mean.value / unit, "low": low, "high": high})
