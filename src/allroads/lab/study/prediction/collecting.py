"""From the study's lines to the fitted models and to what they may be trusted with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from allroads.diagnosis.calibration import (
    Calibration,
    Held,
    calibration,
    leave_one_family_out,
    regrets,
)
from allroads.diagnosis.model import Model, Models, World, fit
from allroads.lab.study.prediction.measured import ROADS, measured_worlds

READS: dict[str, tuple[str, ...]] = {
    "labels": ("accuracy", "bits"),
    "truth": ("search", "offline", "coverage"),
}
"""Features of each model, for all roads. Those of 'labels' were written down before any gain of
these roads was measured; those of 'truth' were chosen with the gains of 57 worlds in view, and two
families that were written and run afterwards are their test."""
REINFORCEMENT = "rloo"
"""What the rule of thumb trains."""
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


Results = dict[str, dict[str, Found]]
"""By model, then by road."""


def found(results: Path) -> Results:
    """What each model predicts; nothing where too few worlds have been measured."""
    out: Results = {}
    for name, features in READS.items():
        for road in ROADS:
            worlds = _worlds(results, name, road)
            if len(worlds) >= _LEAST and len({world.family for world in worlds}) >= 2:
                held = leave_one_family_out(worlds, features)
                out.setdefault(name, {})[road] = Found(held, calibration(held))
    return out


def models(results: Path) -> Models:
    """The models fitted on every measured world."""
    out: dict[str, dict[str, Model]] = {}
    for name, features in READS.items():
        for road in ROADS:
            worlds = _worlds(results, name, road)
            if len(worlds) >= _LEAST:
                out.setdefault(name, {})[road] = fit(worlds, features)
    return Models(made=COMMAND, models=out)


def regret(by_road: dict[str, Found]) -> dict[str, float]:
    """Of taking the most promising of all roads; on the worlds on which all were measured."""
    if set(by_road) != set(ROADS):
        return {}
    every = [{held.world.name for held in one.held} for one in by_road.values()]
    common = set.intersection(*every)
    held = {
        road: sorted((h for h in one.held if h.world.name in common), key=lambda h: h.world.name)
        for road, one in by_road.items()
    }
    return regrets(held, REINFORCEMENT)


def text_of(results: Results) -> str:
    """The calibration as lines for a terminal."""
    out: list[str] = []
    for name, by_road in results.items():
        out.append(f"{name}, from {', '.join(READS[name])}; families left out one by one:")
        for road, one in by_road.items():
            c = one.calibration
            out += [
                f"  {road}: {c.worlds} worlds of {c.families} families; gain above 0 on "
                f"{c.positive:.0%}, below on {c.negative:.0%}; reliability of the measured gains "
                f"{c.reliability:.2f}",
                f"    rank correlation {c.spearman:.2f}; sign said on {c.decided:.0%}, right on "
                f"{c.signs:.0%} of these; 90 % intervals cover {c.covered:.0%}",
                f"    mean regret, this road or offline: {_values(c.regret)}",
                "    worst: " + "; ".join(_words(held) for held in one.worst),
            ]
        if said := regret(by_road):
            out.append(f"  mean regret, of all roads: {_values(said)}")
    return "\n".join(out) if out else "Too few worlds have been measured to say anything."


def _worlds(results: Path, name: str, road: str) -> list[World]:
    """Those that have the features."""
    worlds = measured_worlds(results, name, road)
    return [world for world in worlds if set(READS[name]) <= set(world.features)]


def _values(every: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in every.items())


def _miss(held: Held) -> float:
    return abs(held.prediction.gain - held.world.gain)


def _words(held: Held) -> str:
    return f"{held.world.name} {held.world.gain:+.2f}, predicted {held.prediction.gain:+.2f}"
