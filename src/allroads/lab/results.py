"""From the files of a finished run to the one record that the report shows; no model is loaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allroads import files, stats
from allroads.data.audit import Audit
from allroads.errors import RunFolderError
from allroads.evaluation import grader as grading
from allroads.evaluation import scorers
from allroads.lab.config import CompareConfig
from allroads.lab.execute import result_path
from allroads.lab.jobs import SELECTION, Cell, Plan, chosen_roads
from allroads.lab.settings import Settings
from allroads.lab.verdict import compare_all, decide, to_mean
from allroads.records import (
    Answer,
    Bin,
    Cost,
    LedgerRow,
    Mean,
    Metric,
    Point,
    Results,
    RewardModelRow,
    Sample,
    StageRow,
)
from allroads.roads.losses import COMMON_METRICS

Key = tuple[str, float | None]
"""A road at a setting."""


@dataclass(frozen=True)
class Moment:
    """One road at one setting and one moment of its training; arrays are (seeds, prompts)."""

    cell: Cell
    fraction: float
    metric: NDArray
    kl: NDArray
    length: NDArray
    no_eos: NDArray
    metric_train: NDArray | None
    proxy: NDArray | None
    selection: float


def collect(
    folder: Path, config: CompareConfig, settings: Settings, plan: Plan, manifest: dict[str, Any]
) -> Results:
    """Everything that the page shows.

    Raises:
        RunFolderError: when a job of the plan is not finished.
    """
    missing = [j.id for j in plan.jobs.values() if not result_path(folder, j).is_file()]
    if missing:
        raise RunFolderError(
            f"{folder}: {len(missing)} of {len(plan.jobs)} jobs are not finished (first: "
            f"{missing[0]}); run it to its end first: {manifest['command']}"
        )
    reader = _Reader(folder, config, settings, plan)
    moments = reader.moments()
    chosen = {road: max(rows, key=lambda m: m.selection) for road, rows in moments.items()}
    start = next(c.road for c in plan.cells)
    baseline = "dpo" if "dpo" in chosen else start
    origins = {road: m.cell.labeller for road, m in chosen.items()}
    grade = reader.grade()
    refusals = _refusals(config, grade)
    metric = _TRUTH if config.world else _WIN_RATE
    comparisons = compare_all(
        {road: m.metric for road, m in chosen.items()},
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
        what_seeds_vary=_SEEDS_OF_WORLD if config.world else _SEEDS_OF_FILE,
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
        ),
        comparisons=comparisons,
        points=tuple(_points(moments, chosen)),
        reward_models=tuple(reader.reward_models(grade)),
        samples=tuple(reader.samples(chosen)),
        audit=reader.audit().rows(),
        ledger=tuple(reader.ledger(chosen, grade)),
        stages=tuple(_stage_rows(config, settings)),
        notes=tuple(reader.notes()),
        label_noise_nll=reader.label_nll(),
    )


_TRUTH = Metric(
    name="true reward",
    unit="reward, 0 to 1",
    meaning="half the share of hops that follow a road plus half for ending in the goal, by the "
    "world's own verifier; no road saw these prompts",
    source="truth",
)
_WIN_RATE = Metric(
    name="win rate against the start policy",
    unit="share of prompts",
    meaning="how often the grader prefers the answer to one of the start policy's own for the same "
    "prompt (a tie counts half); 0.5 is no gain",
    source="grader",
)
_SEEDS_OF_WORLD = (
    "each seed redraws everything but the map and the prompts: first weights, demonstrations, "
    "preference pairs and their labels, order of the data, samples"
)
_SEEDS_OF_FILE = (
    "each seed redraws the reward model's head, the order of the data and all samples; data, "
    "split and base model are fixed"
)


def _refusals(config: CompareConfig, grade: dict[str, Any] | None) -> list[str]:
    out = []
    if grade is not None and not grade["fit"]:
        out.append(
            f"the grader is not good enough to judge by: on held-out pairs it is right in "
            f"{grade['accuracy']:.1%} of the cases, {grade['over coin'][0]:+.1%} "
            f"[{grade['over coin'][1]:+.1%}, {grade['over coin'][2]:+.1%}] against a coin and "
            f"{grade['over length'][0]:+.1%} [{grade['over length'][1]:+.1%}, "
            f"{grade['over length'][2]:+.1%}] against judging by length; both intervals would "
            "have to lie above zero."
        )
    if len(config.seeds) < 2:
        out.append("one seed shows no difference between roads from luck; give --seeds 3.")
    if out:
        out.append(
            "The numbers below are shown for what they are; no conclusion is drawn from them."
        )
    return out


def _points(moments: dict[str, list[Moment]], chosen: dict[str, Moment]) -> list[Point]:
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
                    kl=_not_negative(stats.two_way_mean(m.kl)),
                    kl_bound=None if n is None else stats.best_of_n_kl_bound(int(n)),
                    reward=to_mean(stats.two_way_mean(m.metric)),
                    reward_train=None
                    if m.metric_train is None
                    else to_mean(stats.seed_mean(m.metric_train)),
                    proxy=None if m.proxy is None else to_mean(stats.seed_mean(m.proxy)),
                    selection=m.selection,
                    length=_not_negative(stats.two_way_mean(m.length)),
                    no_eos=_not_negative(stats.two_way_mean(m.no_eos)),
                    selected=m is chosen[road],
                    oracle=m is oracle,
                )
            )
    return out


def _not_negative(estimate: stats.Estimate) -> Mean:
    """An interval of something that cannot be negative; the estimate itself stays as it came."""
    mean = to_mean(estimate)
    if mean.low is None:
        return mean
    return mean.model_copy(update={"low": max(min(0.0, mean.value), mean.low)})


def _stage_rows(config: CompareConfig, settings: Settings) -> list[StageRow]:
    out = []
    for road in chosen_roads(config, settings.recipe):
        for stage in road.stages:
            o, s = stage.objective, stage.source
            who = (
                s.who
                if not s.sampled
                else (
                    f"{s.who}, {s.per_prompt or 'N'} per prompt, fresh every {s.refresh}"
                    if s.refresh != "once"
                    else f"{s.who}, {s.per_prompt or 'N'} per prompt, once"
                )
            )
            what = o.loss if o.loss == "none" else f"{o.loss} on {o.score}"
            if o.reference:
                what += f" against {o.reference}"
            out.append(
                StageRow(
                    road=road.name,
                    stage=stage.name,
                    start=stage.start,
                    source=who,
                    labeller=stage.labeller,
                    pick=stage.pick,
                    objective=what,
                )
            )
    return out


class _Reader:
    """Reads the results of jobs."""

    def __init__(self, folder: Path, config: CompareConfig, settings: Settings, plan: Plan) -> None:
        self._folder, self._config, self._settings = folder, config, settings
        self._plan = plan

    def _result(self, job_id: str) -> dict[str, Any]:
        return files.read_json(result_path(self._folder, self._plan.jobs[job_id]))

    def _records(self, cell: Cell) -> list[dict[str, Any]]:
        result = self._result(cell.evaluation)
        if cell.knob == "N":
            assert cell.value is not None
            return [result["by_n"][str(int(cell.value))]]
        return result["snapshots"]

    def moments(self) -> dict[str, list[Moment]]:
        """Every road's settings and moments, in the plan's order."""
        start = {
            cell.seed: self._records(cell)[-1]["selection"]
            for cell in self._plan.cells
            if cell.road == self._plan.cells[0].road
        }
        groups: dict[Key, list[Cell]] = defaultdict(list)
        for cell in self._plan.cells:
            groups[cell.road, cell.value].append(cell)
        out: dict[str, list[Moment]] = defaultdict(list)
        for (road, _), cells in groups.items():
            per_seed = [self._records(cell) for cell in cells]
            for at in range(len(per_seed[0])):
                rows = [records[at] for records in per_seed]
                out[road].append(_moment(cells, rows, start))
        return dict(out)

    def grade(self) -> dict[str, Any] | None:
        """How good the grader is, or None where the truth is known."""
        if self._plan.grader is None:
            return None
        raw = self._result(self._plan.grader)
        own, length = np.array(raw["grader"]), np.array(raw["length"])
        over_coin = grading.beats(own, None)
        over_length = grading.beats(own, length)
        return {
            "own": own,
            "length": length,
            "labels": raw["labels"],
            "accuracy": float(scorers.hits(own).mean()),
            "over coin": over_coin,
            "over length": over_length,
            "fit": over_coin[1] > 0 and over_length[1] > 0,
        }

    def reward_models(self, grade: dict[str, Any] | None) -> list[RewardModelRow]:
        """Every scorer on held-out pairs."""
        groups: dict[tuple[str, str, float | None], list[str]] = defaultdict(list)
        for name, kind, value, _, job_id in self._plan.scorers:
            groups[name, kind, value].append(job_id)
        order = ("global", "local", "selection")
        ranked = sorted(groups.items(), key=lambda item: order.index(item[0][1]))
        out = [self._scorer_row(key, jobs) for key, jobs in ranked]
        if grade is not None:
            for name, kind, text in (
                ("own", "grader", "tf-idf logistic regression on pairs that no road saw"),
                ("length", "baseline", "prefers by length alone"),
            ):
                accuracy = stats.proportion(
                    float(scorers.hits(grade[name]).sum()), len(grade[name])
                )
                out.append(
                    RewardModelRow(
                        name="grader" if name == "own" else "length",
                        kind=kind,  # type: ignore[arg-type]
                        description=text,
                        accuracy=to_mean(accuracy),
                        pairs=len(grade[name]),
                    )
                )
        return out

    def _scorer_row(
        self, key: tuple[str, str, float | None], jobs: Sequence[str]
    ) -> RewardModelRow:
        name, kind, value = key
        raw = [self._result(job_id) for job_id in jobs]
        test = [np.array(r["test"]) for r in raw]
        train = [np.array(r["train"]) for r in raw]
        calibrations = [scorers.calibration(m) for m in test]
        pooled = scorers.calibration(np.concatenate(test))[1]
        description = {
            "global": "scalar head over the whole completion",
            "local": f"the policy's own log-ratio at beta {value:g}" if value else "log-ratio",
            "selection": "chooses settings; fitted on pairs that no road sees",
        }[kind]
        return RewardModelRow(
            name=name if value is None else f"{name}, beta {value:g}",
            kind=kind,  # type: ignore[arg-type]
            description=description,
            accuracy=self._over_pairs(test, scorers.hits),
            nll=self._over_pairs(test, scorers.nll),
            ece=to_mean(stats.seed_mean([c[0] for c in calibrations])),
            train_accuracy=to_mean(stats.seed_mean([scorers.hits(m).mean() for m in train])),
            train_nll=to_mean(stats.seed_mean([scorers.nll(m).mean() for m in train])),
            bins=tuple(
                Bin(predicted=b.predicted, observed=b.observed, count=b.count) for b in pooled
            ),
            pairs=round(sum(map(len, test)) / len(test)),
        )

    def _over_pairs(
        self, margins: Sequence[NDArray], function: Callable[[NDArray], NDArray]
    ) -> Mean:
        """Over seeds and pairs: crossed where all seeds share the pairs (files), else per seed."""
        if self._config.world is None:
            return to_mean(stats.two_way_mean(np.stack([function(m) for m in margins])))
        return to_mean(stats.seed_mean([float(function(m).mean()) for m in margins]))

    def samples(self, chosen: dict[str, Moment]) -> list[Sample]:
        """The first seed's completions, side by side."""
        answers: dict[str, list[Answer]] = defaultdict(list)
        for road, moment in chosen.items():
            # Settings of one road share the cell's first seed; the last moment is shown.
            for row in self._result(moment.cell.evaluation)["samples"]:
                answers[row["prompt"]].append(
                    Answer(
                        road=road,
                        text=row["text"],
                        tokens=row["tokens"],
                        finished=row["finished"],
                        score=row["score"],
                    )
                )
        return [Sample(prompt=p, answers=tuple(rows)) for p, rows in answers.items()]

    def audit(self) -> Audit:
        """The data audit: the file's, or the first seed's of a world."""
        if self._config.world is None:
            path = self._folder / "data" / "dataset.json"
        else:
            job = next(j for j in self._plan.jobs.values() if j.kind == "pairs")
            path = self._folder / "data" / f"{job.id}.json"
        return Audit.model_validate(files.read_json(path)["audit"])

    def label_nll(self) -> float | None:
        """Worlds: what the truth itself needs for the labels, mean over seeds."""
        jobs = [j.id for j in self._plan.jobs.values() if j.kind == "pairs"]
        return float(np.mean([self._result(j)["label_nll"] for j in jobs])) if jobs else None

    def ledger(self, chosen: dict[str, Moment], grade: dict[str, Any] | None) -> list[LedgerRow]:
        """What each road cost at its selected setting, per seed, and what the judging took."""
        out = []
        for road, moment in chosen.items():
            cells = [c for c in self._plan.cells if c.road == road and c.value == moment.cell.value]
            total = [sum(map(self._cost, cell.ancestors), Cost()) for cell in cells]
            n = int(moment.cell.value or 1) if moment.cell.knob == "N" else 1
            out.append(_ledger_row(road, total, n))
        selection = [
            self._cost(j.id)
            for j in self._plan.jobs.values()
            if j.kind == "stage" and j.spec["stage"]["name"] == SELECTION
        ]
        out.append(_ledger_row("(selection scorer, shared)", selection, 0))
        if grade is not None:
            out.append(_ledger_row("(grader, shared)", [Cost(labels=grade["labels"])], 0))
        return out

    def _cost(self, job_id: str) -> Cost:
        return Cost(**self._result(job_id)["cost"])

    def notes(self) -> list[str]:
        """What was counted along the way: dropped units, unfinished samples."""
        out = list(self.audit().warnings())
        for job in self._plan.jobs.values():
            if job.kind != "stage" or not job.stage.source.sampled:
                continue
            lines = _lines(self._folder / "checkpoints" / job.id / "metrics.jsonl")
            rounds = {line["round"]: line for line in lines}
            dropped = sum(line.get("dropped", 0.0) for line in rounds.values())
            kept = sum(line["units"] for line in lines) / job.stage.schedule.epochs
            if dropped > 0.1 * (dropped + kept):
                share = dropped / (dropped + kept)
                out.append(
                    f"{job.id}: {share:.0%} of its prompts gave nothing to learn from (a tie, "
                    "both unfinished, or no score)"
                )
        return out


def _moment(
    cells: Sequence[Cell], rows: Sequence[dict[str, Any]], start: dict[int, float]
) -> Moment:
    def table(name: str) -> NDArray:
        return np.array([row[name] for row in rows], dtype=float)

    def per_seed(name: str) -> NDArray | None:
        values = [row[name] for row in rows]
        return None if any(v is None for v in values) else np.array(values, dtype=float)

    gains = [row["selection"] - start[cell.seed] for cell, row in zip(cells, rows, strict=True)]
    return Moment(
        cell=cells[0],
        fraction=rows[0]["fraction"],
        metric=table("metric"),
        kl=table("kl"),
        length=table("length"),
        no_eos=table("no_eos"),
        metric_train=per_seed("metric_train"),
        proxy=per_seed("proxy"),
        selection=float(np.mean(gains)),
    )


def _ledger_row(road: str, costs: Sequence[Cost], answers: int) -> LedgerRow:
    count = max(1, len(costs))
    names = (
        "labels",
        "demonstrations",
        "scorer_queries",
        "outside_queries",
        "tokens_trained",
        "tokens_sampled",
    )
    means = {name: round(sum(getattr(c, name) for c in costs) / count) for name in names}
    return LedgerRow(
        road=road,
        **means,
        flops=sum(c.flops for c in costs) / count,
        seconds=sum(c.seconds for c in costs) / count,
        peak_memory_mb=max((c.peak_memory_mb for c in costs), default=0.0),
        answers_per_prompt=answers,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    import json

    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def logged_metrics() -> dict[str, str]:
    """Meanings of the metrics that every stage logs."""
    return COMMON_METRICS
