"""`compare` and `train`: what makes a run folder."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from allroads.cli import flags, printing


def compare(
    *,
    out: flags.Out,
    data: flags.Data = None,
    demonstrations: flags.Demonstrations = None,
    model: flags.Model = None,
    world: flags.World = None,
    roads: flags.Roads = None,
    config: flags.Config = None,
    seeds: flags.Seeds = None,
    betas: flags.Betas = None,
    n: flags.Ns = None,
    start: flags.Start = None,
    max_length: flags.MaxLength = None,
    over_long: flags.OverLong = None,
    on_bad_row: flags.OnBadRow = None,
    max_pairs: flags.MaxPairs = None,
    max_new_tokens: flags.MaxNew = None,
    eval_prompts: flags.EvalPrompts = None,
    device: flags.Device = None,
    dtype: flags.Dtype = None,
    lora: flags.Lora = None,
    gradient_checkpointing: flags.Recompute = None,
    token_budget: flags.TokenBudget = None,
    threads: flags.Threads = None,
    processes: flags.Processes = None,
    policy: flags.Policies = None,
    reward_model: flags.RewardModel = None,
    verifier: flags.Verifier = None,
    judge_url: flags.JudgeUrl = None,
    judge_model: flags.JudgeModel = None,
    judge_key_env: flags.JudgeKey = None,
    judge_max_tokens: flags.JudgeTokens = None,
    track: flags.Track = None,
    track_project: flags.TrackProject = None,
    grader: flags.Grader = None,
    dry_run: flags.DryRun = False,
) -> None:
    """Train roads on the same footing and report which one pays."""
    fields = flags.given_fields(locals())
    from allroads.lab import workers

    built = flags.build(fields, config)
    if built.processes > 1 and not dry_run:
        workers.begin()  # Its imports run beside what this process does now.
    from allroads.console import Progress, plan_lines
    from allroads.lab.compare import compare as run
    from allroads.lab.compare import prepare
    from allroads.lab.estimate import estimate
    from allroads.lab.execute import result_path

    prepared = prepare(built)
    costs = estimate(prepared)
    done = {j.id for j in prepared.plan.jobs.values() if result_path(out, j).is_file()}
    printing.audit(prepared.dataset)
    typer.echo("\n".join(plan_lines(prepared, costs, done)))
    if dry_run:
        return
    seconds = {name: cost for name, (_, cost) in costs.items()}
    listener = Progress(seconds, prepared.config.processes)
    results = run(prepared, out, listener, shlex.join(["allroads", *sys.argv[1:]]))
    printing.results(results)
    typer.echo(f"\nReport: {(out / 'report.html').resolve()}")
    printing.trackers(out, prepared.config)


def train(
    *,
    road: Annotated[str, typer.Argument(help="A road, or ROAD@LABELLER; see `allroads roads`.")],
    out: flags.Out,
    data: flags.Data = None,
    demonstrations: flags.Demonstrations = None,
    model: flags.Model = None,
    world: flags.World = None,
    config: flags.Config = None,
    beta: Annotated[float | None, typer.Option(help="Price of a nat of KL.")] = None,
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
    reward_model: flags.RewardModel = None,
    verifier: flags.Verifier = None,
    judge_url: flags.JudgeUrl = None,
    judge_model: flags.JudgeModel = None,
    judge_key_env: flags.JudgeKey = None,
    judge_max_tokens: flags.JudgeTokens = None,
    track: flags.Track = None,
    track_project: flags.TrackProject = None,
) -> None:
    """Train one road; print its course, its cost and where its checkpoint lies."""
    given = dict(locals())
    for name in ("road", "beta", "seed"):
        given.pop(name)
    from allroads import api
    from allroads.console import Progress
    from allroads.lab.estimate import estimate

    fields = {**flags.given_fields(given), "roads": [road], "seeds": [seed], "processes": 1}
    if beta is not None:
        fields["betas"] = [beta]
    built = flags.build(fields, config)
    from allroads.errors import ConfigError
    from allroads.lab.compare import prepare
    from allroads.lab.jobs import chosen_roads
    from allroads.lab.trained import NAME

    prepared = prepare(built)
    knob = chosen_roads(built, prepared.settings.recipe)[0].knob
    if knob == "beta" and beta is None:
        raise ConfigError(f"road {road!r} needs --beta, the price of a nat of KL in reward units")
    costs = estimate(prepared)
    listener = Progress({name: cost for name, (_, cost) in costs.items()}, 1)
    where = api.train(road, out=out, value=beta, seed=seed, config=built, listener=listener)
    typer.echo(f"\n{(out / NAME).read_text('utf-8')}")
    typer.echo(f"Checkpoint: {where.resolve()}")
    printing.trackers(out, built)
