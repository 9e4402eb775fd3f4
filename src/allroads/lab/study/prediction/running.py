"""Runs the calibration study: both roads tuned and run, and the evidence, world by world."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from allroads.diagnoses import OFFLINE, Diagnosis, Headroom
from allroads.diagnosis.code import code
from allroads.diagnosis.coverage import coverage
from allroads.diagnosis.features import features
from allroads.diagnosis.headroom import headroom
from allroads.diagnosis.verdict import diagnose
from allroads.evidence import Evidence, Pool
from allroads.lab.diagnose.design import Design
from allroads.lab.diagnose.run import measure, ready
from allroads.lab.folder import revision
from allroads.lab.study.conduct import conduct
from allroads.lab.study.lines import Cell
from allroads.lab.study.prediction.measured import (
    ROADS,
    SEEDS,
    EvidenceLine,
    evidence_lines,
    keep,
)
from allroads.lab.study.prediction.worlds import WORLDS
from allroads.lab.study.running import Place

SEED = 0
"""Of the evidence."""
_DESIGN = Design(truth=True)


def run(place: Place, told: Callable[[str], None], names: tuple[str, ...] = ()) -> list[str]:
    """What is missing, world by world; nothing is run twice.

    Args:
        place: where; its store is the study's own folder.
        told: of every finished line, in words.
        names: of worlds; none: all.

    Returns:
        What is left out, a sentence each.
    """
    left = []
    place = replace(place, worlds=WORLDS)

    def heard(cell: Cell) -> None:
        told(f"{cell.variant}: {cell.arm}, seed {cell.seed}")

    for name in names or tuple(WORLDS):
        if time.monotonic() > place.until:
            left.append(f"{name}: the time was up")
            continue
        # The evidence first: how far settings may lie is read from it.
        if name not in evidence_lines(place.store.folder):
            keep(_evidence(name, place), place.store.folder)
            told(f"{name}: evidence")
        entropies = {name: evidence_lines(place.store.folder)[name].entropy}
        here = replace(place, entropies=entropies)
        left += conduct({name: dict.fromkeys((OFFLINE, *ROADS), False)}, SEEDS, here, heard)
    return left


def _evidence(name: str, place: Place) -> EvidenceLine:
    config = WORLDS[name].config((OFFLINE,), (SEED,), processes=place.processes)
    planned = ready(config, _DESIGN)
    # The folder of the roads' cells: the start policy and the reward model are there already.
    folder = place.work / f"{name}-{planned.prepared.settings.data_fingerprint[:8]}"
    since = time.monotonic()
    evidence = measure(planned, folder, lambda event: None, "allroads lab run prediction")
    blind = without_truth(evidence)
    found, unseeing = diagnose(evidence, {}), diagnose(blind, {})
    return EvidenceLine(
        world=name,
        seed=SEED,
        features={"labels": _features(blind), "truth": _features(evidence)},
        numbers=numbers_of(found) | _renamed(searched(unseeing.headroom), "{} (independent)"),
        longest=found.horizon.tokens.value,
        flops=evidence.cost.flops,
        seconds=round(time.monotonic() - since, 1),
        revision=revision(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def without_truth(evidence: Evidence) -> Evidence:
    """The same for somebody who has no verifying program."""

    def blind(pool: Pool) -> Pool:
        grades = {name: rows for name, rows in pool.grades.items() if name != "truth"}
        return pool.model_copy(update={"grades": grades})

    offline = None if evidence.offline is None else blind(evidence.offline)
    return evidence.model_copy(update={"start": blind(evidence.start), "offline": offline})


def _features(evidence: Evidence) -> dict[str, tuple[float, float, float]]:
    found = features(evidence, code(evidence), headroom(evidence), coverage(evidence))
    return {name: (one.value, one.low, one.high) for name, one in found.items()}


def numbers_of(found: Diagnosis) -> dict[str, float]:
    """Single numbers of a diagnosis, by name."""
    out: dict[str, float | None] = {
        "coded": found.code.coded,
        "bits verifier": found.code.verifier.value / found.code.coded,
        "bits generator": found.code.generator.value / found.code.coded,
        "misfit": found.code.misfit.value / found.code.coded,
        "learning": found.code.learning.value / found.code.coded,
        "ratio": None if found.ratio is None else found.ratio.value,
        "entropy": found.horizon.entropy.value,
        "finished": found.horizon.finished.value,
        "chosen": found.coverage.chosen.value,
        "own": found.coverage.own.value,
        "typical": found.coverage.typical.value,
        "at least": found.noise.at_least.value,
    }
    out |= {f"found {k}": mean.value for k, mean in found.coverage.found}
    out |= {f"decided {share:g}": mean.value for share, mean in found.horizon.decided}
    for curve in found.curves:
        last = [point for point in curve.points if not point.extrapolated][-1]
        out |= {
            f"accuracy {curve.learner}": last.accuracy.value,
            f"nll {curve.learner}": last.nll.value,
            f"limit {curve.learner}": curve.limit.value,
        }
    return _known(out) | searched(found.headroom)


def searched(found: Headroom | None) -> dict[str, float]:
    """What a headroom says, in single numbers."""
    if found is None:
        return {}
    out: dict[str, float | None] = {
        "offline": None if found.offline is None else found.offline.value,
        "offline kl": None if found.offline_kl is None else found.offline_kl.value,
        "grader": None if found.grader_accuracy is None else found.grader_accuracy.value,
    }
    for point in found.points:
        name = f"best of {point.n} by {point.by}"
        out[name] = point.over_start.value
        out[f"{name} over offline"] = (
            None if point.over_offline is None else point.over_offline.value
        )
        out[f"{name} proxy"] = point.proxy.value
    return _known(out)


def _renamed(numbers: Mapping[str, float], pattern: str) -> dict[str, float]:
    return {pattern.format(name): value for name, value in numbers.items()}


def _known(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: float(f"{value:.5g}")
        for name, value in numbers.items()
        if value is not None and math.isfinite(value)
    }
