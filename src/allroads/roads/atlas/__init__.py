"""The table of roads: each is a row of stages; none has a trainer of its own.

`atlas()` is written for a start policy (the stage every road descends from) and the recipe's
schedules, so that all roads share both. `all_controls()` are roads beside it, each one field away
from a neighbour; `every_road()` holds both.
"""

from __future__ import annotations

from itertools import chain

from allroads.roads.atlas.common import Common
from allroads.roads.atlas.controls import CHAIN, Control, controls
from allroads.roads.atlas.offline import likelihood, offline, scorers
from allroads.roads.atlas.online import best_of_n, online_pairs, policy_gradients
from allroads.roads.atlas.recipe import Recipe
from allroads.roads.stage import Road

_FAMILIES = (likelihood, scorers, offline, best_of_n, online_pairs, policy_gradients)


def atlas(start: str = "sft", recipe: Recipe | None = None) -> dict[str, Road]:
    """Every named road.

    Args:
        start: what the roads descend from: 'sft', 'sft-chosen' or 'base'.
        recipe: schedules; the default suits the built-in world.

    Raises:
        ConfigError: for an unknown start.
    """
    common = Common(start, recipe or Recipe())
    rows = chain.from_iterable(family(common) for family in _FAMILIES)
    return {road.name: road for road in rows}


def all_controls(start: str = "sft", recipe: Recipe | None = None) -> dict[str, Control]:
    """Every control, with its neighbour and the field in which they differ; see `atlas`."""
    recipe = recipe or Recipe()
    return controls(Common(start, recipe), atlas(start, recipe))


def every_road(start: str = "sft", recipe: Recipe | None = None) -> dict[str, Road]:
    """The named roads, then the controls; see `atlas`."""
    beside = {name: control.road for name, control in all_controls(start, recipe).items()}
    return {**atlas(start, recipe), **beside}


__all__ = ["CHAIN", "Control", "Recipe", "all_controls", "atlas", "every_road"]
