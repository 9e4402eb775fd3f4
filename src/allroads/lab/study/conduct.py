"""Conducts studies: which cells in which order, tuned before they are tested, within a budget."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from allroads.lab.study.lines import Cell
from allroads.lab.study.measured import NoEstimate
from allroads.lab.study.running import Batch, Place, missing, run
from allroads.lab.study.table import TUNING, Table
from allroads.lab.study.variants import RATES, START, Grid

_TOGETHER = 6
"""Arms of one batch: enough to fill the cores, few enough that a budget ends between them."""
Needs = Mapping[str, Mapping[str, bool]]
"""Arms by variant, both in the order in which they are run; of each arm whether every setting is
read with the study's seeds, or the tuned one alone."""


def conduct(
    needs: Needs, seeds: tuple[int, ...], place: Place, told: Callable[[Cell], None]
) -> list[str]:
    """Tune every arm that is not tuned, then run it with the seeds; nothing is run twice.

    A world reads its first seeds alone, as many as its variant says.

    Returns:
        What is left out and why, a sentence each.
    """
    left = []
    for name, arms in needs.items():
        if place.worlds[name].needs_model and place.model is None:
            left.append(f"{name}: {', '.join(arms)} (needs --model)")
            continue
        late: list[str] = []
        names = list(arms)
        for at in range(0, len(names), _TOGETHER):
            some = {arm: arms[arm] for arm in names[at : at + _TOGETHER]}
            chunk = {START: False} | some
            if time.monotonic() > place.until or not _chunk(name, chunk, seeds, place, told):
                late += some
        if late:
            left.append(f"{name}: {', '.join(late)} (the time was up)")
    return left


def _chunk(
    name: str,
    arms: Mapping[str, bool],
    seeds: tuple[int, ...],
    place: Place,
    told: Callable[[Cell], None],
) -> bool:
    """Whether all of it is there in the end."""
    if any(run(batch, place, told) for batch in _tuning(name, arms, place)):
        return False
    return not sum(run(batch, place, told) for batch in _tuned(name, arms, seeds, place))


def _tuning(name: str, arms: Collection[str], place: Place) -> list[Batch]:
    """The trials of every arm; arms that are tuned over the same settings together."""
    world = place.worlds[name]
    groups: dict[Grid, list[str]] = defaultdict(list)
    for arm in arms:
        groups[world.grid(arm)].append(arm)
    return [
        Batch(variant=world, arms=tuple(group), seeds=TUNING, rate=rate, betas=grid.betas)
        for grid, group in groups.items()
        for rate in grid.rates
    ]


def _tuned(
    name: str, arms: Mapping[str, bool], seeds: tuple[int, ...], place: Place
) -> list[Batch]:
    """The arms with the seeds, each at its tuned learning rate and setting, or at every setting.

    What makes no policy, and what is not tuned yet, takes the recipe's own rate and all settings.
    """
    table, world = Table(place.store, place.entropies), place.worlds[name]
    own = seeds[: world.most_seeds]
    groups: dict[tuple[float, tuple[float, ...]], list[str]] = defaultdict(list)
    for arm, every in arms.items():
        try:
            found = table.setting(name, arm)
        except NoEstimate:
            groups[RATES[0], world.grid(arm).betas].append(arm)
            continue
        alone = found.value if found.knob == "beta" and not every else None
        betas = world.grid(arm).betas if alone is None else (alone,)
        groups[found.rate, betas].append(arm)
    return [
        Batch(variant=world, arms=tuple(group), seeds=own, rate=rate, betas=betas)
        for (rate, betas), group in sorted(groups.items())
    ]


def outstanding(needs: Needs, seeds: tuple[int, ...], place: Place) -> dict[str, int]:
    """How many cells of each variant are still to be run, tuning included; of those that can be."""
    return {
        name: sum(
            missing(batch, place)
            for batch in (
                *_tuning(name, arms, place),
                *_tuned(name, arms, seeds, place),
            )
        )
        for name, arms in needs.items()
        if place.model is not None or not place.worlds[name].needs_model
    }
