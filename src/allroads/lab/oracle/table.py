"""The oracle's table: for every road, the gradient it gives against the gradient it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from allroads.lab.oracle.ground import GROUNDS, Ground, Problem, problem
from allroads.lab.oracle.leaves import Leaves, flat_gradient, leaves_of
from allroads.lab.oracle.named import NAMED
from allroads.lab.oracle.production import gradient
from allroads.roads.atlas import Recipe, atlas
from allroads.roads.stage import Road, Stage

BETA = 0.7
N = 2
RECIPE = Recipe(batch_samples=3, group=2)
"""Three samples a prompt: the least at which the best and the worst leave one out."""


TOLERANCE = 1e-9
"""Greatest difference that rounding may leave, as a share of the greatest entry."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One road, every stage of it examined on every ground on which its objective is exact."""

    road: str
    stage: str
    """The last stage that trains."""
    objective: str
    """What that stage names, in words."""
    difference: float
    """Greatest difference of the two gradients in any stage, as a share of the greatest entry."""
    followed: float | None
    """What the last gradient would change by, in the same unit, if it followed how pi's own samples
    change; None where it does, or where pi writes nothing."""

    @property
    def right(self) -> bool:
        """The road's gradients are those of the objectives that it names."""
        return self.difference <= TOLERANCE


def roads(recipe: Recipe = RECIPE) -> dict[str, Road]:
    """Every road with its knob set."""
    return {
        name: road.at({"beta": BETA, "N": N, "": None}[road.knob])
        for name, road in atlas(recipe=recipe).items()
    }


def trained_stages(road: Road) -> list[Stage]:
    """The stages of a road that have a gradient."""
    return [stage for stage in road.stages if stage.trains]


def named_gradient(problem: Problem, leaves: Leaves, *, held_fixed: bool = True) -> Tensor:
    """Flat gradient of the objective that the stage names.

    Args:
        problem: the stage and its models.
        leaves: its tables, from `leaves_of`.
        held_fixed: whether samples count as given, as the stages' own code takes them. False
            follows how a change of pi changes what it writes.
    """
    if held_fixed and leaves.writer is not None:
        leaves = replace(leaves, writer=leaves.writer.detach())
    stage = problem.stage
    value = NAMED[stage.objective.loss].value(stage, leaves)
    return flat_gradient(value, problem.trainee.model)


def difference(found: Tensor, named: Tensor) -> float:
    """Greatest difference of two gradients, as a share of the greatest entry of the second."""
    return float((found - named).abs().max() / named.abs().max())


def examine(ground: Ground, road: Road, stage: Stage) -> tuple[float, float | None]:
    """`difference` and `followed` of a row, on one ground."""
    this = problem(ground, road, stage)
    leaves = leaves_of(this)
    named = named_gradient(this, leaves)
    full = named_gradient(this, leaves, held_fixed=False)
    apart = difference(full, named)
    return difference(gradient(this), named), apart if apart > 0 else None


def exact_on(stage: Stage) -> list[Ground]:
    """The grounds on which the stage's objective does not depend on the other samples.

    A policy gradient on completions that were cut has the round's lowest score in its reward; see
    `biases.cut_short`.
    """
    whole = stage.pick == "group"
    return [ground for ground in GROUNDS.values() if ground.whole or not whole]


def table(recipe: Recipe = RECIPE) -> Iterator[Row]:
    """Every road; a kind of stage that several roads have is examined once."""
    known: dict[str, tuple[float, float | None]] = {}
    for name, road in roads(recipe).items():
        stages = trained_stages(road)
        for stage in stages:
            key = _key(road, stage)
            if key not in known:
                known[key] = _examine_everywhere(road, stage)
        last = stages[-1]
        yield Row(
            road=name,
            stage=last.name,
            objective=NAMED[last.objective.loss].words(last),
            difference=max(known[_key(road, stage)][0] for stage in stages),
            followed=known[_key(road, last)][1],
        )


def _examine_everywhere(road: Road, stage: Stage) -> tuple[float, float | None]:
    found = [examine(ground, road, stage) for ground in exact_on(stage)]
    followed = [f for _, f in found if f is not None]
    return max(d for d, _ in found), max(followed) if followed else None


def _key(road: Road, stage: Stage) -> str:
    """What the gradient of a stage depends on: not its name, its schedule, or its road."""
    labeller = next((one for one in road.stages if one.name == stage.labeller), None)
    kind = stage.labeller if labeller is None else f"{labeller.kind} {labeller.objective}"
    reference = bool(stage.objective.reference)
    objective = stage.objective.model_copy(update={"reference": str(reference)})
    return f"{stage.source} {kind} {stage.pick} {objective}"
