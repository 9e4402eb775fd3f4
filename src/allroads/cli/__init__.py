"""The `allroads` command: parse, call, print. Everything heavy is imported inside a command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from allroads.cli import atlas, checks, diagnose, finished, lab, runs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which road from preferences to policy pays on your data: SFT, offline DPO, best-of-N, "
    "or a reward model plus online RL?",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at preference data before using it.")
app.add_typer(data_app, name="data")
app.add_typer(lab.app, name="lab")
app.command()(runs.compare)
app.command()(diagnose.diagnose)
app.command()(runs.train)
app.command()(atlas.roads)
app.command()(finished.report)
app.command()(finished.judge)
app.command()(finished.export)
app.command()(checks.exact)
app.command()(checks.doctor)
data_app.command("audit")(checks.data_audit)


@app.callback()
def _main(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; one line per error, exit code 2 for bad input, 1 for failure."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    debug = "--debug" in sys.argv
    sys.argv = [part for part in sys.argv if part != "--debug"]
    from allroads.errors import AllroadsError

    try:
        app()
    except AllroadsError as error:
        if debug:
            raise
        # Other libraries' reasons, quoted in ours, may run over several lines.
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from here", err=True)
        raise SystemExit(130) from None
    except Exception as error:
        if debug:
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        typer.echo(
            f"error: {type(error).__name__}: {first} (run again with --debug for the traceback)",
            err=True,
        )
        raise SystemExit(1) from None
