"""The `allroads` command: parse, call, print. Everything heavy is imported inside a command."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which road from preferences to policy pays on your data: SFT, offline DPO, best-of-N, "
    "or a reward model plus online RL?",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at preference data before using it.")
app.add_typer(data_app, name="data")

Data = Annotated[
    str | None,
    typer.Option(help="Preference pairs: .jsonl[.gz], .parquet, .csv, or a Hub dataset id."),
]
Demonstrations = Annotated[str | None, typer.Option(help="Demonstrations, same formats.")]
Model = Annotated[
    str | None, typer.Option(help="Folder of a causal language model, or a .gguf file.")
]
World = Annotated[
    str | None,
    typer.Option(help="A built-in world instead of data: routes, or sentiment (with --model)."),
]
Out = Annotated[Path, typer.Option(help="Run folder; the same command continues it.")]
Config = Annotated[Path | None, typer.Option(help="YAML with any setting; flags win over it.")]
Roads = Annotated[str | None, typer.Option(help="Comma-separated names; see `allroads roads`.")]
Seeds = Annotated[str | None, typer.Option(help="How many seeds (3 = 0,1,2), or a list (0,5,7).")]
Betas = Annotated[str | None, typer.Option(help="Comma-separated prices of a nat of KL.")]
Ns = Annotated[str | None, typer.Option("--n", help="Comma-separated N of best-of-N.")]
Start = Annotated[str | None, typer.Option(help="auto, sft, sft-chosen or base.")]
MaxLength = Annotated[int | None, typer.Option(help="Tokens of prompt and completion together.")]
OverLong = Annotated[str | None, typer.Option(help="drop, truncate or raise longer rows.")]
OnBadRow = Annotated[str | None, typer.Option(help="drop (and count) or raise.")]
MaxPairs = Annotated[int | None, typer.Option(help="Use at most this many pairs.")]
MaxNew = Annotated[int | None, typer.Option("--max-new-tokens", help="Length limit of samples.")]
EvalPrompts = Annotated[int | None, typer.Option(help="Held-out prompts that are answered.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float64.")]
Lora = Annotated[
    int | None, typer.Option(help="Train adapters of this rank instead of all weights.")
]
Recompute = Annotated[
    bool | None,
    typer.Option("--gradient-checkpointing", help="Less memory, a third more time."),
]
TokenBudget = Annotated[
    int | None, typer.Option(help="Padded tokens of one forward pass; the loss does not change.")
]
Threads = Annotated[int | None, typer.Option(help="Threads of each process.")]
Processes = Annotated[int | None, typer.Option(help="Jobs at a time.")]
Policies = Annotated[
    list[str] | None, typer.Option("--policy", help="NAME=DIR: a trained model joins.")
]
RewardModel = Annotated[str | None, typer.Option(help="Folder of a trained reward model to use.")]
Track = Annotated[
    str | None, typer.Option(help="wandb, tensorboard, trackio (comma-separated): live curves.")
]
TrackProject = Annotated[str | None, typer.Option(help="The tracker's project.")]
Grader = Annotated[
    str | None,
    typer.Option(help="Who grades answers: auto, minilm, tf-idf, or the folder of an encoder."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]


@app.callback()
def _main(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    pass


@app.command()
def compare(
    *,
    out: Out,
    data: Data = None,
    demonstrations: Demonstrations = None,
    model: Model = None,
    world: World = None,
    roads: Roads = None,
    config: Config = None,
    seeds: Seeds = None,
    betas: Betas = None,
    n: Ns = None,
    start: Start = None,
    max_length: MaxLength = None,
    over_long: OverLong = None,
    on_bad_row: OnBadRow = None,
    max_pairs: MaxPairs = None,
    max_new_tokens: MaxNew = None,
    eval_prompts: EvalPrompts = None,
    device: Device = None,
    dtype: Dtype = None,
    lora: Lora = None,
    gradient_checkpointing: Recompute = None,
    token_budget: TokenBudget = None,
    threads: Threads = None,
    processes: Processes = None,
    policy: Policies = None,
    reward_model: RewardModel = None,
    track: Track = None,
    track_project: TrackProject = None,
    grader: Grader = None,
    dry_run: DryRun = False,
) -> None:
    """Train roads on the same footing and report which one pays."""
    fields = _fields(locals())
    from allroads.console import Progress, plan_lines
    from allroads.lab.compare import compare as run
    from allroads.lab.compare import prepare
    from allroads.lab.estimate import estimate
    from allroads.lab.execute import result_path

    prepared = prepare(_build(fields, config))
    costs = estimate(prepared)
    done = {j.id for j in prepared.plan.jobs.values() if result_path(out, j).is_file()}
    _print_audit(prepared.dataset)
    typer.echo("\n".join(plan_lines(prepared, costs, done)))
    if dry_run:
        return
    seconds = {name: cost for name, (_, cost) in costs.items()}
    listener = Progress(seconds, prepared.config.processes)
    results = run(prepared, out, listener, shlex.join(["allroads", *sys.argv[1:]]))
    _print_results(results)
    typer.echo(f"\nReport: {(out / 'report.html').resolve()}")
    _print_trackers(out, prepared.config)


@app.command()
def train(
    *,
    road: Annotated[str, typer.Argument(help="A road's name; see `allroads roads`.")],
    out: Out,
    data: Data = None,
    demonstrations: Demonstrations = None,
    model: Model = None,
    world: World = None,
    config: Config = None,
    beta: Annotated[float | None, typer.Option(help="Price of a nat of KL.")] = None,
    seed: Annotated[int, typer.Option(help="The one seed.")] = 0,
    start: Start = None,
    max_length: MaxLength = None,
    over_long: OverLong = None,
    on_bad_row: OnBadRow = None,
    max_pairs: MaxPairs = None,
    max_new_tokens: MaxNew = None,
    device: Device = None,
    dtype: Dtype = None,
    lora: Lora = None,
    gradient_checkpointing: Recompute = None,
    token_budget: TokenBudget = None,
    threads: Threads = None,
    reward_model: RewardModel = None,
    track: Track = None,
    track_project: TrackProject = None,
) -> None:
    """Train one road and print where its checkpoint lies."""
    given = dict(locals())
    for name in ("road", "beta", "seed"):
        given.pop(name)
    from allroads import api
    from allroads.console import Progress
    from allroads.lab.estimate import estimate

    fields = {**_fields(given), "roads": [road], "seeds": [seed], "processes": 1}
    if beta is not None:
        fields["betas"] = [beta]
    built = _build(fields, config)
    from allroads.errors import ConfigError
    from allroads.lab.compare import prepare
    from allroads.lab.jobs import chosen_roads

    prepared = prepare(built)
    knob = chosen_roads(built, prepared.settings.recipe)[0].knob
    if knob == "beta" and beta is None:
        raise ConfigError(f"road {road!r} needs --beta, the price of a nat of KL in reward units")
    costs = estimate(prepared)
    listener = Progress({name: cost for name, (_, cost) in costs.items()}, 1)
    where = api.train(road, out=out, value=beta, seed=seed, config=built, listener=listener)
    typer.echo(f"Checkpoint: {where.resolve()}")
    _print_trackers(out, built)


@app.command()
def roads(
    *,
    diff: Annotated[
        str | None, typer.Option(help="Two names, comma-separated: the fields that differ.")
    ] = None,
    start: Annotated[str, typer.Option(help="sft, sft-chosen or base.")] = "sft",
) -> None:
    """Print the table of roads, or the difference of two rows."""
    from allroads.errors import ConfigError, nearest
    from allroads.roads.atlas import atlas
    from allroads.roads.differences import differences

    table = atlas(start)
    if diff is not None:
        names = [name.strip() for name in diff.split(",")]
        if len(names) != 2:
            raise ConfigError(f"--diff takes two names, comma-separated, got {diff!r}")
        for name in names:
            if name not in table:
                raise ConfigError(f"road {name!r} is unknown: {nearest(name, table)}")
        rows = differences(table[names[0]], table[names[1]])
        width = max([len(row[0]) for row in rows], default=5) + 2
        typer.echo(f"{'field':<{width}}{names[0]:<28}{names[1]}")
        for field, left, right in rows:
            typer.echo(f"{field:<{width}}{left:<28}{right}")
        if not rows:
            typer.echo("no difference")
        return
    for road in table.values():
        typer.echo(f"{road.name}: {road.summary}" + (f" ({road.source})" if road.source else ""))
        for stage in road.stages:
            o = stage.objective
            who = stage.source.who
            if stage.source.sampled:
                who += f" x{stage.source.per_prompt or 'N'} ({stage.source.refresh})"
            typer.echo(
                f"    {stage.name:<14} from {stage.start:<11} {who} / {stage.labeller} / "
                f"{stage.pick} / {o.words}"
            )


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
) -> None:
    """Rebuild the report of a finished run from its files."""
    from allroads.lab.compare import rebuild

    results = rebuild(folder)
    _print_results(results)
    typer.echo(f"\nReport: {(folder / 'report.html').resolve()}")


@app.command()
def judge(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
    *,
    url: Annotated[str, typer.Option(help="Server of the OpenAI chat-completions protocol.")],
    model: Annotated[str, typer.Option(help="The name that the server knows the model by.")],
    prompts: Annotated[int, typer.Option(help="Test prompts judged for each road.")] = 48,
    human_pairs: Annotated[
        int, typer.Option(help="Held-out pairs on which it is compared with the labels.")
    ] = 100,
    roads: Roads = None,
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


@app.command()
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


@app.command()
def exact(
    *,
    claim: Annotated[str | None, typer.Option(help="One claim; default: all.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page with the picture here.")] = None,
    oracle: Annotated[bool, typer.Option("--oracle", help="The roads' gradients instead.")] = False,
) -> None:
    """Check the theory without sampling: each claim, and each with its premise broken."""
    if oracle:
        _oracle(alone=claim is None and html is None)
        return
    from allroads.console import claim_lines, claims_verdict
    from allroads.errors import ConfigError, nearest
    from allroads.exact.claims import CLAIMS

    if claim is not None and claim not in CLAIMS:
        raise ConfigError(f"--claim {claim!r} is unknown: {nearest(claim, CLAIMS)}")
    chosen = list(CLAIMS.values()) if claim is None else [CLAIMS[claim]]
    findings = []
    for place, one in enumerate(chosen, 1):
        findings.append(one.examine() if html is None else one.illustrate())
        typer.echo("\n".join(claim_lines(findings[-1], f"[{place}/{len(chosen)}]")))
    typer.echo(claims_verdict(findings))
    if html is not None:
        from allroads import __version__
        from allroads.report import claims

        command = shlex.join(["allroads", *sys.argv[1:]])
        where = claims.write(findings, html, command=command, version=__version__)
        typer.echo(f"Page: {where.resolve()}")
    if not all(finding.expected for finding in findings):
        raise typer.Exit(1)


def _oracle(*, alone: bool) -> None:
    from allroads.errors import ConfigError

    if not alone:
        raise ConfigError("--oracle prints its own tables; leave --claim and --html out")
    import torch

    from allroads.lab.oracle import show

    # Tensors of a few numbers: a second thread only waits, and on a busy machine for long.
    torch.set_num_threads(1)
    if not show(typer.echo):
        raise typer.Exit(1)


@data_app.command("audit")
def data_audit(
    data: Annotated[str, typer.Argument(help="Preference pairs.")],
    *,
    model: Annotated[str, typer.Option(help="Folder whose tokenizer counts the tokens.")],
    demonstrations: Demonstrations = None,
    max_length: Annotated[int, typer.Option(help="Tokens of prompt and completion.")] = 512,
    over_long: Annotated[str, typer.Option(help="drop, truncate or raise.")] = "drop",
    on_bad_row: Annotated[str, typer.Option(help="drop or raise.")] = "drop",
) -> None:
    """Count what is in a file: lengths, drops by reason, leakage, contradictions, length bias."""
    from allroads.data.dataset import build
    from allroads.data.tokenise import load_tokeniser

    tokeniser = load_tokeniser(model, max_length=max_length, over_long=over_long)  # type: ignore[arg-type]
    dataset = build(data, demonstrations, tokeniser, on_bad_row=on_bad_row)  # type: ignore[arg-type]
    _print_audit(dataset, every=True)


@app.command()
def doctor() -> None:
    """Check this installation: versions, devices, threads, and one small training step."""
    from allroads.lab.doctor import examine

    lines, healthy = examine()
    typer.echo("\n".join(lines))
    if not healthy:
        raise typer.Exit(1)


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """Flags that were given, under the configuration's names."""
    fields = {
        key: value
        for key, value in given.items()
        if value is not None and key not in ("out", "config", "dry_run", "policy", "n")
    }
    from allroads.errors import ConfigError

    if "lora" in fields:
        fields["lora"] = {"rank": fields["lora"], "alpha": 2.0 * fields["lora"]}
    if "roads" in fields:
        fields["roads"] = [name.strip() for name in fields["roads"].split(",") if name.strip()]
    if "seeds" in fields:
        numbers = _numbers("seeds", fields["seeds"], int)
        fields["seeds"] = list(range(int(numbers[0]))) if "," not in given["seeds"] else numbers
    if "betas" in fields:
        fields["betas"] = _numbers("betas", fields["betas"], float)
    if given.get("n"):
        fields["ns"] = _numbers("n", given["n"], int)
    for entry in given.get("policy") or []:
        name, equals, folder = entry.partition("=")
        if not equals or not name or not folder:
            raise ConfigError(f"--policy {entry!r}: expected NAME=DIR")
        fields.setdefault("policies", {})[name] = folder
    return fields


def _numbers(flag: str, text: str, kind: type) -> list[Any]:
    from allroads.errors import ConfigError

    try:
        numbers = [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers:
        raise ConfigError(
            f"--{flag} {text!r}: expected numbers separated by commas ({kind.__name__})"
        )
    return numbers


def _build(fields: dict[str, Any], config: Path | None) -> Any:
    from allroads.lab.config import build_config, load_yaml

    origin = "flags"
    if config is not None:
        fields, origin = {**load_yaml(config), **fields}, str(config)
    return build_config(fields, origin=origin)


def _print_audit(dataset: Any, *, every: bool = False) -> None:
    if dataset is None:
        return
    if every:
        for row in dataset.audit.rows():
            of = f" of {row.of:g}" if row.of is not None else ""
            typer.echo(
                f"{row.what:<52}{row.count:>10g}{of}" + (f"  {row.note}" if row.note else "")
            )
    for warning in dataset.audit.warnings():
        typer.echo(f"Note: {warning}")
    if dataset.audit.warnings():
        typer.echo("")


def _print_results(results: Any) -> None:
    typer.echo(
        f"\n{results.metric.name} on held-out prompts ({results.metric.unit}), "
        f"{len(results.seeds)} seeds"
    )
    for point in results.points:
        if not point.selected:
            continue
        setting = "" if point.value is None else f" {point.knob} {point.value:g}"
        reward, kl = point.reward, point.kl
        equal = "" if not point.controlled else f"  at equal length {point.controlled.value:.3f}"
        check = "" if not point.check else f"  second opinion {point.check.value:.3f}"
        interval = "" if reward.low is None else f" [{reward.low:.3f}, {reward.high:.3f}]"
        typer.echo(
            f"  {point.road + setting:<36}{reward.value:.3f}{interval:<18}"
            f"  KL {round(kl.value, 2) + 0.0:.2f} nats  length {point.length.value:.1f}"
            f"{equal}{check}"
        )
    for failure in results.failures:
        setting = "" if failure.value is None else f" {failure.knob} {failure.value:g}"
        typer.echo(f"  {failure.road + setting:<36}failed: {failure.reason}")
    typer.echo(f"\n{results.verdict.headline}")


def _print_trackers(folder: Path, config: Any) -> None:
    from allroads.lab.tracking import where_to_look

    for line in where_to_look(folder, config):
        typer.echo(f"Curves: {line}")


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
