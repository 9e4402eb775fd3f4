"""A hypothesis: what it says, on which worlds it is tested, and what would decide it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from allroads.lab.study.conduct import Needs
from allroads.lab.study.rules import Test


@dataclass(frozen=True, kw_only=True)
class Case:
    """A hypothesis on one world.

    Attributes:
        variant: the world whose truth is asked.
        tests: all must hold.
        premises: without them the world says nothing about the hypothesis: no test.
        paper: what the paper found in the place of it, in one sentence.
    """

    variant: str
    tests: tuple[Test, ...]
    premises: tuple[Test, ...] = ()
    paper: str = ""

    @property
    def needs(self) -> Needs:
        """Its arms; rewards are read at the tuned setting, frontiers and scorers at all."""
        return merged(
            {need.variant: {need.arm: need.kind != "rewards"}}
            for test in (*self.premises, *self.tests)
            for need in test.statistic.needs
        )


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One statement that can fail.

    Attributes:
        name: as the command line has it.
        title: in a few words.
        claim: the statement, in one sentence.
        prediction: what follows for the arms.
        source: who says it.
        cases: the worlds.
        file: the file that says all this, whose content is registered.
        kind: the paper's own, a rival explanation, or a control that the paper lacks.
    """

    name: str
    title: str
    claim: str
    prediction: str
    source: str
    cases: tuple[Case, ...]
    file: Path
    kind: Literal["hypothesis", "rival", "control"] = "hypothesis"

    @property
    def says(self) -> str:
        """All that it says, as one text: cells, statistics, claims and margins included."""
        return repr(dataclasses.replace(self, file=Path()))

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files that it is made of."""
        return (self.file, self.file.with_name("common.py"))

    def on(self, variant: str | None) -> tuple[Case, ...]:
        """The cases of one variant, or all."""
        return tuple(case for case in self.cases if variant in (None, case.variant))


def merged(several: Iterable[Needs]) -> Needs:
    """All that is needed, in the order in which it is first asked for."""
    out: dict[str, dict[str, bool]] = {}
    for needs in several:
        for name, arms in needs.items():
            known = out.setdefault(name, {})
            for arm, every in arms.items():
                known[arm] = every or known.get(arm, False)
    return out
