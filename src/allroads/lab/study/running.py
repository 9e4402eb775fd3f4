"""Runs the cells that a study wants and that nobody has run yet; each becomes a line at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from allroads import files
from allroads.data.dataset import Dataset
from allroads.errors import ConfigError
from allroads.lab.compare import Prepared, prepare, write_inputs
from allroads.lab.execute import FAILED, result_path
from allroads.lab.folder import revision
from allroads.lab.jobs import Cell as Planned
from allroads.lab.jobs import Job, Plan
from allroads.lab.runner import Event, locked, run_jobs
from allroads.lab.study.lines import Cell, Key, Moment, PolicyLine, ScorerLine, Store, key_of
from allroads.lab.study.variants import START, VARIANTS, Variant
from allroads.records import Cost

CONFIRMATORY = 1000
"""Seeds from here on confirm; those below explore."""
_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Cells that are run together.

    Attributes:
        variant: the world.
        arms: names of roads.
        seeds: training seeds.
        rate: factor on the learning rates of policy stages.
        betas: the settings that are run; none: all of the variant.
    """

    variant: Variant
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    rate: float = 1.0
    betas: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how studies run.

    Attributes:
        store: the finished cells.
        work: folder for checkpoints; it may be deleted at any time between two runs.
        model: the base model's folder, for variants that need one.
        papers: folder of scitldr's files.
        processes: worker processes.
        until: `time.monotonic()` after which no further job is begun.
        worlds: by name.
        entropies: of the start policies, by world, where settings are chosen by them; see `Table`.
    """

    store: Store
    work: Path
    model: str | None = None
    papers: str | None = None
    processes: int = 2
    until: float = math.inf
    worlds: Mapping[str, Variant] = field(default_factory=lambda: VARIANTS)
    entropies: Mapping[str, float] = field(default_factory=dict)


def run(batch: Batch, place: Place, told: Callable[[Cell], None]) -> int:
    """Run what is missing of a batch; returns how many of its cells are still missing.

    A cell that is there with the same design is not run again. A line is written, and `told` of it,
    as soon as all jobs of its cell are done: a kill loses no finished cell.

    Raises:
        ConfigError: when a confirmatory seed is spent: its cell exists with another design, which
            has therefore changed since it was confirmed.
    """
    prepared, wanted = _wanted(batch, place)
    known = {key_of(line) for line in place.store.cells(batch.variant.name)}
    left = [one for one in wanted if one.key not in known]
    _refuse_spent(left, known, batch.variant.name)
    if not left:
        return 0
    folder = place.work / f"{batch.variant.name}-{prepared.settings.data_fingerprint[:8]}"
    with locked(folder):
        write_inputs(prepared, folder)
        jobs = _closure(prepared.plan, [one.job for one in left])
        waiting = list(left)

        def harvest() -> None:
            for one in list(waiting):
                if all(result_path(folder, jobs[name]).is_file() for name in one.needs):
                    line = one.line(folder, jobs)
                    place.store.add(line)
                    waiting.remove(one)
                    told(line)

        def heard(event: Event) -> None:
            if event[0] == "done":
                harvest()

        config, settings = prepared.config, prepared.settings
        run_jobs(jobs, folder, config, settings, heard, until=place.until, steadily=True)
        harvest()
    return len(waiting)


def missing(batch: Batch, place: Place) -> int:
    """How many cells of a batch have not been run."""
    _, wanted = _wanted(batch, place)
    known = {key_of(line) for line in place.store.cells(batch.variant.name)}
    return sum(one.key not in known for one in wanted)


@dataclass(frozen=True)
class _Wanted:
    """One cell, the job whose result it is, and how that becomes a line."""

    key: Key
    job: str
    needs: tuple[str, ...]
    line: Callable[[Path, dict[str, Job]], Cell]


def _wanted(batch: Batch, place: Place) -> tuple[Prepared, list[_Wanted]]:
    """The plan, and the cells of it that differ from those at the recipe's own rate."""
    prepared = _prepared(batch, batch.seeds, batch.rate, place)
    designs = _designs(_prepared(batch, (0,), batch.rate, place).plan)
    same = set()
    if batch.rate != 1.0:
        same = set(_designs(_prepared(batch, (0,), 1.0, place).plan).values())
    cells = _cells(prepared.plan, batch, designs)
    return prepared, [one for one in cells if one.key[-1] not in same]


def _prepared(batch: Batch, seeds: tuple[int, ...], rate: float, place: Place) -> Prepared:
    roads = tuple(dict.fromkeys((START, *batch.arms)))
    config = batch.variant.config(
        roads,
        seeds,
        rate=rate,
        betas=batch.betas,
        model=place.model,
        papers=place.papers,
        processes=place.processes,
    )
    return prepare(config)


def _designs(plan: Plan) -> dict[tuple[str, str, float | None], str]:
    """Fingerprint by (kind, arm, setting): that of the job with seed 0, whatever the seed."""
    out = {("policy", c.road, c.value): _digest(c.evaluation) for c in plan.cells}
    return out | {("scorer", name, value): _digest(job) for name, _, value, _, job in plan.scorers}


def _digest(job: str) -> str:
    return job.rpartition("-")[2]


def _cells(
    plan: Plan, batch: Batch, designs: dict[tuple[str, str, float | None], str]
) -> list[_Wanted]:
    out = []
    for cell in plan.cells:
        design = designs["policy", cell.road, cell.value]
        key: Key = ("policy", cell.road, cell.seed, batch.rate, cell.value, design)
        out.append(
            _Wanted(
                key,
                cell.evaluation,
                (cell.evaluation,),
                lambda folder, jobs, cell=cell, key=key: _policy(
                    folder, jobs, cell, _fields(batch, key, cell.knob)
                ),
            )
        )
    for name, _, value, seed, job in plan.scorers:
        design = designs["scorer", name, value]
        key = ("scorer", name, seed, batch.rate, value, design)
        knob = "" if value is None else "beta"
        pairs = next(need for need in plan.jobs[job].needs if plan.jobs[need].kind == "pairs")
        out.append(
            _Wanted(
                key,
                job,
                (job, pairs),
                lambda folder, jobs, job=job, pairs=pairs, key=key, knob=knob: _scorer(
                    folder, jobs[job], pairs, _fields(batch, key, knob)
                ),
            )
        )
    return out


def _fields(batch: Batch, key: Key, knob: str) -> dict[str, Any]:
    _, arm, seed, rate, value, design = key
    return {
        "variant": batch.variant.name,
        "arm": arm,
        "seed": seed,
        "rate": rate,
        "knob": knob,
        "value": value,
        "design": design,
        "revision": revision(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _policy(folder: Path, jobs: dict[str, Job], cell: Planned, fields: dict[str, Any]) -> Cell:
    result = files.read_json(result_path(folder, jobs[cell.evaluation]))
    if FAILED in result:
        return PolicyLine(**fields, failed=result[FAILED])
    if cell.knob == "N":
        assert cell.value is not None
        records = [result["by_n"][str(int(cell.value))]]
    else:
        records = result["snapshots"]
    costs = [
        Cost(**files.read_json(result_path(folder, jobs[name]))["cost"]) for name in cell.ancestors
    ]
    total = sum(costs, Cost()).model_dump()
    spent = {name: total[name] for name in PolicyLine.model_fields if name in total}
    spent |= {"seconds": round(total["seconds"], 1), "flops": float(f"{total['flops']:.4g}")}
    return PolicyLine(**fields, **spent, moments=tuple(map(_moment, records)))


def _moment(record: dict[str, Any]) -> Moment:
    def mean(name: str) -> float:
        return _short(sum(record[name]) / len(record[name]))

    return Moment(
        fraction=record["fraction"],
        reward=tuple(_short(value) for value in record["metric"]),
        reward_train=_maybe(record["metric_train"]),
        kl=mean("kl"),
        length=mean("length"),
        no_eos=mean("no_eos"),
        selection=_short(record["selection"]),
        proxy=_maybe(record["proxy"]),
    )


def _scorer(folder: Path, job: Job, pairs: str, fields: dict[str, Any]) -> Cell:
    result = files.read_json(result_path(folder, job))
    if FAILED in result:
        return ScorerLine(**fields, failed=result[FAILED])
    text = (folder / "data" / f"{pairs}.json").read_text("utf-8")
    dataset = Dataset.from_json(text)
    place = {prompt.prompt_id: at for at, prompt in enumerate(dataset.prompts["test"])}
    prompts = tuple(place[pair.prompt_id] for pair in dataset.pairs["test"])
    margins = {name: tuple(map(_short, values)) for name, values in result.items()}
    return ScorerLine(**fields, margins=margins, prompts=prompts)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _maybe(value: float | None) -> float | None:
    return None if value is None else _short(value)


def _closure(plan: Plan, names: Iterable[str]) -> dict[str, Job]:
    """The jobs and all that they need, in the plan's order."""
    wanted: set[str] = set()
    front = list(names)
    while front:
        name = front.pop()
        if name not in wanted:
            wanted.add(name)
            front.extend(plan.jobs[name].needs)
    return {name: job for name, job in plan.jobs.items() if name in wanted}


def _refuse_spent(left: Sequence[_Wanted], known: set[Key], variant: str) -> None:
    for one in left:
        kind, arm, seed, rate, value, design = one.key
        if seed < CONFIRMATORY:
            continue
        for other in known:
            if other[:5] == (kind, arm, seed, rate, value) and other[5] != design:
                raise ConfigError(
                    f"{variant}, {arm}, seed {seed}: this seed confirmed the arm as it was defined "
                    "before; a changed arm needs fresh seeds (--first-seed), or a name of its own"
                )
