"""What a world of the calibration study left: its evidence in numbers, and the measured gain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from allroads import stats
from allroads.diagnoses import OFFLINE, ONLINE, SEARCH
from allroads.diagnosis.model import World
from allroads.lab.study.lines import Store
from allroads.lab.study.measured import NoEstimate
from allroads.lab.study.prediction.worlds import FAMILIES, WORLDS
from allroads.lab.study.table import TUNING, Table
from allroads.records import Record

ROADS = (SEARCH, *ONLINE)
"""Whose gain over `OFFLINE` is predicted."""
SEEDS = (*TUNING, 0)
"""With which the gain is measured, both roads at their tuned settings. Settings are chosen by
held-out labels and never by the truth, so that seeds that tune are measured too, as in a
comparison."""


class EvidenceLine(Record):
    """The evidence of one world, as numbers; one committed line."""

    world: str
    seed: int
    features: dict[str, dict[str, tuple[float, float, float]]]
    """(value, low, high) by name, by who graded samples: 'labels' (nobody but the learners' own
    kind), 'truth' (the world's verifier)."""
    numbers: dict[str, float]
    """Further ones, which no model reads: for whoever looks for better features."""
    longest: float
    """Mean tokens of the start policy's answers."""
    flops: float
    """Of the evidence, the start policy's training apart."""
    seconds: float
    revision: str
    created: str

    @property
    def entropy(self) -> float:
        """Of the start policy, nats per completion: a token's, times the mean length."""
        return -self.numbers["own"] * self.longest


def evidence_lines(results: Path) -> dict[str, EvidenceLine]:
    """By world; the newest line of each."""
    path = _file(results)
    if not path.is_file():
        return {}
    rows = map(EvidenceLine.model_validate_json, path.read_text("utf-8").splitlines())
    return {row.world: row for row in rows}


def keep(line: EvidenceLine, results: Path) -> None:
    """Append a line."""
    results.mkdir(parents=True, exist_ok=True)
    with _file(results).open("a", encoding="utf-8") as file:
        file.write(line.model_dump_json() + "\n")


def _file(results: Path) -> Path:
    """Beside the folder, where it is no world."""
    return results.with_suffix(".jsonl")


def table_of(results: Path) -> Table:
    """The study's cells, settings chosen as comparisons choose them."""
    entropies = {name: line.entropy for name, line in evidence_lines(results).items()}
    return Table(Store(results), entropies)


def gain(table: Table, world: str, road: str, seeds: Sequence[int] = SEEDS) -> stats.Estimate:
    """P(the road's answer beats the offline answer to the same prompt, ties half) - 1/2.

    Both roads at their tuned settings, by the true reward; crossed over seeds and prompts.

    Raises:
        NoEstimate: when a cell is missing.
    """
    other, offline = (table.rewards(world, arm, seeds) for arm in (road, OFFLINE))
    return stats.two_way_mean(np.heaviside(other - offline, 0.5) - 0.5)


def measured_worlds(results: Path, graded: str, road: str) -> tuple[World, ...]:
    """Every world whose evidence and whose gain of a road are there.

    Args:
        results: folder of the study's lines.
        graded: 'labels' or 'truth'.
        road: one of `ROADS`.
    """
    table, lines, out = table_of(results), evidence_lines(results), []
    for name in WORLDS:
        if name not in lines:
            continue
        try:
            found = gain(table, name, road)
            costs = {arm: table.flops(name, arm, SEEDS) for arm in (road, OFFLINE)}
        except NoEstimate:
            continue
        if found.standard_error is None:
            continue
        line = lines[name]
        out.append(
            World(
                name=name,
                family=FAMILIES[name],
                features=line.features[graded],
                gain=found.value,
                error=found.standard_error,
                costs={**costs, "evidence": line.flops},
                longest=line.longest,
                verifiable=True,
            )
        )
    return tuple(out)
