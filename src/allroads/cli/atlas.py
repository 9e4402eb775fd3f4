"""`roads`: the table of roads, and what two rows change."""

from __future__ import annotations

from typing import Annotated

import typer


def roads(
    *,
    diff: Annotated[
        str | None, typer.Option(help="Two names, comma-separated: the fields that differ.")
    ] = None,
    start: Annotated[str, typer.Option(help="sft, sft-chosen or base.")] = "sft",
) -> None:
    """Print the table of roads, or the difference of two rows."""
    from allroads.errors import ConfigError
    from allroads.roads.atlas import atlas
    from allroads.roads.differences import differences
    from allroads.roads.relabel import LABELLERS, named

    table = atlas(start)
    if diff is not None:
        names = [name.strip() for name in diff.split(",")]
        if len(names) != 2:
            raise ConfigError(f"--diff takes two names, comma-separated, got {diff!r}")
        rows = differences(*(named(name, table) for name in names))
        width = max([len(row[0]) for row in rows], default=5) + 2
        column = max(28, len(names[0]) + 2)
        typer.echo(f"{'field':<{width}}{names[0]:<{column}}{names[1]}")
        for field, left, right in rows:
            typer.echo(f"{field:<{width}}{left:<{column}}{right}")
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
    typer.echo(
        "A road that ends in sampled completions can be asked for with another labeller, for "
        f"example rloo@verifier or online-dpo@judge. Labellers: {', '.join(LABELLERS)}."
    )
