"""`Diagnosis` -> a few lines for a terminal: what the page says first."""

from __future__ import annotations

from collections.abc import Sequence

from allroads.diagnoses import Diagnosis, RoadRow
from allroads.report import diagnosis_words, ink, numbers

WIDTH = 96
"""Characters of a line."""
_LABEL = 12
_LINES = 2
"""At most so many for one sentence."""
_MOST = 3
"""Reasons, and pieces of missing evidence: the page has all."""


def text_of(diagnosis: Diagnosis) -> str:
    """Advice, prediction, reasons, roads, next step and what is missing, in at most 25 lines."""
    d = diagnosis
    lines = [
        *_entry("Advice", d.headline),
        *_entry("Gain", diagnosis_words.prediction(d)),
    ]
    for k, reason in enumerate(d.reasons[:_MOST]):
        lines += _entry("" if k else "Because", f"- {reason.words}")
    lines += ["", *_roads(d.roads), ""] if d.roads else [""]
    lines += _entry("Next", d.next_step)
    lines += _missing(d.missing)
    return "\n".join(lines) + "\n"


def _entry(label: str, said: str) -> list[str]:
    """One sentence behind its label, in a few lines."""
    room = WIDTH - _LABEL
    rows = ink.wrapped(said, room, _LINES)
    return [f"{label if k == 0 else '':<{_LABEL}}{row}" for k, row in enumerate(rows)]


def _roads(rows: Sequence[RoadRow]) -> list[str]:
    shown = [("Road", "gain over offline", "labels", "FLOP", "time", "answers sampled")]
    for row in rows:
        gain = diagnosis_words.gain_of(row.gain, row.low, row.high)
        shown.append(
            (
                ink.plain(row.road, 24),
                diagnosis_words.told(gain, sign=True),
                numbers.count(row.cost.labels),
                numbers.scientific(row.cost.flops),
                numbers.duration(row.cost.seconds),
                numbers.count(row.serving),
            )
        )
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(
            f"{cell:<{w}}" if k == 0 else f"{cell:>{w}}"
            for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in shown
    ]


def _missing(missing: Sequence[str]) -> list[str]:
    lines = []
    more = len(missing) - _MOST
    for k, one in enumerate(missing[:_MOST]):
        tail = f" (and {more} more on the page)" if more > 0 and k == _MOST - 1 else ""
        lines += _entry("" if k else "Missing", f"- {ink.plain(one, 120)}{tail}")
    return lines
