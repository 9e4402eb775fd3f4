"""`roads`: the table of roads, and what two rows change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from allroads.roads.stage import Road


def roads(
    *,
    diff: Annotated[
        str | None, typer.Option(help="Two names, comma-separated: the fields that differ.")
    ] = None,
    start: Annotated[str, typer.Option(help="sft, sft-chosen or base.")] = "sft",
) -> None:
    """Print the table of roads and their controls, or the difference of two rows."""
    from allroads.errors import ConfigError
    from allroads.roads.atlas import all_controls, atlas, every_road
    from allroads.roads.differences import differences
    from allroads.roads.relabel import LABELLERS, named

    if diff is not None:
        names = [name.strip() for name in diff.split(",")]
        if len(names) != 2:
            raise ConfigError(f"--diff takes two names, comma-separated, got {diff!r}")
        table = every_road(start)
        both = [named(name, table) for name in names]
        rows = differences(*both)
        width = max([len(row[0]) for row in rows], default=5) + 2
        column = max(28, len(names[0]) + 2)
        typer.echo(f"{'field':<{width}}{names[0]:<{column}}{names[1]}")
        for field, left, right in rows:
            typer.echo(f"{field:<{width}}{left:<{column}}{right}")
        typer.echo(_in_words(*both) if rows else "no difference")
        return
    for road in atlas(start).values():
        _print(road, road.source)
    typer.echo("Controls, each one field away from another road:")
    for control in all_controls(start).values():
        _print(control.road, f"{control.neighbour} but for {control.field}")
    typer.echo(
        "A road that ends in sampled completions can be asked for with another labeller, for "
        f"example rloo@verifier or online-dpo@judge. Labellers: {', '.join(LABELLERS)}."
    )


def _in_words(a: Road, b: Road) -> str:
    """Whether it is one field that two roads differ in."""
    from allroads.errors import ConfigError
    from allroads.roads.differences import one_field

    try:
        found = one_field(a, b)
    except ConfigError:
        return "more than one field"
    entailed = ", ".join(name for name, _, _ in found.entailed)
    return f"one field: {found.field}" + (f" (entails {entailed})" if entailed else "")


def _print(road: Road, remark: str) -> None:
    typer.echo(f"{road.name}: {road.summary}" + (f" ({remark})" if remark else ""))
    for stage in road.stages:
        source = stage.source
        who = source.words
        if source.sampled:
            who += f" x{source.per_prompt or 'N'} ({source.refresh})"
        typer.echo(
            f"    {stage.name:<14} from {stage.start:<11} {who} / {stage.labeller} / "
            f"{stage.pick} / {stage.objective.words}"
        )
