"""The A/A test on real cells: one road run twice with each of many seeds."""

from __future__ import annotations

from collections.abc import Callable

from allroads.lab.study import aa
from allroads.lab.study.lines import Cell, Store
from allroads.lab.study.measured import NoEstimate
from allroads.lab.study.running import Batch, Place, run
from allroads.lab.study.table import Table
from allroads.lab.study.variants import AGAIN, ONCE, variant
from allroads.seeding import child
from allroads.studies import EqualsRow

POOL = tuple(range(100, 140))
"""Seeds of the pool; no verdict reads them."""


def fill_pool(name: str, place: Place, told: Callable[[Cell], None]) -> int:
    """Run what the pool lacks, at the setting that DPO was tuned to; how many cells are left.

    Raises:
        NoEstimate: when DPO has not been tuned on this variant.
    """
    setting = Table(place.store).setting(name, ONCE)
    assert setting.value is not None
    batch = Batch(
        variant=variant(name),
        arms=(ONCE, AGAIN),
        seeds=POOL,
        rate=setting.rate,
        betas=(setting.value,),
    )
    return run(batch, place, told)


def equals(store: Store, name: str) -> list[EqualsRow]:
    """What the pool says of the lab's rule of claiming; nothing while it is not full."""
    table = Table(store)
    try:
        setting = table.setting(name, ONCE)
        once, twice = (table.rewards(name, arm, POOL, setting) for arm in (ONCE, AGAIN))
    except NoEstimate:
        return []
    found = (
        aa.replicates(once, twice, rng=child(0, "a/a", "replicates")),
        aa.halves(once, rng=child(0, "a/a", "halves")),
    )
    return [
        EqualsRow(
            words=f"{name}, {ONCE}: {one.words}",
            draws=one.draws,
            claims=one.claims,
            bound=one.bound,
            passes=one.passes,
        )
        for one in found
    ]
