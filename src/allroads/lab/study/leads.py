"""Whether the verifier's lead over likelihood says which road pays, world by world."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from allroads.evaluation import scorers
from allroads.lab.study.measured import NoEstimate, first_seeds
from allroads.lab.study.statistics import Difference
from allroads.lab.study.table import TUNING, Table
from allroads.lab.verdict import to_mean
from allroads.records import Mean
from allroads.studies import LeadRow

VERIFIER, LIKELIHOOD = "reward-model", "dpo"
"""A scalar head, and the policy of likelihood read as a reward model."""
SEARCH, ONLINE = "best-of-n", "online-dpo"


def leads(table: Table, variants: Sequence[str], seeds: Sequence[int]) -> tuple[LeadRow, ...]:
    """One row for each world on which all of it was measured, the largest lead first."""
    rows = []
    for variant in variants:
        gains = [Difference(variant, arm, LIKELIHOOD) for arm in (SEARCH, ONLINE)]
        try:
            lead = _lead(table, variant)
            search, online = (
                to_mean(first_seeds(seeds, partial(one.estimate, table))[1]) for one in gains
            )
        except NoEstimate:
            continue
        rows.append(LeadRow(variant=variant, lead=lead, search=search, online=online))
    return tuple(sorted(rows, key=lambda row: -row.lead.value))


def _lead(table: Table, variant: str) -> Mean:
    """On the tuning seeds, which alone have every setting of DPO: that of the fewest nats is read.

    Two seeds allow no interval; and what the roads gain is measured on others.
    """
    ours, theirs = (
        np.mean(
            [scorers.hits(margins).mean() for margins, _ in table.margins(variant, arm, TUNING)]
        )
        for arm in (VERIFIER, LIKELIHOOD)
    )
    return Mean(value=float(ours - theirs), seeds=len(TUNING))
