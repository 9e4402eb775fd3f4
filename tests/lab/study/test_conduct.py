from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from allroads.lab.study import conduct as module
from allroads.lab.study.conduct import conduct, outstanding
from allroads.lab.study.lines import Store
from allroads.lab.study.running import Batch, Place
from allroads.lab.study.table import TUNING
from allroads.lab.study.variants import RATES, VARIANTS, Grid
from tests.lab.study.making import moment, policy


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """Batches that were run; each DPO trial of the second rate pleases the selection scorer."""
    batches: list[Batch] = []

    def run(batch: Batch, place: Place, told: object) -> int:
        batches.append(batch)
        if batch.seeds == TUNING:
            for arm in ("sft", "dpo"):
                score = 1.0 if arm == "dpo" and batch.rate == RATES[1] else 0.0
                for seed in TUNING:
                    moments = (moment([0.5], selection=score),)
                    value = 0.7 if arm == "dpo" else None
                    line = policy(arm, seed, [], value, moments=moments, rate=batch.rate)
                    place.store.add(line)
        return 0

    monkeypatch.setattr(module, "run", run)
    return batches


def place(tmp_path: Path, until: float = float("inf")) -> Place:
    return Place(store=Store(tmp_path), work=tmp_path / "work", until=until)


def test_every_arm_is_tuned_before_it_is_tested_at_its_own_rate(ran: list[Batch], tmp_path: Path):
    needs = {"routes": {"dpo": False, "local-rm": True}}
    assert conduct(needs, (0, 1), place(tmp_path), print) == []
    tuning, tested = ran[: len(RATES)], ran[len(RATES) :]
    assert [(b.rate, b.seeds) for b in tuning] == [(rate, TUNING) for rate in RATES]
    assert {(b.rate, b.arms, b.betas) for b in tested} == {
        # A scorer makes no policy: the recipe's own rate, and every setting.
        (1.0, ("sft", "local-rm"), ()),
        (RATES[1], ("dpo",), (0.7,)),
    }
    assert all(b.seeds == (0, 1) for b in tested)


def test_where_a_frontier_is_read_every_setting_is_run(ran: list[Batch], tmp_path: Path):
    assert conduct({"routes": {"dpo": True}}, (0,), place(tmp_path), print) == []
    assert (RATES[1], ("dpo",), ()) in {(b.rate, b.arms, b.betas) for b in ran[len(RATES) :]}


def test_an_arm_of_another_grid_is_tuned_over_that(ran: list[Batch], tmp_path: Path):
    own = VARIANTS["routes"].model_copy(
        update={"grids": {"rloo": Grid(rates=(1.0,), betas=(0.5, 2.0))}}
    )
    needs = {"routes": {"dpo": False, "rloo": True}}
    assert conduct(needs, (0,), replace(place(tmp_path), worlds={"routes": own}), print) == []
    tuned = {(b.rate, b.arms, b.betas) for b in ran if b.seeds == TUNING}
    assert tuned == {
        *((rate, ("sft", "dpo"), ()) for rate in RATES),
        (1.0, ("rloo",), (0.5, 2.0)),
    }
    # It has no trial here (the double runs none), and is read at every setting of its own.
    assert (1.0, ("rloo",), (0.5, 2.0)) in {(b.rate, b.arms, b.betas) for b in ran}


def test_what_the_time_did_not_reach_is_left_out_and_said(ran: list[Batch], tmp_path: Path):
    late = place(tmp_path, time.monotonic() - 1)
    needs = {"routes": {"dpo": False}, "secret": {"dpo": False, "rloo": False}}
    left = conduct(needs, (0,), late, print)
    assert left == ["routes: dpo (the time was up)", "secret: dpo, rloo (the time was up)"]
    assert ran == []


def test_a_world_reads_no_more_seeds_than_it_affords(ran: list[Batch], tmp_path: Path):
    dear = VARIANTS["routes"].model_copy(update={"most_seeds": 2})
    some = replace(place(tmp_path), worlds={"routes": dear})
    assert conduct({"routes": {"dpo": False}}, (5, 6, 7), some, print) == []
    assert {b.seeds for b in ran} == {TUNING, (5, 6)}


def test_a_world_of_text_waits_for_a_model(ran: list[Batch], tmp_path: Path):
    assert conduct({"sentiment": {"dpo": False}}, (0,), place(tmp_path), print) == [
        "sentiment: dpo (needs --model)"
    ]
    assert ran == []


def test_what_is_outstanding_is_counted_with_the_tuning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    counted: list[Batch] = []

    def missing(batch: Batch, _: Place) -> int:
        counted.append(batch)
        return 10 if batch.seeds == TUNING else 3

    monkeypatch.setattr(module, "missing", missing)
    needs = {"routes": {"dpo": False}, "sentiment": {"dpo": False}}  # The second needs a model.
    assert outstanding(needs, (0,), place(tmp_path)) == {"routes": 23}
    assert [b.rate for b in counted] == [*RATES, 1.0]
