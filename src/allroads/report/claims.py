"""Findings about claims of the theory -> one HTML page: the picture, then both tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from allroads.findings import Check, Drawing, Finding
from allroads.report import html, ink, numbers
from allroads.report.ink import Picture, Sheet
from allroads.report.tables import Cell, Table

_SIGNS = {"=": "=", "<=": "≤", "!=": "≠", ">": ">"}


def render(findings: Sequence[Finding], *, command: str, version: str) -> str:
    """The whole page. A pure function: the same findings give the same bytes.

    Args:
        findings: at least one.
        command: how to compute them again.
        version: of the library that computed them.
    """
    one = findings[0].name if len(findings) == 1 else "all"
    views = [
        {
            "f": finding,
            "picture": picture(finding.name, finding.drawing) if finding.drawing else None,
            "kept": of_checks([c for c in finding.checks if c.premise]),
            "broken": of_checks([c for c in finding.checks if not c.premise]),
        }
        for finding in findings
    ]
    title = f"The exact lab: {one}" if one != "all" else "The exact lab: every claim"
    view = {"claims": views, "title": title, "command": command, "version": version}
    return html.fill("claims.html.j2", view)


def write(
    findings: Sequence[Finding], path: str | os.PathLike[str], *, command: str, version: str
) -> Path:
    """Render into `path` at once."""
    return html.save(render(findings, command=command, version=version), path)


def of_checks(checks: Sequence[Check]) -> Table:
    """The two sides of every variant and how far they are apart."""
    return Table(
        caption="Both sides where they differ most (where they agree: at the largest entry), and "
        "their greatest difference; where one may not exceed the other, the greatest excess.",
        columns=("Variant", "Left", "is", "Right", "Gap", "Rounding allowed", "As expected"),
        rows=tuple(
            (
                Cell(text=check.variant, sub=(check.says,)),
                Cell(text=numbers.number(check.left, 5)),
                Cell(text=_SIGNS[check.sign]),
                Cell(text=numbers.number(check.right, 5)),
                Cell(text=numbers.number(check.gap, 2)),
                Cell(text=numbers.number(check.tolerance, 1)),
                Cell(text="yes" if check.expected else "no",
                     tone="better" if check.expected else "worse"),
            )
            for check in checks
        ),
        words=(2, 6),
    )  # fmt: skip


@ink.styled
def picture(name: str, drawing: Drawing) -> Picture:
    """A drawing in the page's style."""
    sheet = Sheet(f"claim-{name}", 320)
    top = sheet.heading(16, drawing.y)
    axes = sheet.axes(top=top, bottom=46, left=52)
    most = max(len(line.x) for line in drawing.lines)
    for index, line in enumerate(drawing.lines):
        # A line of few points among lines of many lies on one of them: its points are enough.
        dotted = len(line.x) < most / 2
        axes.plot(
            line.x,
            line.y,
            color=ink.colour(index),
            linestyle="none" if dotted else ink.dash(index),
            marker=ink.marker(index),
            markevery=1 if dotted else max(1, len(line.x) // 8),
            markersize=5,
            linewidth=1.8,
        )
    _scale(axes, "x", logarithmic=drawing.log_x)
    _scale(axes, "y", logarithmic=drawing.log_y)
    axes.set_xlabel(drawing.x)
    said = "; ".join(
        f"{line.name}: {numbers.number(line.y[0])} to {numbers.number(line.y[-1])}"
        for line in drawing.lines
    )
    return Picture(
        name=f"claim-{name}",
        title=drawing.title,
        svg=sheet.svg(f"{drawing.title}. {drawing.y} against {drawing.x}: {said}."),
        reading=drawing.reading,
        keys=tuple(ink.series_key(k, line.name) for k, line in enumerate(drawing.lines)),
        table=_of_drawing(drawing),
    )


def _scale(axes: Axes, which: str, *, logarithmic: bool) -> None:
    if not logarithmic:
        ink.round_ticks(axes, which)
        return
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: numbers.power_of_ten(value)))


def _of_drawing(drawing: Drawing) -> Table:
    """At most a dozen points of each line."""
    rows = []
    for line in drawing.lines:
        every = max(1, -(-len(line.x) // 12))
        dots = list(zip(line.x, line.y, strict=True))[::every]
        rows += [
            (Cell(text=line.name), Cell(text=numbers.number(x)), Cell(text=numbers.number(y)))
            for x, y in dots
        ]
    return Table(
        caption="At most twelve points of each line.",
        columns=("Line", drawing.x, drawing.y),
        rows=tuple(rows),
    )
