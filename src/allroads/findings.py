"""What examining a claim of the theory leaves behind: plain records, for a table or one page."""

from __future__ import annotations

from typing import Literal

from allroads.records import Record

CLEARLY = 1000.0
"""A broken premise counts as broken where the gap is at least so many tolerances."""


class Check(Record):
    """One claim, computed once: as it is stated, or with a named part of its premise broken."""

    variant: str
    """What was computed, or what was broken; unique within the claim."""
    premise: bool
    """Does the premise hold? If not, the two sides are expected to differ."""
    says: str
    """One sentence: what the two sides are, and in which unit."""
    relation: Literal["equal", "at most"] = "equal"
    """What the left side is claimed to be: equal to the right one, or at most as large."""
    left: float
    """The left side, where the two sides differ most; where they agree, at its largest entry."""
    right: float
    """The right side at the same place."""
    gap: float
    """Greatest difference of the sides; where one may not exceed the other, the greatest excess."""
    tolerance: float
    """The gap that rounding and solving may leave."""

    @property
    def sign(self) -> str:
        """The relation as it should come out: = or <= where the premise holds, else != or >."""
        signs = {"equal": ("=", "!="), "at most": ("<=", ">")}
        return signs[self.relation][not self.premise]

    @property
    def expected(self) -> bool:
        """The sides agree where the premise holds, and clearly differ where it is broken."""
        if self.premise:
            return self.gap <= self.tolerance
        return self.gap >= CLEARLY * self.tolerance


class Line(Record):
    """One named series of a drawing."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


class Drawing(Record):
    """The picture that explains a claim, as numbers."""

    title: str
    x: str
    """What the horizontal axis shows, with its unit."""
    y: str
    lines: tuple[Line, ...]
    reading: str
    """How to read it, in one or two sentences."""
    log_x: bool = False
    log_y: bool = False


class Finding(Record):
    """A claim with everything that was computed about it."""

    name: str
    statement: str
    """The claim in one or two sentences."""
    source: str
    checks: tuple[Check, ...]
    drawing: Drawing | None = None

    @property
    def expected(self) -> bool:
        """Every check came out as it should."""
        return all(check.expected for check in self.checks)
