"""The flags that several commands share, and what they mean as settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

Data = Annotated[
    str | None,
    typer.Option(help="Preference pairs: .jsonl[.gz], .parquet, .csv, or a Hub dataset id."),
]
Demonstrations = Annotated[str | None, typer.Option(help="Demonstrations, same formats.")]
Model = Annotated[
    str | None, typer.Option(help="Folder of a causal language model, a .gguf file, or a Hub id.")
]
World = Annotated[
    str | None,
    typer.Option(
        help="A world instead of data: routes, preimage, secret, reasoning; sentiment or scitldr "
        "(with --model); or a file of yours, FILE.py."
    ),
]
Out = Annotated[Path, typer.Option(help="Run folder; the same command continues it.")]
Config = Annotated[Path | None, typer.Option(help="YAML with any setting; flags win over it.")]
Roads = Annotated[
    str | None, typer.Option(help="Comma-separated names, or ROAD@LABELLER; see `allroads roads`.")
]
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
Verifier = Annotated[
    str | None,
    typer.Option(help="FILE.py[:FUNCTION] that scores samples of roads like rloo@verifier."),
]
JudgeUrl = Annotated[
    str | None, typer.Option(help="Chat-completions server for roads like online-dpo@judge.")
]
JudgeModel = Annotated[str | None, typer.Option(help="The name that it knows the model by.")]
JudgeKey = Annotated[
    str | None,
    typer.Option("--judge-key-env", help="Variable that holds its key (never the key itself)."),
]
JudgeTokens = Annotated[
    int | None, typer.Option("--judge-max-tokens", help="Limit of its reply (8).")
]
Grader = Annotated[
    str | None,
    typer.Option(help="Who grades answers: auto, minilm, tf-idf, or the folder of an encoder."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(budget: str) -> float:
    """A time such as 90s, 30m or 2h, in seconds."""
    from allroads.errors import ConfigError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget.strip())
    if not found:
        raise ConfigError(f"--budget {budget}: expected a time such as 90s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def given_fields(given: dict[str, Any]) -> dict[str, Any]:
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


def build(fields: dict[str, Any], config: Path | None) -> Any:
    """The checked configuration: flags over what a file says."""
    from allroads.lab.config import build_config, load_yaml

    origin = "flags"
    if config is not None:
        fields, origin = {**load_yaml(config), **fields}, str(config)
    return build_config(fields, origin=origin)
