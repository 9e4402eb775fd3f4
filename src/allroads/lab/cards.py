"""A model card beside each finished checkpoint; written again once there are figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from allroads import files
from allroads.data.files import FORMATS
from allroads.lab.config import CompareConfig
from allroads.lab.execute import result_path
from allroads.lab.jobs import GIVEN, Cell, Job, Plan
from allroads.lab.runner import Event, Listener
from allroads.lab.settings import Settings
from allroads.records import Cost, Mean, Point, Results
from allroads.report.card import ModelCard, render

NAME = "README.md"
"""What the Hub calls a card."""


class Cards:
    """Cards of one run folder.

    Args:
        folder: the run folder.
        config: what was asked.
        settings: what was resolved from it.
        plan: its jobs and cells.
        manifest: of the run.
    """

    def __init__(
        self,
        folder: Path,
        config: CompareConfig,
        settings: Settings,
        plan: Plan,
        manifest: dict[str, Any],
    ) -> None:
        self._folder, self._config, self._settings = folder, config, settings
        self._plan, self._manifest = plan, manifest

    def after(self, listener: Listener) -> Listener:
        """A listener that writes a stage's card when it ends, then lets `listener` hear."""

        def hear(event: Event) -> None:
            kind, name, _, _ = event
            if kind == "done" and not self._path(name).is_file():
                self._write(self._plan.jobs[name], None)
            listener(event)

        return hear

    def write(self, results: Results) -> None:
        """Every stage's card, with its figures."""
        for job in self._plan.jobs.values():
            self._write(job, results)

    def _path(self, job_id: str) -> Path:
        return self._folder / "checkpoints" / job_id / "model" / NAME

    def _write(self, job: Job, results: Results | None) -> None:
        path = self._path(job.id)
        if job.kind != "stage" or not path.parent.is_dir():
            return
        text = render(self.card(job, results))
        if not path.is_file() or path.read_text("utf-8") != text:
            files.write_text(path, text)

    def card(self, job: Job, results: Results | None, *, fraction: float = 1.0) -> ModelCard:
        """The card of a stage's weights at one moment of its training."""
        figures = [] if results is None else self._figures(job, results, fraction)
        return ModelCard(
            name=job.id,
            makes=job.stage.makes,
            roads=self._roads(job),
            base_model=self._base_model(),
            dataset=_dataset(self._config.data),
            stage=_stage(job),
            data=self._data(job),
            figures=tuple(figures),
            graded_by=_worth(results) if figures else "",
            seed=job.seed,
            command=self._manifest["command"],
            versions=self._versions(),
        )

    def of_best_of_n(self, cell: Cell, results: Results | None, loading: str) -> ModelCard:
        """The card of a policy and the reward model that chooses among its answers."""
        points = [] if results is None else [p for p in results.points if p.road == cell.road]
        own = next((p for p in points if _is(p, cell.value, 1.0)), None)
        figures = []
        if own is not None and results is not None:
            figures = _measured(own, points, cell.road, results)
        return ModelCard(
            name=f"{cell.road}, N {cell.value:g}",
            makes="best-of-n",
            roads=(cell.road,),
            base_model=self._base_model(),
            dataset=_dataset(self._config.data),
            stage=(("policy", _named(cell.last or "")), ("seed", str(cell.seed))),
            data=(
                ("data", self._settings.data_label),
                ("fingerprint", self._settings.data_fingerprint),
            ),
            figures=tuple(figures),
            graded_by=_worth(results) if figures else "",
            loading=loading,
            seed=cell.seed,
            command=self._manifest["command"],
            versions=self._versions(),
        )

    def _base_model(self) -> str:
        return Path(self._config.model).name if self._config.model else ""

    def _versions(self) -> tuple[tuple[str, str], ...]:
        rows = [*self._manifest["versions"].items(), ("run created", self._manifest["created"])]
        return tuple((str(name), str(value)) for name, value in rows)

    def _roads(self, job: Job) -> tuple[str, ...]:
        users = [cell.road for cell in self._plan.cells if job.id in cell.ancestors]
        for name, *_, judged in self._plan.scorers:
            if self._plan.jobs[judged].spec["target"] == job.id:
                users.append(name)
        labelled = [
            cell.road
            for cell in self._plan.cells
            if (self._plan.jobs[cell.evaluation].spec["labeller"] or {}).get("id") == job.id
        ]
        return tuple(dict.fromkeys([*users, *labelled]))

    def _data(self, job: Job) -> tuple[tuple[str, str], ...]:
        cost = Cost(**files.read_json(result_path(self._folder, job))["cost"])
        rows = [
            ("data", self._settings.data_label),
            ("fingerprint", self._settings.data_fingerprint),
            ("split", job.spec["split"]),
            ("preference pairs", f"{cost.labels:,}"),
            ("demonstrations", f"{cost.demonstrations:,}"),
            ("tokens trained", f"{cost.tokens_trained:,}"),
        ]
        if cost.tokens_sampled:
            rows.append(("tokens sampled", f"{cost.tokens_sampled:,}"))
        return tuple(rows)

    def _figures(self, job: Job, results: Results, fraction: float) -> list[tuple[str, str]]:
        out: list[tuple[str, str]] = []
        for cell in self._plan.cells:
            if cell.last != job.id or cell.knob == "N":
                continue
            points = [p for p in results.points if p.road == cell.road]
            own = next((p for p in points if _is(p, cell.value, fraction)), None)
            if own is None:
                continue
            out += _measured(own, points, cell.road, results)
        for name, _, value, _, judged in self._plan.scorers:
            if self._plan.jobs[judged].spec["target"] != job.id:
                continue
            shown = name if value is None else f"{name}, beta {value:g}"
            for row in results.reward_models:
                if row.name == shown:
                    unit = f"share of {row.pairs} held-out pairs"
                    out.append((f"{shown}, pairs ranked right", _mean(row.accuracy, unit)))
        return out


_WORTH = {
    "truth": "Its figures are exact for what they measure ({meaning}) and say nothing about "
    "anything else: the world is a toy.",
    "grader": "Its figures are {meaning}; the grader is itself fitted on preferences and can be "
    "wrong or be pleased by the wrong thing.",
}


def _worth(results: Results | None) -> str:
    if results is None:
        return ""
    return _WORTH[results.metric.source].format(meaning=results.metric.meaning)


def _measured(
    own: Point, points: list[Point], road: str, results: Results
) -> list[tuple[str, str]]:
    return [
        (f"{road}, {results.metric.name}", _mean(own.reward, results.metric.unit)),
        (f"{road}, KL from the start policy", _mean(own.kl, "nats per completion")),
        (f"{road}, length", _mean(own.length, "tokens per completion")),
        *_cut(road, own),
        (f"{road}, selected", _selected(own, points)),
    ]


def _cut(road: str, own: Point) -> list[tuple[str, str]]:
    if own.no_eos is None:
        return []
    return [(f"{road}, cut at the length limit", f"{own.no_eos.value:.1%}")]


def _is(point: Point, value: float | None, fraction: float) -> bool:
    return point.value == value and math.isclose(point.fraction, fraction)


def _selected(own: Point, points: list[Point]) -> str:
    if own.selected:
        return "yes, by the selection scorer on held-out prompts"
    chosen = next((p for p in points if p.selected), None)
    if chosen is None:
        return "no"
    setting = "" if chosen.value is None else f"{chosen.knob} {chosen.value:g}, "
    return f"no; chosen was {setting}{chosen.fraction:.0%} of the training"


def _mean(mean: Mean, unit: str) -> str:
    seeds = "one seed" if mean.seeds == 1 else f"mean of {mean.seeds} seeds"
    interval = ""
    if mean.low is not None and mean.high is not None:
        interval = f", 95 % interval {mean.low:.3f} to {mean.high:.3f}"
    # Adding zero turns -0.0, which rounding leaves, into 0.0.
    return f"{round(mean.value, 3) + 0.0:.3f} ({unit}; {seeds}{interval})"


def _dataset(data: str | None) -> str:
    if data is None:
        return ""
    if data.lower().endswith(tuple(FORMATS)):
        return Path(data).name
    return data.partition(":")[0]


def _stage(job: Job) -> tuple[tuple[str, str], ...]:
    stage, links = job.stage, job.spec["links"]
    o, s, labeller = stage.objective, stage.schedule, links["labeller"]
    rows = [
        ("stage", stage.name),
        ("objective", o.words),
        ("beta", "" if o.beta is None else f"{o.beta:g}"),
        ("starts from", _named(links["start"])),
        ("reference", _named(links["reference"])),
        ("completions by", stage.source.words),
        ("labelled by", _named(labeller["id"]) if labeller else stage.labeller),
        ("pick", stage.pick),
        (
            "schedule",
            f"learning rate {s.learning_rate:g}, batches of {s.batch_size}, epochs {s.epochs}, "
            f"rounds {s.rounds}",
        ),
        ("seed", str(job.seed)),
    ]
    return tuple((label, value) for label, value in rows if value and value != "none")


def _named(link: str) -> str:
    """A folder that the user gave by its name alone: where it lay is nobody's business."""
    return Path(link).name if link.startswith(GIVEN) else link
