"""Reads the files that the jobs of a finished run left; no model is loaded."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allroads import files, stats
from allroads.data.audit import Audit
from allroads.evaluation import graders, scorers
from allroads.evaluation.graders import Grade
from allroads.lab.config import CompareConfig
from allroads.lab.execute import FAILED, PARAPHRASED, result_path
from allroads.lab.jobs import SELECTION, Cell, Plan
from allroads.lab.selection import preference
from allroads.lab.verdict import to_mean
from allroads.records import Answer, Bin, Cost, Failure, LedgerRow, Mean, RewardModelRow, Sample

_SHOWN = 6
"""Test prompts whose answers the report shows."""
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
    opponent_length: NDArray | None
    """Where answers compete with the start policy's: tokens of those."""
    no_eos: NDArray
    metric_train: NDArray | None
    proxy: NDArray | None
    check: NDArray | None
    selection: float
    """Gain over the start policy by the selection scorer, log-odds."""
    preference: tuple[bool, float]
    """What settings are selected by; whether it is within reach, first."""
    answers: list[list[dict[str, Any]]]
    """By seed: one answer to each test prompt."""

    def crossed(self, values: NDArray) -> NDArray:
        """(seeds, prompts) as (seeds, clusters): turns of one conversation are not independent."""
        return stats.by_cluster(values, [row["cluster"] for row in self.answers[0]])


class Reader:
    """Reads the results of jobs."""

    def __init__(self, folder: Path, config: CompareConfig, plan: Plan) -> None:
        self._folder, self._config, self._plan = folder, config, plan

    def _result(self, job_id: str) -> dict[str, Any]:
        return files.read_json(result_path(self._folder, self._plan.jobs[job_id]))

    def _failed(self, job_id: str) -> bool:
        return FAILED in self._result(job_id)

    def _records(self, cell: Cell) -> list[dict[str, Any]]:
        result = self._result(cell.evaluation)
        if cell.knob == "N":
            assert cell.value is not None
            return [result["by_n"][str(int(cell.value))]]
        return result["snapshots"]

    def moments(self) -> dict[str, list[Moment]]:
        """Every road's settings and moments, in the plan's order.

        A setting that failed with one seed is left out with all of them: the seeds that are left
        would be those that went well.
        """
        start = {
            cell.seed: self._records(cell)[-1]
            for cell in self._plan.cells
            if cell.road == self._plan.cells[0].road
        }
        groups: dict[Key, list[Cell]] = defaultdict(list)
        for cell in self._plan.cells:
            groups[cell.road, cell.value].append(cell)
        out: dict[str, list[Moment]] = defaultdict(list)
        for (road, _), cells in groups.items():
            if any(self._failed(cell.evaluation) for cell in cells):
                continue
            per_seed = [self._records(cell) for cell in cells]
            for at in range(len(per_seed[0])):
                rows = [records[at] for records in per_seed]
                out[road].append(_moment(cells, rows, start))
        return dict(out)

    def failures(self) -> list[Failure]:
        """Settings of roads that could not be trained, with the seeds and the first reason."""
        groups: dict[tuple[str, str, float | None], list[Cell]] = defaultdict(list)
        for cell in self._plan.cells:
            if self._failed(cell.evaluation):
                groups[cell.road, cell.knob, cell.value].append(cell)
        return [
            Failure(
                road=road,
                knob=knob,
                value=value,
                seeds=tuple(cell.seed for cell in cells),
                reason=self._result(cells[0].evaluation)[FAILED],
            )
            for (road, knob, value), cells in groups.items()
        ]

    @cached_property
    def _judged(self) -> dict[str, Any] | None:
        """What the grader and its baselines said of the held-out pairs, and who they are."""
        return None if self._plan.grader is None else self._result(self._plan.grader)

    def grade(self) -> Grade | None:
        """How good the grader is, or None where the truth is known."""
        if self._judged is None:
            return None
        return graders.grade(self._judged["margins"], self._judged["clusters"])

    def reward_models(self, grade: Grade | None) -> list[RewardModelRow]:
        """Every scorer on held-out pairs, then the grader and the baselines that it has to beat."""
        groups: dict[tuple[str, str, float | None], list[str]] = defaultdict(list)
        for name, kind, value, _, job_id in self._plan.scorers:
            groups[name, kind, value].append(job_id)
        groups = {k: jobs for k, jobs in groups.items() if not any(map(self._failed, jobs))}
        order = ("global", "local", "selection")
        ranked = sorted(groups.items(), key=lambda item: order.index(item[0][1]))
        out = [self._scorer_row(key, jobs) for key, jobs in ranked]
        if grade is None or self._judged is None:
            return out
        descriptions = {
            "grader": self._judged["description"],
            "length": "prefers by length alone, fitted on the grader's pairs",
            "tf-idf": "counts words, fitted on the grader's pairs",
        }
        return out + [
            RewardModelRow(
                name=name,
                kind="grader" if name == "grader" else "baseline",
                description=text,
                accuracy=to_mean(grade.accuracy[name]),
                pairs=grade.pairs,
            )
            for name, text in descriptions.items()
        ]

    def withheld(self, ledger: Sequence[LedgerRow]) -> int:
        """Labels that fitted the selection scorer and the grader, and reached no road."""
        return sum(row.labels for row in ledger if row.road.startswith("("))

    def _scorer_row(
        self, key: tuple[str, str, float | None], jobs: Sequence[str]
    ) -> RewardModelRow:
        name, kind, value = key
        raw = [self._result(job_id) for job_id in jobs]
        test = [np.array(r["test"]) for r in raw]
        train = [np.array(r["train"]) for r in raw]
        reworded = [np.array(r[PARAPHRASED]) for r in raw if PARAPHRASED in r]
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
            paraphrased_accuracy=self._over_pairs(reworded, scorers.hits) if reworded else None,
            paraphrased_nll=self._over_pairs(reworded, scorers.nll) if reworded else None,
            ece=to_mean(stats.seed_mean([c[0] for c in calibrations]), least=0.0, most=1.0),
            train_accuracy=to_mean(
                stats.seed_mean([scorers.hits(m).mean() for m in train]), least=0.0, most=1.0
            ),
            train_nll=to_mean(stats.seed_mean([scorers.nll(m).mean() for m in train])),
            bins=tuple(
                Bin(predicted=b.predicted, observed=b.observed, count=b.count) for b in pooled
            ),
            pairs=round(sum(map(len, test)) / len(test)),
        )

    def _over_pairs(
        self, margins: Sequence[NDArray], function: Callable[[NDArray], NDArray]
    ) -> Mean:
        """Over seeds and prompts: crossed where seeds share the pairs (files), else per seed."""
        if self._judged is not None:
            cells = np.stack([function(m) for m in margins])
            by_cluster = stats.by_cluster(cells, self._judged["clusters"])
            return to_mean(stats.two_way_mean(by_cluster))
        return to_mean(stats.seed_mean([float(function(m).mean()) for m in margins]))

    def samples(self, chosen: dict[str, Moment]) -> list[Sample]:
        """The first seed's completions at each road's selected setting, side by side."""
        answers: dict[str, list[Answer]] = defaultdict(list)
        for road, moment in chosen.items():
            rows = moment.answers[0]
            for row in rows[:: max(1, len(rows) // _SHOWN)][:_SHOWN]:
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

    def ledger(self, chosen: dict[str, Moment]) -> list[LedgerRow]:
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
        if self._judged is not None:
            out.append(_ledger_row("(grader, shared)", [Cost(labels=self._judged["labels"])], 0))
        return out

    def _cost(self, job_id: str) -> Cost:
        return Cost(**self._result(job_id)["cost"])

    def notes(self) -> list[str]:
        """What was counted along the way: samples without a score, dropped units."""
        out = list(self.audit().warnings())
        for job in self._plan.jobs.values():
            if job.kind != "stage" or not job.stage.source.sampled or self._failed(job.id):
                continue
            lines = _lines(self._folder / "checkpoints" / job.id / "metrics.jsonl")
            rounds = {line["round"]: line for line in lines}
            failed = round(sum(line.get("failed", 0.0) for line in rounds.values()))
            if failed:
                out.append(f"{job.id}: its labeller gave {failed} samples no score; left out")
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
    cells: Sequence[Cell], rows: Sequence[dict[str, Any]], start: dict[int, dict[str, Any]]
) -> Moment:
    def table(name: str) -> NDArray:
        return np.array([row[name] for row in rows], dtype=float)

    def per_seed(name: str) -> NDArray | None:
        values = [row.get(name) for row in rows]
        return None if any(v is None for v in values) else np.array(values, dtype=float)

    before = [start[cell.seed] for cell in cells]
    gains = [row["selection"] - was["selection"] for row, was in zip(rows, before, strict=True)]
    kl = table("kl")
    gain = float(np.mean(gains))
    # Runs of versions before 2026-11-28 did not keep it.
    known = all("entropy" in was for was in before)
    entropy = float(np.mean([was["entropy"] for was in before])) if known else None
    return Moment(
        cell=cells[0],
        fraction=rows[0]["fraction"],
        metric=table("metric"),
        kl=kl,
        length=table("length"),
        opponent_length=per_seed("opponent_length"),
        no_eos=table("no_eos"),
        metric_train=per_seed("metric_train"),
        proxy=per_seed("proxy"),
        check=table("check") if all("check" in row for row in rows) else None,
        selection=gain,
        preference=preference(gain, float(kl.mean()), entropy),
        answers=[row["answers"] for row in rows],
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
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
