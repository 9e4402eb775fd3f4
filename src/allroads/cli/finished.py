"""`report`, `judge` and `export`: what is done with a run that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allroads.cli import flags, printing


def report(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
) -> None:
    """Rebuild the report of a finished run from its files."""
    from allroads.lab.compare import rebuild

    results = rebuild(folder)
    printing.results(results)
    typer.echo(f"\nReport: {(folder / 'report.html').resolve()}")


def judge(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
    *,
    url: Annotated[str, typer.Option(help="Server of the OpenAI chat-completions protocol.")],
    model: Annotated[str, typer.Option(help="The name that the server knows the model by.")],
    prompts: Annotated[int, typer.Option(help="Test prompts judged for each road.")] = 48,
    human_pairs: Annotated[
        int, typer.Option(help="Held-out pairs on which it is compared with the labels.")
    ] = 100,
    roads: flags.Roads = None,
    all_seeds: Annotated[bool, typer.Option("--all-seeds", help="Every seed's answers.")] = False,
    key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the key (never the key itself).")
    ] = "OPENAI_API_KEY",
    timeout: Annotated[float, typer.Option(help="Seconds for one attempt.")] = 60.0,
    retries: Annotated[int, typer.Option(help="Further attempts after a failure.")] = 2,
    workers: Annotated[int, typer.Option(help="Requests at a time.")] = 4,
    max_tokens: Annotated[int, typer.Option(help="Limit of a reply.")] = 8,
    max_chars: Annotated[int, typer.Option(help="Limit of each text; what is cut is told.")] = 4000,
    temperature: Annotated[float, typer.Option(help="0: the likeliest reply.")] = 0.0,
    template: Annotated[
        Path | None, typer.Option(help="File with {prompt}, {first} and {second}.")
    ] = None,
) -> None:
    """Let a language model compare each road with the start policy, and with the labels."""
    fields = dict(locals())
    fields["roads"] = tuple(name.strip() for name in (roads or "").split(",") if name.strip())
    from allroads.console import Counted, judge_lines
    from allroads.lab.judging import Judging
    from allroads.lab.judging import judge as run

    results = run(fields.pop("folder"), Judging(**fields), Counted("replies"))
    assert results.judge is not None
    typer.echo("\n".join(judge_lines(results.judge)))
    typer.echo(f"\nReport: {(folder / 'report.html').resolve()}")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    what: Annotated[str, typer.Argument(metavar="ROAD_OR_JOB", help="A road, or a job's id.")],
    *,
    out: Annotated[Path, typer.Option(help="The new folder.")],
    beta: Annotated[float | None, typer.Option(help="Of the road; default: selected.")] = None,
    n: Annotated[int | None, typer.Option("--n", help="N of best-of-N; default: selected.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the run's first.")] = None,
) -> None:
    """Write a road's selected model as a plain folder that transformers loads."""
    from allroads import api

    where = api.export(run, what, out=out, beta=beta, n=n, seed=seed)
    typer.echo(f"Exported: {where.resolve()}")
