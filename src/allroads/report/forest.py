"""Rows of effects with intervals on one axis, each against the region that its claim allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from allroads.records import Mean
from allroads.report import ink, numbers
from allroads.report.figures import side_bars
from allroads.report.ink import Sheet

_TEXT, _BAR, _GAP, _HEADING = 15.0, 18.0, 7.0, 24.0
"""Heights in page units: a line of words, a bar, the space after a row, a heading."""
_AXIS = 26.0
"""Height of the tick labels."""
_LETTERS, _BOLD = 50, 44
"""Of one line of words, of one line of a heading."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where a claim lies: at or beyond `delta` on one side, or inside ±`delta`.

    Attributes:
        claim: as in `studies.TestRow`.
        delta: likewise.
    """

    claim: Literal["above", "below", "within", "at least"]
    delta: float

    def span(self, low: float, high: float) -> tuple[float, float]:
        """Its part of an axis that goes from `low` to `high`."""
        return {
            "above": (self.delta, high),
            "at least": (self.delta, high),
            "below": (low, -self.delta),
            "within": (-self.delta, self.delta),
        }[self.claim]

    def small(self) -> tuple[float, float] | None:
        """What has the claimed sign, but is too small to count."""
        return {"above": (0.0, self.delta), "below": (-self.delta, 0.0)}.get(self.claim)

    @property
    def ends(self) -> tuple[float, ...]:
        """What must be seen of it, with some room beyond."""
        far = 1.3 * self.delta
        return {"above": (far,), "at least": (far,), "below": (-far,)}.get(self.claim, (-far, far))


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value with its interval.

    Attributes:
        mean: both.
        series: its colour and marker.
        sure: filled, or hollow.
    """

    mean: Mean
    series: int = 0
    sure: bool = True


@dataclass(frozen=True, kw_only=True)
class Row:
    """Words, and below them bars, one under the other.

    Attributes:
        words: what is measured.
        note: said below, less loudly.
        bars: none for a heading.
        region: where the claim lies.
        instead: said where there is no bar.
    """

    words: str
    note: str = ""
    bars: tuple[Bar, ...] = ()
    region: Region | None = None
    instead: str = ""

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The words as they are set, each line with its colour."""
        words = ink.wrapped(self.words, _BOLD if self.heading else _LETTERS, 4)
        notes = ink.wrapped(self.note, _LETTERS, 2) if self.note else []
        return [(line, ink.INK) for line in words] + [(line, ink.SOFT) for line in notes]

    @property
    def heading(self) -> bool:
        """Whether it has words only."""
        return not self.bars and not self.instead

    @property
    def height(self) -> float:
        """In page units."""
        if self.heading:
            return _HEADING + _TEXT * (len(self.lines) - 1)
        return _TEXT * len(self.lines) + _BAR * max(len(self.bars), 1) + _GAP


def drawable(mean: Mean | None) -> bool:
    """Whether there is a value to draw."""
    return mean is not None and numbers.finite(mean.value) is not None


def height(rows: Sequence[Row], title_lines: int = 1) -> float:
    """Of a panel with these rows, in page units."""
    return 29 + _TEXT * (title_lines - 1) + sum(row.height for row in rows) + _AXIS


def draw(
    sheet: Sheet,
    top: float,
    rows: Sequence[Row],
    unit: str,
    marks: Sequence[float] = (),
    origin: float = 0.0,
) -> float:
    """Draw a panel `top` units from the sheet's upper edge; returns where it ends.

    Args:
        sheet: where.
        top: its upper edge.
        rows: from above to below.
        unit: what the axis shows; two lines at most.
        marks: values with a line of their own, beside the origin.
        origin: the value of nothing found, always in view and with a line: 0 for differences.
    """
    inside = sheet.heading(top + 16, unit)
    tall = sum(row.height for row in rows)
    axes = sheet.axes(top=inside, bottom=sheet.height - inside - tall, left=12, right=14)
    axes.set_ylim(tall, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    low, high = _limits(rows, (origin, *marks))
    axes.set_xlim(low, high)
    axes.axvline(origin, color=ink.SOFT, linewidth=1, gid=f"zero-{top:g}")
    for mark in marks:
        axes.axvline(mark, color=ink.SOFT, linewidth=1, linestyle=(0, (2, 3)))
    at = 0.0
    for row in rows:
        _row(sheet, axes, row, at, f"{top:g}-{at:g}")
        at += row.height
    ink.round_ticks(axes, "x")
    return inside + tall + _AXIS


def _row(sheet: Sheet, axes: Axes, row: Row, at: float, name: str) -> None:
    across = axes.get_yaxis_transform()
    first = at + (_HEADING - _TEXT if row.heading else 0)
    weight = "bold" if row.heading else "normal"
    for k, (line, hue) in enumerate(row.lines):
        y = first + _TEXT * k + 12
        axes.text(0, y, sheet.word(line), transform=across, va="baseline", weight=weight, color=hue)
    if row.heading:
        return
    under = at + _TEXT * len(row.lines) + 2
    deep = _BAR * max(len(row.bars), 1) - 2
    if row.region is not None:
        _shade(axes, row.region, under, deep, name)
    if not row.bars:
        y = under + _BAR / 2
        axes.text(0.02, y + 3, sheet.word(row.instead), transform=across, va="baseline",
                  color=ink.SOFT)  # fmt: skip
    for k, bar in enumerate(row.bars):
        y = under + _BAR * (k + 0.5) - 1
        hue = ink.colour(bar.series)
        drawn = axes.errorbar(
            bar.mean.value,
            y,
            xerr=side_bars(bar.mean),
            fmt=ink.marker(bar.series),
            color=hue,
            markerfacecolor=hue if bar.sure else ink.PAPER,
            lw=2,
        )
        for line in drawn.lines[2]:
            line.set_gid(f"bar-{name}-{k}")


def _shade(axes: Axes, region: Region, under: float, deep: float, name: str) -> None:
    low, high = axes.get_xlim()
    spans = [(region.span(low, high), 0.28), (region.small(), 0.11)]
    for k, (span, alpha) in enumerate(spans):
        if span is not None and span[1] > span[0]:
            axes.add_patch(
                Rectangle(
                    (span[0], under),
                    span[1] - span[0],
                    deep,
                    color=ink.colour(2),
                    alpha=alpha,
                    linewidth=0,
                    gid=f"{'small' if k else 'region'}-{name}",
                )
            )


def _limits(rows: Sequence[Row], marks: Sequence[float]) -> tuple[float, float]:
    seen = [*marks]
    for row in rows:
        for bar in row.bars:
            seen += [bar.mean.value, *(numbers.bounds(bar.mean) or ())]
        if row.region is not None:
            seen += row.region.ends
    low, high = min(seen), max(seen)
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room
