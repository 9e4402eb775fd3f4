"""The figures of a diagnosis's verdict: expected gains on one line, and what they are made of."""

from __future__ import annotations

from markupsafe import Markup

from allroads.diagnoses import OFFLINE, Diagnosis, Prediction
from allroads.report import diagnosis_tables, forest, ink, numbers
from allroads.report.diagnosis_words import GAIN, gain_of, told
from allroads.report.forest import Bar, Row
from allroads.report.ink import Key, Picture, Sheet

_FOOT = 20.0
"""Height of the words under the axis, in page units."""
_WIDTH = 300.0
"""Of the gains: the verdict's band has less room than the page."""
_STEP = 38.0
"""Height of one contribution."""
_TEXT = 15.0


@ink.styled
def gains(diagnosis: Diagnosis) -> Picture | None:
    """The expected gain of each road over offline likelihood. None where none is known."""
    shown = [
        (row.road, mean)
        for row in diagnosis.roads
        if row.road != OFFLINE  # The line at 0.
        and (mean := gain_of(row.gain, row.low, row.high)) is not None
        and forest.drawable(mean)
    ]
    if not shown:
        return None
    rows = tuple(
        Row(
            words=ink.plain(road, 36),
            note=told(mean, sign=True),
            bars=(Bar(mean=mean, sure=_clear(mean.low, mean.high)),),
        )
        for road, mean in shown
    )
    sheet = Sheet("gains", forest.height(rows) + _FOOT, _WIDTH)
    bottom = forest.draw(sheet, 0, rows, "expected gain over offline likelihood")
    at = 1 - (bottom + 12) / sheet.height
    sheet.figure.text(12 / sheet.width, at, "← offline is better", color=ink.SOFT)
    sheet.figure.text(1 - 14 / sheet.width, at, "better than offline →", color=ink.SOFT, ha="right")
    said = "; ".join(f"{road} {told(mean, sign=True)}" for road, mean in shown)
    return Picture(
        name="gains",
        title="What each road is expected to gain",
        svg=sheet.svg(f"Expected gain over offline likelihood: {said}."),
        reading=f"Gain is {GAIN}. The line at 0 is offline likelihood. A bar is a 90 % interval: "
        "right of the line as a whole, the road is expected to beat it; left of it, offline is "
        "enough; across it, the sign is open and the point hollow. Best-of-N is enough where "
        "online training is not expected to gain more.",
        keys=(),
        table=diagnosis_tables.of_gains(diagnosis.roads),
    )


def _clear(low: float | None, high: float | None) -> bool:
    """Whether an interval lies on one side of zero."""
    return low is not None and high is not None and (low > 0 or high < 0)


@ink.styled
def contributions(prediction: Prediction, road: str) -> Picture | None:
    """Each feature's contribution, one starting where the last ended. None where there is none."""
    parts = [
        (feature.name, feature.contribution, diagnosis_tables.inside(feature.value, feature.known))
        for feature in prediction.features
    ]
    if parts and (left := diagnosis_tables.rest(prediction)):
        parts.insert(0, (diagnosis_tables.INTERCEPT, left, True))
    total = prediction.gain + sum(part for _, part, _ in parts)
    if not parts or numbers.finite(total) is None:
        return None
    tall = _STEP * (len(parts) + 1)
    sheet = Sheet(f"contributions-{road}", 70 + tall)
    top = sheet.heading(16, "contribution to the predicted gain", lines=1)
    axes = sheet.axes(top=top, bottom=sheet.height - top - tall, left=12, right=14)
    axes.set_ylim(tall, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    across, start = axes.get_yaxis_transform(), 0.0
    bars = [*parts, ("predicted gain", prediction.gain, True)]
    ends = [0.0, prediction.gain]
    for k, (name, size, known) in enumerate(bars):
        last = k == len(parts)
        low = 0.0 if last else start
        hue = ink.INK if last else ink.colour(2 if size > 0 else 1)
        y = _STEP * k + _TEXT + 2
        weight = "bold" if last else "normal"
        said = name if known else f"{name} (outside what is known)"
        axes.text(0, y - 5, sheet.word(said, 40), transform=across, va="baseline", weight=weight)
        axes.text(
            1,
            y - 5,
            numbers.fixed(size, 3, sign=True),
            transform=across,
            va="baseline",
            ha="right",
            weight=weight,
        )
        (bar,) = axes.barh(y + 7, size, left=low, height=13, color=hue, linewidth=0)
        bar.set_gid(f"part-{k}")
        bar.set_alpha(1.0 if last else 0.7)
        start = low + size
        ends.append(start)
        if not last:
            axes.plot([start, start], [y + 13, y + _STEP], color=ink.GRID, linewidth=1)
    axes.axvline(0, color=ink.SOFT, linewidth=1, gid="zero")
    room = 0.05 * (max(ends) - min(ends)) or 0.01
    axes.set_xlim(min(ends) - room, max(ends) + room)
    ink.round_ticks(axes, "x")
    told_parts = "; ".join(f"{n} {numbers.fixed(s, 3, sign=True)}" for n, s, _ in bars)
    return Picture(
        name=f"contributions-{road}",
        title=f"What the predicted gain of {road} is made of",
        svg=sheet.svg(f"Contributions to the predicted gain: {told_parts}."),
        reading="Each bar starts where the one above it ended; the last one is their sum. The "
        "table has the value and the coefficient behind each.",
        keys=(
            Key(sign=_block("var(--series-2)", 0.7), name=f"speaks for {road}"),
            Key(sign=_block("var(--series-1)", 0.7), name="speaks for offline likelihood"),
            Key(sign=_block("currentColor", 1), name="the sum"),
        ),
        table=diagnosis_tables.of_features(prediction),
    )


def _block(hue: str, strength: float) -> Markup:
    return Markup(
        '<svg class="sign" viewBox="0 0 28 16" aria-hidden="true">'
        '<rect x="1" y="3" width="26" height="10" style="fill:{};opacity:{:g}"/></svg>'
    ).format(hue, strength)
