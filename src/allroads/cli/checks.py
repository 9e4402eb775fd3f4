"""`exact`, `data audit` and `doctor`: the theory, the data and the installation examined."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from allroads.cli import flags, printing


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


def data_audit(
    data: Annotated[str, typer.Argument(help="Preference pairs.")],
    *,
    model: Annotated[str, typer.Option(help="Folder whose tokenizer counts the tokens.")],
    demonstrations: flags.Demonstrations = None,
    max_length: Annotated[int, typer.Option(help="Tokens of prompt and completion.")] = 512,
    over_long: Annotated[str, typer.Option(help="drop, truncate or raise.")] = "drop",
    on_bad_row: Annotated[str, typer.Option(help="drop or raise.")] = "drop",
) -> None:
    """Count what is in a file: lengths, drops by reason, leakage, contradictions, length bias."""
    from allroads.data.dataset import build
    from allroads.data.tokenise import load_tokeniser

    tokeniser = load_tokeniser(model, max_length=max_length, over_long=over_long)  # type: ignore[arg-type]
    dataset = build(data, demonstrations, tokeniser, on_bad_row=on_bad_row)  # type: ignore[arg-type]
    printing.audit(dataset, every=True)


def doctor() -> None:
    """Check this installation: versions, devices, threads, and one small training step."""
    from allroads.lab.doctor import examine

    lines, healthy = examine()
    typer.echo("\n".join(lines))
    if not healthy:
        raise typer.Exit(1)
