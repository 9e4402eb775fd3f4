"""Measures what a diagnosis needs, within a budget; a run that was stopped is continued."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from allroads import files
from allroads.diagnoses import OFFLINE, Diagnosis
from allroads.diagnosis.model import fitted
from allroads.diagnosis.verdict import diagnose
from allroads.evidence import Evidence
from allroads.lab.compare import Prepared, prepare, replanned, write_inputs
from allroads.lab.config import CompareConfig
from allroads.lab.diagnose.design import (
    OFFLINE_SETTINGS,
    PRICED,
    ROADS,
    Design,
    EvidencePlan,
    evidence_plan,
)
from allroads.lab.diagnose.gather import gather
from allroads.lab.estimate import estimate_jobs
from allroads.lab.execute import result_path
from allroads.lab.folder import write_manifest
from allroads.lab.runner import Listener, locked, run_jobs
from allroads.models.device import resolve_device
from allroads.records import Cost
from allroads.report import diagnosis as page

BETA = 0.5
"""Of the generator, where the user says nothing: the middle of the grids."""
EVIDENCE, DIAGNOSIS, PAGE = "evidence.json", "diagnosis.json", "diagnosis.html"
_CLOSING = 3.0
"""Seconds kept for gathering and for the page."""


@dataclass(frozen=True)
class Measuring:
    """A diagnosis that is ready to be measured: nothing has been trained yet.

    Attributes:
        prepared: the comparison whose stages it shares.
        plan: its jobs.
        seconds: of each job, expected, in one process.
        roads: what one training of each road is expected to cost.
    """

    prepared: Prepared
    plan: EvidencePlan
    seconds: dict[str, float]
    roads: dict[str, Cost]


def ready(config: CompareConfig, design: Design) -> Measuring:
    """Resolve and plan; writes nothing.

    Args:
        config: data or world, and model; the roads are the diagnosis's own, its seed the first, its
            beta the only one that is given or else `BETA`.
        design: how much is measured.

    Raises:
        InputError: for data, a model or a combination that cannot be used.
    """
    betas = config.betas if len(config.betas) == 1 else (BETA,)
    if config.verifier is not None:  # Whoever brings one wants it asked.
        design = design.model_copy(update={"truth": True})
    changes = {"roads": (*ROADS, *PRICED), "seeds": config.seeds[:1], "betas": betas}
    prepared = prepare(config.model_copy(update=changes))
    recipe = prepared.settings.recipe
    offline = {
        rate: replanned(
            prepared, recipe.at_rate(rate), roads=(OFFLINE,), betas=(factor * betas[0],)
        )
        for rate, factor in OFFLINE_SETTINGS
    }
    plan = evidence_plan(prepared, offline, design)
    costs = estimate_jobs(prepared, {**prepared.plan.jobs, **plan.jobs})
    roads = {
        cell.road: sum((costs[name] for name in cell.ancestors), Cost())
        for cell in prepared.plan.cells
        if cell.road in PRICED
    }
    return Measuring(prepared, plan, {name: cost.seconds for name, cost in costs.items()}, roads)


def measure(
    ready: Measuring, folder: Path, listener: Listener, command: str, *, until: float = math.inf
) -> Evidence:
    """Run what is missing and gather what is there; leaves `evidence.json`.

    Args:
        ready: from `ready`.
        folder: the run folder; made if absent.
        listener: told of progress.
        command: how to run this again.
        until: `time.monotonic()` at which all should be over: no job is begun that is expected to
            last longer.

    Raises:
        RunFolderError: when the folder is in use or belongs to something else; when too little was
            measured before the time was up.
    """
    prepared, jobs = ready.prepared, ready.plan.jobs
    config, settings = prepared.config, prepared.settings
    with locked(folder):
        write_manifest(folder, config, settings, str(resolve_device(config.device)), command)
        write_inputs(prepared, folder)
        latest = {name: until - _CLOSING - ready.seconds[name] for name in jobs}
        run_jobs(jobs, folder, config, settings, listener, latest=latest, steadily=True)
        evidence = gather(ready.plan, prepared, folder, command, ready.roads)
        files.write_text(folder / EVIDENCE, evidence.model_dump_json() + "\n")
    return evidence


def conclude(evidence: Evidence, folder: Path) -> Diagnosis:
    """Say what the evidence means; leaves `diagnosis.json` and `diagnosis.html`."""
    found = diagnose(evidence, fitted())
    files.write_text(folder / DIAGNOSIS, found.model_dump_json(indent=1) + "\n")
    page.write(found, folder / PAGE)
    return found


def left(ready: Measuring, folder: Path) -> float:
    """Seconds that are still expected with all processes busy."""
    return _left(ready, folder, [*ready.plan.jobs])


def essential(ready: Measuring, folder: Path) -> float:
    """Those of them without which there is no diagnosis: up to the start policy's samples."""
    names = [*ready.plan.jobs]
    return _left(ready, folder, names[: names.index(ready.plan.pool) + 1])


def _left(ready: Measuring, folder: Path, names: list[str]) -> float:
    waiting = [n for n in names if not result_path(folder, ready.plan.jobs[n]).is_file()]
    return sum(ready.seconds[name] for name in waiting) / ready.prepared.config.processes
