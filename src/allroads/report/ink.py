"""How a figure becomes part of the page: matplotlib draws it, this file makes it follow the theme.

Text of the data never reaches matplotlib (no mathtext, no missing glyphs, no markup): figures write
a placeholder and `Sheet.svg` puts the words in afterwards, as the text of an XML element.
"""

from __future__ import annotations

import functools
import io
import re
import textwrap
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from allroads.report import numbers
from allroads.report.tables import Table

WIDTH = 360.0
"""Width of every figure, in its own units: about a phone's, so that text keeps its size."""
INK, SOFT, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
"""Stand-ins that `Sheet.svg` replaces by the page's colours, which differ by light and dark."""
MARKERS = ("o", "s", "^", "v", "P", "X")
HUES = 6
_P = ParamSpec("_P")
_T = TypeVar("_T")
_THEME = {INK: "currentColor", SOFT: "var(--soft)", GRID: "var(--grid)", PAPER: "var(--paper)"}
_THEME |= {f"#0505{i:02x}": f"var(--series-{i})" for i in range(HUES)}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "allroads",
    "font.family": ["DejaVu Sans"],
    "font.size": 12,
    "axes.unicode_minus": True,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "path.simplify": False,
}


def styled(draw: Callable[_P, _T]) -> Callable[_P, _T]:
    """`draw` under the page's style; whoever else uses matplotlib keeps theirs."""

    @functools.wraps(draw)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return wrapped


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a legend: the drawn sign, as inline SVG, and its name."""

    sign: Markup
    name: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure of the page, with everything that lets it be read without seeing it."""

    name: str
    """Prefix of every id inside the SVG: unique on the page."""
    title: str
    svg: Markup
    reading: str
    """How to read it, in one or two sentences."""
    keys: tuple[Key, ...]
    table: Table


def colour(index: int) -> str:
    """The stand-in for the colour of series `index`; from the seventh on, hues repeat."""
    return f"#0505{index % HUES:02x}"


def dash(index: int) -> tuple[float, tuple[float, ...] | None]:
    """Line pattern of series `index`: series that share a hue differ in it, and in the marker."""
    return (0, None) if index < HUES else (0, (4, 2))


def marker(index: int) -> str:
    """Marker of series `index`: shape tells series apart where colour cannot."""
    return MARKERS[(index + index // HUES) % len(MARKERS)]


def plain(text: str, limit: int) -> str:
    """`text` on one line, without control or direction characters, at most `limit` long."""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    flat = " ".join(kept.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """`text` in at most so many lines of so many characters; what does not fit is cut."""
    rows = textwrap.wrap(plain(text, 4 * width), width, break_long_words=True) or [""]
    if len(rows) > lines:
        rows = [*rows[: lines - 1], plain(" ".join(rows[lines - 1 :]), width)]
    return rows


def sign(shape: str, *, stroke: str, fill: str, size: float = 7, line: str = "") -> Markup:
    """A legend's sign: `shape` is a matplotlib marker; `line` the dash pattern behind it, or ''."""
    style = MarkerStyle(shape)
    outline = style.get_path().transformed(style.get_transform())
    rings = [
        " ".join(f"{14 + size * x:.1f},{8 - size * y:.1f}" for x, y in np.asarray(ring).tolist())
        for ring in outline.to_polygons(closed_only=False)
    ]
    behind = (
        Markup('<path d="M1 8H27" fill="none" style="stroke:{};stroke-width:2" {}/>').format(
            stroke, Markup('stroke-dasharray="4 2"') if line == "dashed" else ""
        )
        if line
        else ""
    )
    polygons = Markup("").join(
        Markup('<polygon points="{}" style="fill:{};stroke:{};stroke-width:1.4"/>').format(
            ring, fill, stroke
        )
        for ring in rings
    )
    return Markup('<svg class="sign" viewBox="0 0 28 16" aria-hidden="true">{}{}</svg>').format(
        behind, polygons
    )


def series_key(index: int, name: str) -> Key:
    """The legend entry of series `index`."""
    hue = f"var(--series-{index % HUES})"
    line = "solid" if index < HUES else "dashed"
    return Key(sign=sign(marker(index), stroke=hue, fill=hue, line=line), name=plain(name, 70))


def line_sign(stroke: str, dashes: str = "", width: float = 1.5) -> Markup:
    """A legend's line without a marker; `dashes` as in SVG, '' for a whole line."""
    return Markup(
        '<svg class="sign" viewBox="0 0 28 16" aria-hidden="true"><path d="M1 8H27" '
        'fill="none" style="stroke:{};stroke-width:{:g}" {}/></svg>'
    ).format(stroke, width, Markup('stroke-dasharray="{}"').format(dashes) if dashes else "")


def round_ticks(axes: Axes, which: str) -> None:
    """Few ticks at round values, all with as many decimals as their step needs."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    step = f"{ticks[1] - ticks[0]:.6f}".rstrip("0")
    places = len(step.partition(".")[2])
    axis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: numbers.fixed(value, places)))


class Sheet:
    """One drawing in page units (origin at the top left), turned into themed inline SVG."""

    def __init__(self, name: str, height: float, width: float = WIDTH) -> None:
        """An empty sheet of `width` × `height`; `name` prefixes its ids."""
        self.name, self.height, self.width = name, height, width
        self._words: list[str] = []
        self.figure = Figure(figsize=(width / 72, height / 72), facecolor="none")
        FigureCanvasSVG(self.figure)

    def axes(self, *, top: float, bottom: float, left: float = 44, right: float = 12) -> Axes:
        """Axes between these margins, each measured from the sheet's own edge."""
        width = (self.width - left - right) / self.width
        height = (self.height - top - bottom) / self.height
        return self.figure.add_axes((left / self.width, bottom / self.height, width, height))

    def word(self, text: str, limit: int = 60) -> str:
        """A placeholder for text of the data; `svg` replaces it."""
        self._words.append(plain(text, limit))
        return f"§{len(self._words) - 1}§"

    def heading(self, y: float, text: str, lines: int = 2) -> float:
        """Write what the axes show, `y` units from the top; returns where the axes can start."""
        rows = wrapped(text, int(48 * self.width / WIDTH), lines)
        for k, row in enumerate(rows):
            height = 1 - (y + 15 * k) / self.height
            self.figure.text(2 / self.width, height, self.word(row), va="baseline")
        return y + 15 * (len(rows) - 1) + 13

    def svg(self, label: str) -> Markup:
        """The drawing as inline SVG with `label` for those who do not see it."""
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
        source = ElementTree.fromstring(buffer.getvalue())
        root = ElementTree.Element(
            "svg",
            {
                "viewBox": f"0 0 {self.width:g} {self.height:g}",
                "role": "img",
                "aria-label": plain(label, 1500),
            },
        )
        root.extend(self._clean(child) for child in source if _local(child.tag) != "metadata")
        for element in root.iter():
            element.tail = None
            element.text = self._spoken(element.text) if element.tag == "text" else None
        return Markup(ElementTree.tostring(root, encoding="unicode"))

    def _clean(self, element: ElementTree.Element) -> ElementTree.Element:
        """A copy without namespaces, with own ids, the page's colours and the page's font."""
        copy = ElementTree.Element(_local(element.tag))
        copy.text = element.text
        for key, value in element.attrib.items():
            copy.set(_local(key), self._attribute(_local(key), value))
        # matplotlib's own <style> holds a rule for "*": inside a page it would reach everything.
        copy.extend(self._clean(child) for child in element if _local(child.tag) != "style")
        return copy

    def _attribute(self, key: str, value: str) -> str:
        if key == "id":
            return f"{self.name}-{value}"
        if key == "href":
            return f"#{self.name}-{value.removeprefix('#')}"
        if key == "clip-path":
            return value.replace("url(#", f"url(#{self.name}-")
        if key == "style":
            value = re.sub(r"font-family:[^;]*;?\s*", "", value)
            return re.sub(r"#[0-9a-f]{6}", lambda found: _THEME.get(found[0], found[0]), value)
        if key in {"d", "x", "y", "transform"}:
            value = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", value)
            return " ".join(value.split())
        return value

    def _spoken(self, text: str | None) -> str:
        return re.sub(r"§(\d+)§", lambda found: self._words[int(found[1])], text or "")


def _local(name: str) -> str:
    return name.rpartition("}")[2]
