"""From the study's lines to the fitted models and to what they may be trusted with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from allroads.diagnosis.calibration import Calibration, Held, calibration, leave_one_family_out
from allroads.diagnosis.model import Models, fit
from allroads.lab.study.prediction.measured import measured_worlds

READS: dict[str, tuple[str, ...]] = {
    "labels": ("accuracy", "bits"),
    "truth": ("accuracy", "bits", "search"),
}
"""Features of each model; written down before any gain of the study was measured."""
COMMAND = "allroads lab run prediction"
_WORST = 5
_LEAST = 12
"""Worlds below which nothing is said."""


@dataclass(frozen=True)
class Found:
    """One model's predictions of worlds whose family it has not seen."""

    held: tuple[Held, ...]
    calibration: Calibration

    @property
    def worst(self) -> tuple[Held, ...]:
        """The five worlds that were predicted worst."""
        return tuple(sorted(self.held, key=_miss)[-_WORST:][::-1])


def found(results: Path) -> dict[str, Found]:
    """By model; nothing where too few worlds have been measured."""
    out = {}
    for graded, names in READS.items():
        worlds = [
            world for world in measured_worlds(results, graded) if set(names) <= set(world.features)
        ]
        if len(worlds) >= _LEAST and len({world.family for world in worlds}) >= 2:
            held = leave_one_family_out(worlds, names)
            out[graded] = Found(held, calibration(held))
    return out


def models(results: Path) -> Models:
    """The models fitted on every measured world."""
    out = {}
    for graded, names in READS.items():
        worlds = [
            world for world in measured_worlds(results, graded) if set(names) <= set(world.features)
        ]
        if len(worlds) >= _LEAST:
            out[graded] = fit(worlds, names)
    return Models(made=COMMAND, models=out)


def text_of(results: dict[str, Found]) -> str:
    """The calibration as lines for a terminal."""
    out: list[str] = []
    for graded, one in results.items():
        c = one.calibration
        out += [
            f"Predicted from {', '.join(READS[graded])} ({graded}), families left out one by one:",
            f"  {c.worlds} worlds of {c.families} families; gain above 0 on {c.positive:.0%}, "
            f"below on {c.negative:.0%}; reliability of the measured gains {c.reliability:.2f}",
            f"  rank correlation {c.spearman:.2f}; sign said on {c.decided:.0%}, right on "
            f"{c.signs:.0%} of these; 90 % intervals cover {c.covered:.0%}",
            "  mean regret: "
            + ", ".join(f"{name} {value:.3f}" for name, value in c.regret.items()),
            "  worst: " + "; ".join(_words(held) for held in one.worst),
        ]
    return "\n".join(out) if out else "Too few worlds have been measured to say anything."


def _miss(held: Held) -> float:
    return abs(held.prediction.gain - held.world.gain)


def _words(held: Held) -> str:
    return f"{held.world.name} {held.world.gain:+.2f}, predicted {held.prediction.gain:+.2f}"
