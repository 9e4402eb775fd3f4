"""`allroads lab`: the hypotheses, their cells, and what they decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allroads.cli import flags
from allroads.errors import ConfigError, nearest

if TYPE_CHECKING:
    from allroads.lab.study.lines import Cell

PREDICTION = "prediction"
app = typer.Typer(
    no_args_is_help=True,
    help="Why does the two-stage road win, and when does it not? The paper's hypotheses, their "
    "rivals and controls, as experiments on worlds whose truth is known.",
)
World = Annotated[str | None, typer.Option(help="One world of the studies; all if not said.")]
Results = Annotated[Path, typer.Option(help="Folder of finished cells, one line each.")]
Work = Annotated[Path, typer.Option(help="Folder for checkpoints; may be deleted between runs.")]


@app.command("list")
def list_studies(results: Results = Path("results")) -> None:
    """The hypotheses, the worlds they are tested on, and how far they are."""
    from allroads.lab.study.hypotheses import HYPOTHESES
    from allroads.lab.study.lines import Store
    from allroads.lab.study.variants import VARIANTS

    for one in HYPOTHESES.values():
        worlds = ", ".join(case.variant for case in one.cases)
        typer.echo(f"{one.name:18} {one.kind:10} {one.title} ({worlds})")
    typer.echo("")
    found = set(Store(results).variants())
    for variant in VARIANTS.values():
        mark = "has cells" if variant.name in found else ""
        typer.echo(f"{variant.name:18} {mark:10} {variant.says}")


@app.command()
def run(
    names: Annotated[
        list[str],
        typer.Argument(help="Hypotheses, or `all`; or `prediction`: is `diagnose` right?"),
    ],
    *,
    world: World = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many.")] = 5,
    confirm: Annotated[
        bool,
        typer.Option("--confirm", help="Seeds from 1000 on: once, and from committed text only."),
    ] = False,
    first_seed: Annotated[int | None, typer.Option(min=0, help="Instead of 0 or 1000.")] = None,
    budget: Annotated[str | None, typer.Option(help="Such as 30m or 2h; no job begins later.")] = (
        None
    ),
    model: Annotated[Path | None, typer.Option(help="Base model, for worlds of text.")] = None,
    papers: Annotated[Path | None, typer.Option(help="Folder of scitldr's files.")] = None,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    results: Results = Path("results"),
    work: Work = Path("runs/lab"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what is missing.")] = False,
) -> None:
    """Run the cells that are missing, best first, and print what they decide."""
    since = time.monotonic()
    until = since + flags.seconds(budget) if budget else float("inf")
    if PREDICTION in names:
        if len(names) > 1 or confirm or dry_run or model is not None:
            raise ConfigError(f"`lab run {PREDICTION}` is run by itself, and has seeds of its own")
        _predict(until, processes, results, work, world)
        return
    from allroads.lab.study.collecting import study_of, text_of
    from allroads.lab.study.conduct import conduct, outstanding
    from allroads.lab.study.further import SEEDS, further
    from allroads.lab.study.hypotheses import HYPOTHESES, best_first, chosen
    from allroads.lab.study.hypothesis import merged
    from allroads.lab.study.lines import Store
    from allroads.lab.study.registration import register
    from allroads.lab.study.running import CONFIRMATORY, Place

    first = first_seed if first_seed is not None else CONFIRMATORY if confirm else 0
    _check_seeds(first, seeds, confirm=confirm, limit=CONFIRMATORY)
    range_ = tuple(range(first, first + seeds))
    hypotheses = chosen(names, world)
    place = Place(
        store=Store(results),
        work=work,
        model=None if model is None else str(model),
        papers=None if papers is None else str(papers.resolve()),
        processes=processes,
        until=until,
    )
    needs = merged(case.needs for one in best_first(hypotheses) for case in one.on(world))
    more = further(world) if "all" in names else {}
    if dry_run:
        lacking = outstanding(needs, range_, place)
        for name, count in outstanding(more, range_[:SEEDS], place).items():
            lacking[name] = lacking.get(name, 0) + count
        for name, count in lacking.items():
            typer.echo(f"{name:18} at most {count} cells are missing")
        return
    if confirm:
        for one in hypotheses:
            register(one.name, one.says, one.sources, results)

    told = _told(since)
    left = conduct(needs, range_, place, told) + conduct(more, range_[:SEEDS], place, told)
    # Judged among all, so that no verdict hangs on how few were asked for.
    study = study_of(tuple(HYPOTHESES.values()), results, range_, left)
    typer.echo(text_of(study, {(one.name, c.variant) for one in hypotheses for c in one.on(world)}))


@app.command()
def prediction(
    *,
    results: Results = Path("results"),
    models: Annotated[
        Path | None, typer.Option(help="Write the models, fitted on all worlds, to this file.")
    ] = None,
    write: Annotated[list[Path] | None, typer.Option(help="Fill these documents' blocks.")] = None,
) -> None:
    """How well `diagnose` predicts, from the finished lines; and the models that it reads."""
    from allroads import files
    from allroads.diagnoses import ONLINE
    from allroads.lab.study.prediction import collecting, document
    from allroads.lab.study.prediction.endings import endings
    from allroads.report.blocks import fill

    found = collecting.found(results / PREDICTION)
    typer.echo(collecting.text_of(found))
    fitted = collecting.models(results / PREDICTION)
    if models is not None:
        files.write_text(models, fitted.model_dump_json(indent=1) + "\n")
        typer.echo(f"Models: {models.resolve()}")
    if not write:
        return
    blocks = document.blocks(
        found, fitted, {road: endings(results / PREDICTION, road) for road in ONLINE}
    )
    for page in write:
        files.write_text(page, fill(page.read_text("utf-8"), blocks))
        typer.echo(f"Tables: {page.resolve()}")


@app.command()
def equals(
    *,
    world: Annotated[str, typer.Option(help="One world of the studies.")] = "routes",
    budget: Annotated[str | None, typer.Option(help="Such as 30m or 2h.")] = None,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    results: Results = Path("results"),
    work: Work = Path("runs/lab"),
) -> None:
    """The A/A test: how often is a difference claimed between two equal roads?"""
    until = time.monotonic() + flags.seconds(budget) if budget else float("inf")
    from allroads.lab.study import equals as test
    from allroads.lab.study.lines import Store
    from allroads.lab.study.running import Place

    place = Place(store=Store(results), work=work, processes=processes, until=until)
    left = test.fill_pool(world, place, _told(time.monotonic()))
    for row in test.equals(place.store, world):
        typer.echo(row.words)
    if left:
        typer.echo(f"{left} cells of the pool are missing; the same command goes on")


@app.command()
def difficulty(
    *,
    world: World = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0.")] = 3,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    results: Results = Path("results"),
) -> None:
    """Measure how much data a fixed verifier and a fixed generator need on each world."""
    from allroads.lab.study.difficulty import Curve, distinct, measure_all
    from allroads.lab.study.lines import CurveLine, Store
    from allroads.lab.study.variants import VARIANTS, variant

    if world and variant(world).needs_model:
        raise ConfigError(f"--world {world}: difficulties are measured on worlds without a model")
    store = Store(results)
    every = [v for v in VARIANTS.values() if not v.needs_model]
    chosen = [variant(world)] if world else distinct(every)
    curves = [
        Curve(
            one,
            learner,
            seed,
            {
                line.count: line.reached
                for line in store.curves(one.name)
                if (line.learner, line.seed) == (learner, seed)
            },
        )
        for seed in range(seeds)
        for one in chosen
        for learner in ("verifier", "generator")
    ]

    def told(line: CurveLine) -> None:
        store.add(line)
        typer.echo(f"{line.variant}: {line.learner}, {line.count:,}: {line.reached:.3f}", err=True)

    measure_all(curves, processes, told)


@app.command()
def report(
    *,
    results: Results = Path("results"),
    seeds: Annotated[int, typer.Option(min=1, help="How many, from the first.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0, help="1000: the confirmatory ones.")] = 1000,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("findings.html"),
    write: Annotated[Path | None, typer.Option(help="Also fill this document's blocks.")] = None,
) -> None:
    """One page of everything that has been run; needs no model."""
    from allroads import files
    from allroads.lab.study.collecting import study_of
    from allroads.lab.study.hypotheses import HYPOTHESES
    from allroads.report.study import write as write_page
    from allroads.report.study_markdown import fill

    range_ = tuple(range(first_seed, first_seed + seeds))
    study = study_of(tuple(HYPOTHESES.values()), results, range_)
    write_page(study, out)
    typer.echo(f"Page: {out.resolve()}")
    if write is not None:
        files.write_text(write, fill(write.read_text("utf-8"), study))
        typer.echo(f"Tables: {write.resolve()}")


def _told(since: float) -> Callable[[Cell], None]:
    """Prints each cell as it is finished."""
    from allroads.lab.study.lines import PolicyLine

    def told(line: Cell) -> None:
        setting = "" if line.value is None else f" {line.knob} {line.value:g}"
        found = line.failed
        if not found and isinstance(line, PolicyLine):
            rewards = line.moments[-1].reward
            found = f"reward {sum(rewards) / len(rewards):.3f}"
        where = f"{line.variant}: {line.arm}{setting}, seed {line.seed}"
        rate = "" if line.rate == 1 else f", rate x{line.rate:g}"
        typer.echo(f"[{time.monotonic() - since:5.0f} s] {where}{rate} {found}", err=True)

    return told


def _predict(until: float, processes: int, results: Path, work: Path, world: str | None) -> None:
    from allroads.lab.study.lines import Store
    from allroads.lab.study.prediction import collecting, running
    from allroads.lab.study.running import Place

    if world is not None and world not in running.WORLDS:
        raise ConfigError(
            f"--world {world} is none of the study's: {nearest(world, running.WORLDS)}"
        )
    folder = results / PREDICTION
    place = Place(store=Store(folder), work=work / PREDICTION, processes=processes, until=until)
    since = time.monotonic()

    def told(words: str) -> None:
        typer.echo(f"[{time.monotonic() - since:5.0f} s] {words}")

    left = running.run(place, told, () if world is None else (world,))
    typer.echo("\n".join(f"Left out: {sentence}" for sentence in left))
    typer.echo(collecting.text_of(collecting.found(folder)))


def _check_seeds(first: int, count: int, *, confirm: bool, limit: int) -> None:
    from allroads.lab.study.table import TUNING

    if confirm and first < limit:
        raise ConfigError(f"--confirm takes seeds from {limit} on, got --first-seed {first}")
    if not confirm and first + count > min(TUNING):
        raise ConfigError(
            f"seeds {first} to {first + count - 1}: exploration has those below {min(TUNING)} "
            f"({min(TUNING)} and {max(TUNING)} tune); to confirm, add --confirm"
        )
