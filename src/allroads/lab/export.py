"""One trained model of a run as a folder of its own, which plain transformers loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel

from allroads import files
from allroads.errors import ConfigError, RunFolderError, nearest
from allroads.lab.cards import NAME, Cards
from allroads.lab.compare import reopen
from allroads.lab.config import CompareConfig
from allroads.lab.execute import FAILED, result_path
from allroads.lab.jobs import Cell, Job, Plan
from allroads.lab.workshop import Workshop
from allroads.records import Point, Results
from allroads.report.card import BEST_OF_N, ModelCard, render
from allroads.roads import checkpoint
from allroads.roads.loop import Keeping
from allroads.roads.stage import JUDGE, VERIFIER

POLICY, REWARD_MODEL = "policy", "reward-model"
"""The two folders of an exported best-of-N."""


@dataclass(frozen=True)
class _Wanted:
    """Weights of one job at one moment of its training; `cell` where a road was named."""

    job: str
    seed: int
    fraction: float = 1.0
    cell: Cell | None = None


@dataclass(frozen=True)
class _Run:
    folder: Path
    config: CompareConfig
    plan: Plan
    shop: Workshop
    cards: Cards
    results: Results | None


def export(
    folder: Path,
    what: str,
    out: Path,
    *,
    beta: float | None = None,
    n: int | None = None,
    seed: int | None = None,
) -> Path:
    """Write weights, tokenizer, generation settings and card; `out` is there whole or not at all.

    A road is taken at the setting and the moment that its run selected, among those that `beta`
    or `n` leave; a job at its last step. See `allroads.export` for the rest.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: expected a new or an empty folder; it holds files")
    run = _open(folder)
    wanted = _find(run, what, beta, n, seed)
    if wanted.cell is not None and wanted.cell.knob == "N":
        _check_best_of_n(run, wanted.cell)
        files.write_folder(out.resolve(), lambda path: _best_of_n(run, wanted, path))
    else:
        _check_trained(run, wanted.job)
        files.write_folder(out.resolve(), lambda path: _model(run, wanted, path))
    return out


def _open(folder: Path) -> _Run:
    manifest, config, settings, plan = reopen(folder)
    # Weights are only copied, so the run's device need not be here.
    here = config.model_copy(update={"device": "cpu"})
    found = folder / "results.json"
    results = Results.model_validate(files.read_json(found)) if found.is_file() else None
    cards = Cards(folder, config, settings, plan, manifest)
    return _Run(folder, config, plan, Workshop(folder, here, settings), cards, results)


def _find(run: _Run, what: str, beta: float | None, n: int | None, seed: int | None) -> _Wanted:
    given = {"beta": beta, "N": n}
    job = run.plan.jobs.get(what)
    if job is not None and job.kind == "stage":
        if seed is not None or any(value is not None for value in given.values()):
            raise ConfigError(f"{what} is one job; leave --beta, --n and --seed out")
        return _Wanted(what, job.seed)
    seed = run.config.seeds[0] if seed is None else seed
    if seed not in run.config.seeds:
        raise ConfigError(f"--seed {seed}: the run's seeds are {list(run.config.seeds)}")
    cells = [cell for cell in run.plan.cells if cell.road == what]
    knob = cells[0].knob if cells else ""
    for name, value in given.items():
        if value is not None and name != knob:
            raise ConfigError(f"--{name.lower()} {value:g}: {what!r} has no such setting")
    if not cells:
        return _Wanted(_scorer(run, what, seed), seed)
    asked = given.get(knob)
    values = list(dict.fromkeys(cell.value for cell in cells))
    if asked is not None and asked not in values:
        listed = ", ".join(f"{value:g}" for value in values if value is not None)
        raise ConfigError(f"--{knob.lower()} {asked:g}: the run has {what!r} at {listed}")
    value, fraction = _selected(run, what, knob, values if asked is None else [asked])
    cell = next(c for c in cells if c.value == value and c.seed == seed)
    assert cell.last is not None
    return _Wanted(cell.last, seed, fraction, cell)


def _selected(
    run: _Run, road: str, knob: str, values: list[float | None]
) -> tuple[float | None, float]:
    """The setting and moment, among `values`, that the selection scorer likes best."""

    def liked(point: Point) -> float:
        return float("-inf") if point.selection is None else point.selection

    points = [] if run.results is None else run.results.points
    points = [p for p in points if p.road == road and p.value in values]
    if points:
        best = max(points, key=liked)
        return best.value, best.fraction
    if len(values) > 1:
        raise ConfigError(
            f"{road!r} was trained at several settings and none is selected, because the run is "
            f"not evaluated; say which by --{knob.lower()}"
        )
    return values[0], 1.0


def _scorer(run: _Run, name: str, seed: int) -> str:
    """The job of a reward model, which is judged but answers no prompt."""
    for scorer, kind, _, own, judged in run.plan.scorers:
        if scorer == name and kind == "global" and own == seed:
            return run.plan.jobs[judged].spec["target"]
    scorers = [row[0] for row in run.plan.scorers if row[1] == "global"]
    known = {*(cell.road for cell in run.plan.cells), *scorers}
    raise ConfigError(
        f"{name!r} is no road and no stage's job of {run.folder}: {nearest(name, known)}"
    )


def _check_trained(run: _Run, name: str) -> Job:
    job = run.plan.jobs.get(name)
    if job is None:
        raise ConfigError(f"nothing was trained for it: its policy is {name!r}, as you gave it")
    path = result_path(run.folder, job)
    if not path.is_file():
        raise RunFolderError(f"{name} is not finished; run it to its end first: the same command")
    if FAILED in (result := files.read_json(path)):
        raise RunFolderError(f"{name} could not be trained: {result[FAILED]}")
    return job


def _check_best_of_n(run: _Run, cell: Cell) -> None:
    """Both halves are models that can be written down."""
    for name in (cell.last, _labeller(run, cell)):
        if name in run.plan.jobs:
            job = _check_trained(run, str(name))
            if name != cell.last and job.stage.makes == "policy":
                raise ConfigError(
                    f"{cell.road!r} is scored by the implicit reward of {name}: a policy against "
                    "its reference, no model of its own; export those two jobs by their ids"
                )
    if (labeller := _labeller(run, cell)) in (VERIFIER, JUDGE):
        raise ConfigError(f"{cell.road!r} is scored from outside, by a {labeller}: it is no model")


def _labeller(run: _Run, cell: Cell) -> str:
    return run.plan.jobs[cell.evaluation].spec["labeller"]["id"]


def _model(run: _Run, wanted: _Wanted, path: Path) -> None:
    """A policy or a reward model, with its card where a job of the run made it."""
    job = run.plan.jobs.get(wanted.job)
    if job is not None and job.stage.makes == "reward model":
        run.shop.reward_model(wanted.job, wanted.seed).merged().save(path)
    else:
        _plain(run, wanted).save_pretrained(path)
    run.shop.save_tokenizer(path)
    if job is not None:
        card = run.cards.card(job, run.results, fraction=wanted.fraction)
        moment = ("weights", f"at {wanted.fraction:.0%} of the training")
        _write_card(card.model_copy(update={"stage": (*card.stage, moment)}), path)


def _plain(run: _Run, wanted: _Wanted) -> PreTrainedModel:
    """The model that `AutoModelForCausalLM` will load, at the wanted moment."""
    policy = run.shop.fresh_policy(wanted.job, wanted.seed)
    if wanted.fraction < 1:
        count = run.plan.jobs[wanted.job].spec["snapshots"]
        keeping = Keeping(run.folder / "checkpoints" / wanted.job, count)
        snapshot = keeping.snapshot(round(wanted.fraction * count))
        checkpoint.load_weights(policy.model, snapshot)
    model = policy.merged()
    # As it was measured: pure sampling, ended by the run's one end-of-sequence token. What a base
    # model's own settings add (penalties, top-k) was never part of it.
    pad = model.config.get_text_config().pad_token_id
    model.config.eos_token_id = policy.eos_id
    model.generation_config = GenerationConfig(
        eos_token_id=policy.eos_id,
        pad_token_id=policy.eos_id if pad is None else pad,
        max_new_tokens=run.shop.settings.max_new_tokens,
        do_sample=True,
        temperature=run.config.temperature,
        top_k=0,
        top_p=1.0,
    )
    return model


def _best_of_n(run: _Run, wanted: _Wanted, path: Path) -> None:
    cell = wanted.cell
    assert cell is not None
    assert cell.value is not None
    (path / POLICY).mkdir()
    (path / REWARD_MODEL).mkdir()
    labeller = _labeller(run, cell)
    _model(run, wanted, path / POLICY)
    if labeller in run.plan.jobs:
        _model(run, _Wanted(labeller, wanted.seed), path / REWARD_MODEL)
    else:
        run.shop.reward_model(labeller, wanted.seed).merged().save(path / REWARD_MODEL)
        run.shop.save_tokenizer(path / REWARD_MODEL)
    loading = BEST_OF_N.format(temperature=run.config.temperature, n=cell.value)
    _write_card(run.cards.of_best_of_n(cell, run.results, loading), path)


def _write_card(card: ModelCard, folder: Path) -> None:
    (folder / NAME).write_text(render(card), encoding="utf-8")
