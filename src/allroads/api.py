"""The library's front door: the command line's nouns as functions.

import allroads

results = allroads.compare(world="routes", roads=["sft", "dpo"], out="runs/mine")
print(results.verdict.headline)
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from allroads.diagnoses import Diagnosis
from allroads.errors import ConfigError, TrainingError, nearest
from allroads.lab import compare as _compare
from allroads.lab import export as _export
from allroads.lab import tracking
from allroads.lab.cards import Cards
from allroads.lab.config import CompareConfig, build_config
from allroads.lab.jobs import Plan
from allroads.lab.runner import Event, Listener, locked, run_jobs
from allroads.lab.trained import write_training_report
from allroads.models.device import resolve_device
from allroads.records import Results
from allroads.roads.atlas import Recipe, every_road
from allroads.roads.stage import Road


def _silent(event: Event) -> None:
    """Hear nothing."""


def roads(start: str = "sft", recipe: Recipe | None = None) -> dict[str, Road]:
    """Every named road, then every control, as stages of source x labeller x pick x objective."""
    return every_road(start, recipe)


def compare(
    *,
    out: str | Path,
    config: CompareConfig | None = None,
    listener: Listener = _silent,
    **fields: Any,
) -> Results:
    """Run a comparison to its report, or continue an interrupted one.

    Args:
        out: the run folder; `report.html` lies in it afterwards.
        config: a checked configuration, instead of `fields`.
        listener: told of progress.
        **fields: fields of `CompareConfig`, for example `data`, `model`, `roads`, `seeds`.

    Raises:
        InputError: for anything in the input that cannot be used, in one sentence.
        AllroadsError: when a job failed; finished jobs are kept.
    """
    chosen = config or build_config(fields, origin="compare()")
    command = f"allroads.compare(out={str(out)!r}, **{chosen.model_dump(exclude_defaults=True)!r})"
    return _compare.compare(_compare.prepare(chosen), Path(out), listener, command)


def diagnose(
    *,
    out: str | Path,
    orders: int = 5,
    truth: bool = False,
    budget: float = math.inf,
    config: CompareConfig | None = None,
    listener: Listener = _silent,
    **fields: Any,
) -> Diagnosis:
    """Predict what online RL would gain over offline likelihood, without running it.

    Args:
        out: the run folder; `diagnosis.html`, `diagnosis.json` and `evidence.json` lie in it
            afterwards. A stopped one is continued.
        orders: of the data, each fitted block by block.
        truth: on a world, let its verifying program grade samples; `verifier` always does.
        budget: seconds from now; what would take longer is left out and listed.
        config: a checked configuration, instead of `fields`; of its seeds the first is taken.
        listener: told of progress.
        **fields: fields of `CompareConfig`, for example `data`, `model`, `verifier`.

    Raises:
        InputError: for anything in the input that cannot be used, in one sentence.
        RunFolderError: when the budget is too small for any diagnosis.
    """
    from allroads.lab.diagnose.design import Design
    from allroads.lab.diagnose.run import conclude, measure, ready

    until = time.monotonic() + budget
    chosen = config or build_config({"seeds": [0], **fields}, origin="diagnose()")
    command = f"allroads.diagnose(out={str(out)!r}, **{chosen.model_dump(exclude_defaults=True)!r})"
    planned = ready(chosen, Design(orders=orders, truth=truth))
    return conclude(measure(planned, Path(out), listener, command, until=until), Path(out))


def open_run(folder: str | Path) -> Results:
    """The results of a finished run, collected again from its files; rewrites its report."""
    return _compare.rebuild(Path(folder))


def judge(
    run: str | Path,
    *,
    url: str,
    model: str,
    listener: Callable[[int, int], None] = lambda done, total: None,
    **fields: Any,
) -> Results:
    """Let a language model compare each road of a finished run with its start policy.

    The key, where the server needs one, is read from an environment variable and never written.

    Args:
        run: the run folder; `judge.json` and a new `report.html` lie in it afterwards.
        url: a server of the OpenAI chat-completions protocol.
        model: the name that the server knows the model by.
        listener: told (requests answered, requests in all).
        **fields: further fields of `lab.judging.Judging`, for example `prompts`, `key_env`.

    Raises:
        InputError: when the run or the settings cannot be used.
        JudgeError: when the server cannot be asked; its answers so far are kept.
    """
    from allroads.lab.judging import Judging
    from allroads.lab.judging import judge as judge_run

    known = [field.name for field in dataclasses.fields(Judging)]
    for name in fields:
        if name not in known:
            raise ConfigError(f"judge() has no field {name!r}: {nearest(name, known)}")
    return judge_run(Path(run), Judging(url=url, model=model, **fields), listener)


def train(
    road: str,
    *,
    out: str | Path,
    value: float | None = None,
    seed: int = 0,
    config: CompareConfig | None = None,
    listener: Listener = _silent,
    **fields: Any,
) -> Path:
    """Train one road at one setting and one seed; nothing is evaluated.

    A killed one goes on where it was when it is called again. `training.md` in the run folder says
    how each stage went and what it cost.

    Args:
        road: a name of `roads()`, or of the configuration's own.
        out: the run folder.
        value: beta; needed where the road has that knob.
        seed: the one seed.
        config: a checked configuration, instead of `fields`.
        listener: told of progress.
        **fields: fields of `CompareConfig`.

    Returns:
        The folder of the trained model, which transformers loads.

    Raises:
        ConfigError: for best-of-N, which trains nothing beside its reward model.
        TrainingError: when a stage found nothing to learn from, or diverged.
    """
    base = config or build_config(fields, origin="train()")
    changes: dict[str, Any] = {"roads": (road,), "seeds": (seed,)}
    if value is not None:
        changes["betas"] = (value,)
    chosen = base.model_copy(update=changes)
    prepared = _compare.prepare(chosen)
    target, jobs = _training_jobs(prepared.plan, road)
    folder = Path(out)
    command = f"allroads.train({road!r}, out={str(out)!r}, value={value}, seed={seed})"
    with locked(folder):
        manifest = _compare.write_manifest(
            folder, chosen, prepared.settings, str(resolve_device(chosen.device)), command
        )
        _compare.write_inputs(prepared, folder)
        _compare.try_labellers(chosen, jobs, folder)
        tracking.begin(folder)
        cards = Cards(folder, chosen, prepared.settings, prepared.plan, manifest)
        run_jobs(jobs, folder, chosen, prepared.settings, cards.after(listener))
        model = folder / "checkpoints" / target / "model"
        report = write_training_report(folder, road, jobs, model)
    if not model.is_dir():
        raise TrainingError(f"road {road!r} could not be trained; {report} says why")
    return model


def export(
    run: str | Path,
    what: str,
    *,
    out: str | Path,
    beta: float | None = None,
    n: int | None = None,
    seed: int | None = None,
) -> Path:
    """Write one trained model as a folder that plain transformers loads.

    Args:
        run: the run folder.
        what: a road, at its selected setting and moment, or the id of a stage's job.
        out: the new folder; `policy` and `reward-model` below it for best-of-N.
        beta: only settings with this price of a nat.
        n: only this N of best-of-N.
        seed: whose model; by default the run's first seed.

    Returns:
        `out`.

    Raises:
        InputError: for a name, a setting or a folder that cannot be used.
    """
    return _export.export(Path(run), what, Path(out), beta=beta, n=n, seed=seed)


def _training_jobs(plan: Plan, road: str) -> tuple[str, dict[str, Any]]:
    """The job that makes the road's model, and all that it stands on."""
    target = next((c.last for c in plan.cells if c.road == road and c.knob != "N"), None)
    target = target or next((row[4] for row in plan.scorers if row[0] == road), None)
    if target is not None and plan.jobs[target].kind == "scorer":
        target = plan.jobs[target].spec["target"]
    if target is None:
        raise ConfigError(
            f"road {road!r} trains no model of its own; train 'reward-model' and serve best-of-N"
        )
    needed: set[str] = set()
    front = [target]
    while front:
        name = front.pop()
        if name not in needed:
            needed.add(name)
            front.extend(plan.jobs[name].needs)
    return target, {name: job for name, job in plan.jobs.items() if name in needed}
