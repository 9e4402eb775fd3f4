"""`diagnose`: will reinforcement learning pay on this data? Said before it is run."""

from __future__ import annotations

import shlex
import sys
import time
from typing import Annotated

import typer

from allroads.cli import flags, printing


def diagnose(
    *,
    out: flags.Out,
    data: flags.Data = None,
    demonstrations: flags.Demonstrations = None,
    model: flags.Model = None,
    world: flags.World = None,
    config: flags.Config = None,
    verifier: flags.Verifier = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="On a world: let its verifier grade samples.")
    ] = False,
    budget: Annotated[
        str | None, typer.Option(help="Such as 20m or 2h: what fits is measured, the rest said.")
    ] = None,
    orders: Annotated[
        int, typer.Option(min=1, help="Orders of the data, each fitted block by block.")
    ] = 5,
    beta: Annotated[
        float | None,
        typer.Option(help="Of the generator; 0.5 if not said. Offline DPO is tried at 0.6 x, 2 x."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The one seed.")] = 0,
    start: flags.Start = None,
    max_length: flags.MaxLength = None,
    over_long: flags.OverLong = None,
    on_bad_row: flags.OnBadRow = None,
    max_pairs: flags.MaxPairs = None,
    max_new_tokens: flags.MaxNew = None,
    device: flags.Device = None,
    dtype: flags.Dtype = None,
    lora: flags.Lora = None,
    gradient_checkpointing: flags.Recompute = None,
    token_budget: flags.TokenBudget = None,
    threads: flags.Threads = None,
    processes: flags.Processes = None,
    dry_run: flags.DryRun = False,
) -> None:
    """Predict, without running it, what online RL would gain over offline likelihood, and why."""
    since = time.monotonic()
    given = dict(locals())
    own = ("truth", "budget", "orders", "beta", "seed", "since")
    fields = flags.given_fields({name: one for name, one in given.items() if name not in own})
    until = since + flags.seconds(budget) if budget else float("inf")
    from allroads.lab import workers

    fields |= {"seeds": [seed]} | ({} if beta is None else {"betas": [beta]})
    built = flags.build(fields, config)
    if built.processes > 1 and not dry_run:
        workers.begin()  # Its imports run beside what this process does now.
    from allroads.console import Progress
    from allroads.lab.diagnose.design import Design
    from allroads.lab.diagnose.run import PAGE, conclude, essential, left, measure, ready
    from allroads.report.diagnosis_text import text_of

    planned = ready(built, Design(orders=orders, truth=truth))
    printing.audit(planned.prepared.dataset)
    typer.echo(_planned(planned.plan.jobs, left(planned, out), budget))
    least = until - time.monotonic() if budget else float("inf")
    if (needed := essential(planned, out)) > least:
        typer.echo(
            f"Note: a first diagnosis is expected to take about {needed / 60:.1f} min: within "
            "--budget there may be none, but what is measured is kept for the next run"
        )
    if dry_run:
        return
    jobs = planned.plan.jobs
    listener = Progress({n: planned.seconds[n] for n in jobs}, built.processes)
    command = shlex.join(["allroads", *sys.argv[1:]])
    evidence = measure(planned, out, listener, command, until=until)
    found = conclude(evidence, out)
    typer.echo(f"\n{text_of(found)}\n\nPage: {(out / PAGE).resolve()}")


def _planned(jobs: dict, seconds: float, budget: str | None) -> str:
    limit = f"; --budget {budget}: what does not fit is left out and listed" if budget else ""
    return f"{len(jobs)} jobs, about {seconds / 60:.1f} min left{limit}"
