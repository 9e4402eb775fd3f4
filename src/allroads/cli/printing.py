"""What several commands print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def audit(dataset: Any, *, every: bool = False) -> None:
    """Warnings of the data audit; with `every` all that it counted."""
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


def results(results: Any) -> None:
    """Each road at its selected setting, and the verdict."""
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


def trackers(folder: Path, config: Any) -> None:
    """Where the live curves are."""
    from allroads.lab.tracking import where_to_look

    for line in where_to_look(folder, config):
        typer.echo(f"Curves: {line}")
