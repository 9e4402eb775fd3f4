"""What `allroads train` leaves to read: each stage's course and cost, as a short text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from allroads import files
from allroads.lab.jobs import Job
from allroads.records import Cost
from allroads.roads.losses import COMMON_METRICS, declared

NAME = "training.md"
_SHARE = 10
"""The first and the last tenth of the steps are averaged, one step at least."""


def write_training_report(folder: Path, road: str, jobs: Mapping[str, Job], model: Path) -> Path:
    """Write the report of a trained road into its run folder.

    Args:
        folder: the run folder.
        road: its name.
        jobs: what was trained, in order; other kinds of job are passed over.
        model: the folder of the road's model.

    Returns:
        The file.
    """
    stages = [job for job in jobs.values() if job.kind == "stage"]
    parts = [f"# {road}", f"Model: `{model.relative_to(folder)}`"]
    parts += [_section(folder, job) for job in stages]
    path = folder / NAME
    files.write_text(path, "\n\n".join(parts) + "\n")
    return path


def _section(folder: Path, job: Job) -> str:
    home = folder / "checkpoints" / job.id
    stage = job.stage
    done = files.read_json(home / "done.json")
    heading = f"## {stage.name}\n\n{stage.objective.words}; `{home.relative_to(folder)}`"
    if "failed" in done:
        return f"{heading}\n\nFailed: {done['failed']}"
    lines = [json.loads(line) for line in (home / "metrics.jsonl").read_text("utf-8").splitlines()]
    cost = Cost.model_validate(done["cost"])
    facts = [f"{len(lines)} steps", f"{cost.seconds:.0f} s", f"{cost.flops:.2g} FLOPs"]
    for name, number in (
        ("labels", cost.labels),
        ("demonstrations", cost.demonstrations),
        ("queries to the reward model", cost.scorer_queries),
        ("queries outside", cost.outside_queries),
        ("tokens sampled", cost.tokens_sampled),
    ):
        if number:
            facts.append(f"{number:,} {name}")
    return f"{heading}\n\n{', '.join(facts)}\n\n{_table(lines, declared(stage.objective))}"


def _table(lines: Sequence[Mapping[str, float]], own: Mapping[str, str]) -> str:
    """The metrics at the beginning and at the end, each with its meaning."""
    taught = [line for line in lines if "loss" in line]
    count = max(1, len(taught) // _SHARE)
    meaning = {**own, **COMMON_METRICS}
    # The rate of one step and the size of one batch say nothing about the course.
    names = [n for n in meaning if n not in ("learning_rate", "units")]
    rows = ["| metric | first | last | meaning |", "|---|---|---|---|"]
    for name in names:
        first, last = (
            [line[name] for line in part if name in line]
            for part in (taught[:count], taught[-count:])
        )
        if first and last:
            words = meaning[name].replace("|", "\\|")
            rows.append(f"| {name} | {_mean(first)} | {_mean(last)} | {words} |")
    return "\n".join(rows)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.4g}"
