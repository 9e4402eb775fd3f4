"""From the files of a finished run to the one record that the report shows; no model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from allroads import stats
from allroads.errors import RunFolderError
from allroads.evaluation import graders
from allroads.evaluation.graders import Grade
from allroads.evaluation.length_control import length_controlled
from allroads.lab import judgement, outside
from allroads.lab.caveats import caveats
from allroads.lab.config import CompareConfig
from allroads.lab.execute import result_path
from allroads.lab.jobs import Plan, chosen_roads
from allroads.lab.reader import Moment, Reader
from allroads.lab.settings import Settings
from allroads.lab.verdict import compare_all, decide, to_mean
from allroads.records import Mean, Metric, Point, Results, StageRow


def collect(
    folder: Path, config: CompareConfig, settings: Settings, plan: Plan, manifest: dict[str, Any]
) -> Results:
    """Everything that the page shows.

    Raises:
        RunFolderError: when a job of the plan is not finished.
    """
    check_finished(folder, plan, manifest)
    reader = Reader(folder, config, plan)
    moments, failures = reader.moments(), tuple(reader.failures())
    chosen = selected(moments)
    start = next(c.road for c in plan.cells)
    baseline = "dpo" if "dpo" in chosen else start
    origins = {road: m.cell.labeller for road, m in chosen.items()}
    grade, ledger = reader.grade(), reader.ledger(chosen)
    refusals = _refusals(settings, config, grade)
    world = config.make_world()
    metric = world.metric if world else _WIN_RATE
    comparisons = compare_all(
        {road: m.crossed(m.metric) for road, m in chosen.items()},
        origins,
        baseline,
        settings.margin,
        refused=bool(refusals),
    )
    return Results(
        title=f"Which road pays on {settings.data_label}?",
        command=manifest["command"],
        created=manifest["created"],
        version=manifest["versions"]["allroads"],
        revision=manifest["revision"],
        data=settings.data_label,
        model=settings.model_label,
        device=manifest["device"],
        seeds=config.seeds,
        what_seeds_vary=world.what_seeds_vary if world else _SEEDS_OF_FILE,
        metric=metric,
        kl_estimator=(
            "k1: mean over sampled completions of log(policy / start policy), nats per completion; "
            "best-of-N from the order statistics of a pool of "
            f"{config.pool} samples per prompt, ties counted"
        ),
        verdict=decide(
            comparisons,
            baseline,
            start,
            settings.margin,
            metric=metric.name,
            refusals=refusals,
            failed=[road for road in dict.fromkeys(f.road for f in failures) if road not in chosen],
        ),
        comparisons=comparisons,
        failures=failures,
        points=tuple(_points(moments, chosen, settings)),
        reward_models=tuple(reader.reward_models(grade)),
        samples=tuple(reader.samples(chosen)),
        audit=reader.audit().rows(),
        ledger=tuple(ledger),
        labels_withheld=reader.withheld(ledger),
        stages=tuple(_stage_rows(config, settings)),
        notes=(
            *settings.model_notes,
            *outside.notes(config, chosen_roads(config, settings.recipe)),
            *reader.notes(),
            *caveats(moments, chosen, start, settings.margin),
        ),
        label_noise_nll=reader.label_nll(),
        judge=judgement.read(folder, chosen, start),
    )


def check_finished(folder: Path, plan: Plan, manifest: dict[str, Any]) -> None:
    """Refuse a run folder in which a job is missing.

    Raises:
        RunFolderError: with the command that finishes it.
    """
    missing = [j.id for j in plan.jobs.values() if not result_path(folder, j).is_file()]
    if missing:
        raise RunFolderError(
            f"{folder}: {len(missing)} of {len(plan.jobs)} jobs are not finished (first: "
            f"{missing[0]}); run it to its end first: {manifest['command']}"
        )


def selected(moments: dict[str, list[Moment]]) -> dict[str, Moment]:
    """Each road at the setting and moment that the selection scorer prefers within its reach."""
    return {road: max(rows, key=lambda m: m.preference) for road, rows in moments.items()}


_WIN_RATE = Metric(
    name="win rate against the start policy",
    unit="share of prompts",
    meaning="how often the grader prefers the answer to one of the start policy's own for the same "
    "prompt (a tie counts half); 0.5 is no gain",
    source="grader",
)
_SEEDS_OF_FILE = (
    "each seed redraws the reward model's head, the order of the data and all samples; data, "
    "split and base model are fixed"
)


def _refusals(settings: Settings, config: CompareConfig, grade: Grade | None) -> list[str]:
    """Why nothing may be concluded, the shortest reason first; empty when something may."""
    out, numbers = [], []
    if grade is not None and not grade.believed:
        out.append("the grader is not good enough to judge by.")
        numbers = _grader_numbers(grade)
        if settings.grader == graders.TF_IDF:
            numbers.append(
                "The tf-idf grader is the baseline itself and never gives a verdict: "
                f"{graders.INSTALL}, or give --grader DIR, the folder of an encoder."
            )
    if len(config.seeds) < 2:
        out.append("one seed shows no difference between roads from luck; give --seeds 3.")
    out += numbers
    if out:
        out.append(
            "The numbers below are shown for what they are; no conclusion is drawn from them."
        )
    return out


def _grader_numbers(grade: Grade) -> list[str]:
    """What the grader would have had to do, what it did, and what may help."""
    shares = ", ".join(
        f"{name} {e.value:.1%}{_between(e, '.1%')}" for name, e in grade.accuracy.items()
    )
    out = [
        f"Right on {grade.pairs} held-out pairs of {grade.clusters} independent prompts: {shares}."
    ]
    if grade.not_beaten:
        gaps = ", ".join(
            f"{name} ({grade.over[name].value:+.1%}{_between(grade.over[name], '+.1%')})"
            for name in grade.not_beaten
        )
        out.append(f"It would have to beat each with its whole interval, and does not beat {gaps}.")
    if grade.clusters < graders.LEAST_CLUSTERS:
        out.append(
            f"At least {graders.LEAST_CLUSTERS} independent prompts are needed; give more data."
        )
    return out


def _between(estimate: stats.Estimate, form: str) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" [{estimate.low:{form}}, {estimate.high:{form}}]"


def _points(
    moments: dict[str, list[Moment]], chosen: dict[str, Moment], settings: Settings
) -> list[Point]:
    out = []
    for road, rows in moments.items():
        oracle = max(rows, key=lambda m: float(m.metric.mean()))
        for m in rows:
            n = m.cell.value if m.cell.knob == "N" else None
            out.append(
                Point(
                    road=road,
                    knob=m.cell.knob,
                    value=m.cell.value,
                    fraction=m.fraction,
                    kl=to_mean(stats.two_way_mean(m.crossed(m.kl)), least=0.0),
                    kl_bound=None if n is None else stats.best_of_n_kl_bound(int(n)),
                    reward=to_mean(stats.two_way_mean(m.crossed(m.metric))),
                    reward_train=None
                    if m.metric_train is None
                    else to_mean(stats.seed_mean(m.metric_train)),
                    proxy=None if m.proxy is None else to_mean(stats.seed_mean(m.proxy)),
                    check=None
                    if m.check is None
                    else to_mean(stats.two_way_mean(m.crossed(m.check))),
                    controlled=_controlled(m),
                    selection=m.selection,
                    length=to_mean(stats.two_way_mean(m.crossed(m.length)), least=0.0),
                    no_eos=None
                    if settings.fixed_length
                    else to_mean(stats.two_way_mean(m.crossed(m.no_eos)), least=0.0, most=1.0),
                    selected=m is chosen[road],
                    oracle=m is oracle,
                )
            )
    return out


def _controlled(moment: Moment) -> Mean | None:
    """The win rate at equal length; None where there are no wins, or no answer to that question."""
    if moment.opponent_length is None:
        return None
    longer = moment.length - moment.opponent_length
    rows = [length_controlled(w, d) for w, d in zip(moment.metric, longer, strict=True)]
    if any(row is None for row in rows):
        return None
    return to_mean(stats.two_way_mean(moment.crossed(np.stack(rows))))  # type: ignore[arg-type]


def _stage_rows(config: CompareConfig, settings: Settings) -> list[StageRow]:
    out = []
    for road in chosen_roads(config, settings.recipe):
        for stage in road.stages:
            o, s = stage.objective, stage.source
            who = (
                s.words
                if not s.sampled
                else (
                    f"{s.who}, {s.per_prompt or 'N'} per prompt, fresh every {s.refresh}"
                    if s.refresh != "once"
                    else f"{s.who}, {s.per_prompt or 'N'} per prompt, once"
                )
            )
            out.append(
                StageRow(
                    road=road.name,
                    stage=stage.name,
                    start=stage.start,
                    source=who,
                    labeller=stage.labeller,
                    pick=stage.pick,
                    objective=o.words,
                )
            )
    return out
