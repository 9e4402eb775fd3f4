"""The figures of answers and of labels: headroom, coverage, noise, horizon."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from allroads.diagnoses import Coverage, Headroom, HeadroomPoint, Horizon, Noise
from allroads.records import Mean
from allroads.report import diagnosis_tables, forest, ink, numbers
from allroads.report.diagnosis_curves import (
    SERIES,
    breathe,
    keys_of,
    log_axis,
    path,
    seen,
    shifted,
)
from allroads.report.diagnosis_words import percent, told
from allroads.report.forest import Bar, Row
from allroads.report.ink import Key, Picture, Sheet

_PANEL = 132.0
"""Height of one panel of the headroom, in page units."""
OWN = "own"
"""The panel that rests on no grader."""
_OFFLINE = Key(
    sign=ink.line_sign("var(--series-2)", width=2), name="the offline policy over the start"
)
_BEND = Key(sign=ink.line_sign("var(--soft)", "4 3", 1.2), name="where best-of-N bends over")


@ink.styled
def headroom(found: Headroom | None) -> Picture | None:
    """Best-of-N by both learners, as its grader and as the learner itself see it.

    None without a point.
    """
    points = [] if found is None else [p for p in found.points if forest.drawable(p.over_start)]
    if found is None or not points:
        return None
    panels: list[tuple[str, str, dict[str, list[tuple[HeadroomPoint, Mean]]]]] = []
    for name, title, means in (
        ("start", "gain over the start policy", [(p, p.over_start) for p in points]),
        ("offline", "gain over the offline policy", [(p, p.over_offline) for p in points]),
        (OWN, "what the learner itself thinks, SD of scores", [(p, p.proxy) for p in points]),
    ):
        lines: dict[str, list[tuple[HeadroomPoint, Mean]]] = {}
        for point, mean in means:
            if mean is not None and forest.drawable(mean):
                lines.setdefault(point.by, []).append((point, mean))
        if lines:
            panels.append((name, title, lines))
    foot = 64.0
    sheet = Sheet("headroom", _PANEL * len(panels) + foot)
    for k, (name, title, lines) in enumerate(panels):
        last = k == len(panels) - 1
        top = sheet.heading(_PANEL * k + 16, title, lines=1)
        axes = sheet.axes(top=top, bottom=sheet.height - _PANEL * (k + 1) + 4)
        values = _lines(axes, lines, name, hollow=name != OWN and not found.trusted)
        if k == 0 and found.offline is not None and forest.drawable(found.offline):
            values += _level(axes, found.offline)
        breathe(axes, [0.0, *values])
        axes.axhline(0, color=ink.SOFT, linewidth=1)
        log_axis(axes, [point.n for point in points])
        if found.bends is not None and found.bends > 0:
            bend = {"color": ink.SOFT, "linewidth": 1.2, "linestyle": (0, (4, 3))}
            axes.axvline(found.bends, gid=f"bend-{name}", **bend)
        if last:
            _foot(axes, points)
        else:
            axes.set_xticklabels([])
    said = "; ".join(
        f"best of {p.n} by the {p.by}: {told(p.over_start, sign=True)} over the start"
        + ("" if p.over_offline is None else f", {told(p.over_offline, sign=True)} over offline")
        for p in points
    )
    keys = keys_of(point.by for point in points)
    keys += [_OFFLINE] if forest.drawable(found.offline) else []
    keys += [_BEND] if found.bends is not None else []
    believed = "" if found.trusted else "The points are hollow: their grader is not trusted. "
    return Picture(
        name="headroom",
        title="What choosing among more answers brings",
        svg=sheet.svg(f"Best-of-N against N. {said}."),
        reading=f"{believed}Gain is P(its answer beats the other's), ties half, less 1/2; bars are "
        "95 % intervals. As long as the upper and the lowest panel rise together the learner's "
        "scores lead the right way; where the lowest goes on and the upper falls, it is misled. "
        "Best-of-N that lies above the offline policy finds answers that offline training did "
        "not reach.",
        keys=tuple(keys),
        table=diagnosis_tables.of_headroom(found),
    )


def _lines(
    axes: Axes,
    lines: dict[str, list[tuple[HeadroomPoint, Mean]]],
    panel: str,
    *,
    hollow: bool,
) -> list[float]:
    """Draw each learner's line; returns what must be seen of them."""
    values = []
    for by, dots in lines.items():
        ordered = sorted(dots, key=lambda dot: dot[0].n)
        places = [(shifted(point.n, by), mean) for point, mean in ordered]
        path(axes, places, SERIES[by], hollow=hollow, name=f"{by}-{panel}")
        values += seen(mean for _, mean in ordered)
    return values


def _level(axes: Axes, offline: Mean) -> list[float]:
    """The offline policy: a line across with its interval as a band."""
    axes.axhline(offline.value, color=ink.colour(2), linewidth=2, gid="offline")
    ends = numbers.bounds(offline)
    if ends:
        axes.axhspan(*ends, color=ink.colour(2), alpha=0.14, linewidth=0)
    return [offline.value, *(ends or ())]


def _foot(axes: Axes, points: Sequence[HeadroomPoint]) -> None:
    """Below each N the KL of the verifier's choice."""
    kl = {p.n: p.kl for p in points if p.by == "verifier" and forest.drawable(p.kl)}
    ticks = [round(tick) for tick in axes.get_xticks()]
    axes.set_xticks(
        ticks, [f"{n}\n{numbers.fixed(kl[n].value, 1) if n in kl else ''}" for n in ticks]
    )
    axes.set_xlabel("N answers to choose from; below, KL in nats")


@ink.styled
def coverage(found: Coverage) -> Picture:
    """How soon a good answer is sampled, and how likely the preferred ones are."""
    dots = [(float(k), share) for k, mean in found.found
            if k > 0 and (share := numbers.percent(mean)) and forest.drawable(share)]  # fmt: skip
    likely = tuple(
        Row(words=f"{name}: {told(mean)}", bars=(Bar(mean=mean, series=series),))
        for name, mean, series in (
            ("preferred answers", found.chosen, 3),
            ("own samples", found.own, 4),
        )
        if forest.drawable(mean)
    )
    typical = ()
    if (share := numbers.percent(found.typical)) and forest.drawable(share):
        typical = (Row(words=percent(found.typical), bars=(Bar(mean=share, series=3),)),)
    below = (
        (likely, "log-probability, nats a token", 0.0),
        (typical, "own answers less likely than the preferred, %", 50.0),
    )
    upper = 196.0 if dots else 0.0
    sheet = Sheet("coverage", upper + sum(forest.height(rows) for rows, _, _ in below if rows) + 4)
    if dots:
        top = sheet.heading(16, "prompts with a good answer among k samples, %", lines=1)
        axes = sheet.axes(top=top, bottom=sheet.height - upper + 46)
        path(axes, dots, 4, name="found")
        breathe(axes, [0.0, *seen(mean for _, mean in dots)])
        log_axis(axes, [k for k, _ in dots])
        axes.set_xlabel("k samples of the start policy (log scale)")
    at = upper
    for rows, unit, origin in below:
        if rows:
            at = forest.draw(sheet, at, rows, unit, marks=(0.0,), origin=origin)
    said = "; ".join(f"{numbers.count(k)} samples: {told(mean)} %" for k, mean in dots)
    return Picture(
        name="coverage",
        title="Whether the start policy writes such answers",
        svg=sheet.svg(f"Prompts with a good answer among k samples. {said}. "
                      f"Preferred answers {told(found.chosen)} nats a token, own samples "
                      f"{told(found.own)}."),
        reading="What the start policy never samples, neither best-of-N nor online training can "
        "find. The steeper the upper line, the more there is to find by search. Further right in "
        "the lower panels, the preferred answers are more like its own.",
        keys=(),
        table=diagnosis_tables.of_coverage(found),
    )  # fmt: skip


@ink.styled
def noise(found: Noise) -> Picture | None:
    """What the labels allow beside what is reached, and what shortcuts reach. None without any."""
    rows = []
    for words, mean, series in (
        ("highest possible", found.ceiling, 2),
        ("two judgements agree", found.agreement, 2),
        ("the best learner", found.at_least, 0),
        *((f"shortcut: {name}", mean, 3) for name, mean in found.shortcuts.items()),
    ):
        share = numbers.percent(mean)
        if share is not None and forest.drawable(share):
            line = f"{words}: {percent(mean)}"
            rows.append(Row(words=line, bars=(Bar(mean=share, series=series),)))
    if not rows:
        return None
    sheet = Sheet("noise", forest.height(rows) + 4)
    forest.draw(sheet, 0, rows, "held-out labels, %", origin=50.0)
    return Picture(
        name="noise",
        title="What the labels allow",
        svg=sheet.svg("Share of held-out labels. " + "; ".join(row.words for row in rows) + "."),
        reading="The line at 50 is a coin. What lies between the best learner and the highest "
        "possible is left to learn; a shortcut that comes near the best learner says that the "
        "labels can be had without reading.",
        keys=(),
        table=diagnosis_tables.of_noise(found),
    )


@ink.styled
def horizon(found: Horizon) -> Picture | None:
    """How much of an answer's score its beginning decides. None where that was not measured."""
    dots = [(100 * part, share) for part, mean in found.decided
            if (share := numbers.percent(mean)) and forest.drawable(share)]  # fmt: skip
    if not dots:
        return None
    sheet = Sheet("horizon", 236)
    top = sheet.heading(16, "explained variance of whole answers' scores, %", lines=1)
    axes = sheet.axes(top=top, bottom=46)
    axes.plot([0, 100], [0, 100], color=ink.SOFT, linewidth=1)
    path(axes, [(0.0, Mean(value=0.0, seeds=0)), *dots], 0, name="decided")
    axes.set_xlim(-3, 103)
    breathe(axes, [0.0, 100.0, *seen(mean for _, mean in dots)])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: numbers.fixed(value, 0)))
    axes.set_xlabel("share of its tokens that the verifier has seen, %")
    said = "; ".join(f"{numbers.number(part)} %: {told(mean)} %" for part, mean in dots)
    return Picture(
        name="horizon",
        title="When answers are decided",
        svg=sheet.svg(f"Explained variance by the share of tokens seen. {said}."),
        reading="Above the diagonal, answers are decided early; below it, late: a single wrong "
        "token near the end can spoil them, and a learner that scores whole answers has less to "
        "say of the first tokens.",
        keys=(),
        table=diagnosis_tables.of_horizon(found),
    )
