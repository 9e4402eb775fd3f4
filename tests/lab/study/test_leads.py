"""The verifier's lead over likelihood, and what the roads gain."""

from __future__ import annotations

from pathlib import Path

import pytest

from allroads.lab.study.leads import leads
from allroads.lab.study.lines import Store
from allroads.lab.study.table import TUNING, Table
from tests.lab.study.making import policy, scorer

SEEDS = (1000, 1001)


def world(store: Store, name: str, right: int, search: float = 0.2) -> None:
    """Of ten pairs the verifier orders `right`, likelihood at its better beta six."""
    for seed in TUNING:
        margins = [1.0] * right + [-1.0] * (10 - right)
        store.add(scorer("reward-model", seed, margins, variant=name))
        # The beta of the fewest nats is read, not that of the most hits.
        sure = [9.0] * 6 + [-0.1] * 4
        store.add(scorer("dpo", seed, sure, value=0.3, knob="beta", design="a", variant=name))
        rash = [0.1] * 8 + [-9.0] * 2
        store.add(scorer("dpo", seed, rash, value=1.0, knob="beta", design="b", variant=name))
    for seed in (*TUNING, *SEEDS):
        store.add(policy("sft", seed, [0.0, 0.0], variant=name))
        store.add(policy("dpo", seed, [0.2, 0.4], 0.3, variant=name))
        store.add(policy("best-of-n", seed, [0.2 + search, 0.4 + search], variant=name))
        store.add(policy("online-dpo", seed, [0.1, 0.3], 0.3, variant=name))


def test_leads_and_gains_are_differences_from_likelihood(tmp_path: Path):
    store = Store(tmp_path)
    world(store, "spell", 7)
    world(store, "routes", 9)
    world(store, "secret", 4, search=-0.1)
    store.add(policy("sft", 1000, [0.0], variant="preimage-0"))  # Nothing else is there.
    rows = leads(Table(store), store.variants(), SEEDS)
    assert [row.variant for row in rows] == ["routes", "spell", "secret"]
    assert [row.lead.value for row in rows] == pytest.approx([0.3, 0.1, -0.2])
    assert rows[0].lead.low is None
    assert [row.search.value for row in rows] == pytest.approx([0.2, 0.2, -0.1])
    assert [row.online.value for row in rows] == pytest.approx([-0.1] * 3)
