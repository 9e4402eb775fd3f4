from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allroads.lab.study.lines import Cell, Store
from allroads.lab.study.measured import NoEstimate
from allroads.lab.study.table import TUNING, Table
from tests.lab.study.making import moment, policy, scorer

SEED = 1000


def table_of(tmp_path: Path, *lines: Cell) -> Table:
    store = Store(tmp_path)
    for line in lines:
        store.add(line)
    return Table(store)


def start(*seeds: int) -> list[Cell]:
    return [policy("sft", seed, [0.5, 0.5]) for seed in (*TUNING, *seeds)]


def test_the_setting_is_the_selection_scorers_on_the_tuning_seeds_alone(tmp_path: Path):
    # With seed 1000 beta 2 is far better; that must not count. At beta 0.7 half of the training
    # scores 0.9 and all of it 0.8.
    halves = (
        moment([0.1, 0.3], fraction=0.5, selection=0.9),
        moment([0.2, 0.4], fraction=1.0, selection=0.8),
    )
    lines = [policy("dpo", seed, [], 0.7, moments=halves) for seed in (*TUNING, SEED)]
    low = moment([0.0, 0.0], selection=0.1)
    lines += [policy("dpo", seed, [], 2.0, moments=(low,)) for seed in TUNING]
    lines += [policy("dpo", SEED, [1.0, 1.0], 2.0)]
    table = table_of(tmp_path, *start(SEED), *lines)
    setting = table.setting("routes", "dpo")
    assert (setting.value, setting.fraction, setting.trials) == (0.7, 0.5, 3)
    assert table.rewards("routes", "dpo", [SEED]).tolist() == [[0.1, 0.3]]
    # The truth prefers the same setting at its end, 0.3 to 0.2.
    assert table.forgone("routes", "dpo") == pytest.approx(0.1)
    assert table.seeds("routes", "dpo") == sorted([*TUNING, SEED])


def test_selection_is_a_gain_over_the_same_seeds_start(tmp_path: Path):
    # The scorer of seed 901 gives everything 10 more; beta 2 was only run well with it. Gains over
    # the start: beta 1: 0.4 and 0.4; beta 2: 0.1 and 0.5.
    first, second = TUNING
    lines = [
        policy("sft", first, [0.0], moments=(moment([0.0], selection=0.0),)),
        policy("sft", second, [0.0], moments=(moment([0.0], selection=10.0),)),
        policy("dpo", first, [], 1.0, moments=(moment([0.0], selection=0.4),)),
        policy("dpo", second, [], 1.0, moments=(moment([0.0], selection=10.4),)),
        policy("dpo", first, [], 2.0, moments=(moment([0.0], selection=0.1),)),
        policy("dpo", second, [], 2.0, moments=(moment([0.0], selection=10.5),)),
    ]
    assert table_of(tmp_path, *lines).setting("routes", "dpo").value == 1.0


def test_a_trial_that_failed_is_not_chosen_and_one_that_is_missing_not_either(tmp_path: Path):
    first, second = TUNING
    lines = [
        policy("dpo", first, [0.9], 0.2),
        policy("dpo", second, [], 0.2, failed="diverged", moments=()),
        policy("dpo", first, [0.9], 0.3),
        *(policy("dpo", seed, [0.1], 0.7) for seed in TUNING),
    ]
    setting = table_of(tmp_path, *start(), *lines).setting("routes", "dpo")
    assert (setting.value, setting.trials) == (0.7, 1)


def test_what_is_not_there_is_said(tmp_path: Path):
    table = table_of(tmp_path, *start(), policy("dpo", SEED, [0.5], 0.7))
    with pytest.raises(NoEstimate, match="dpo: not tuned"):
        table.rewards("routes", "dpo", [SEED])
    with pytest.raises(NoEstimate, match="ppo: no cell"):
        table.rewards("routes", "ppo", [SEED])
    with pytest.raises(NoEstimate, match="sft, seed 1000: not run"):
        table.rewards("routes", "sft", [SEED])


def test_designs_are_not_mixed_the_newest_counts(tmp_path: Path):
    old = [policy("sft", seed, [0.0], design="old") for seed in (*TUNING, SEED, SEED + 1)]
    later = "2026-02-01T00:00:00+00:00"
    new = [policy("sft", s, [1.0], design="new", created=later) for s in (*TUNING, SEED)]
    table = table_of(tmp_path, *old, *new)
    assert table.seeds("routes", "sft") == sorted([*TUNING, SEED])
    assert table.rewards("routes", "sft", [SEED]).tolist() == [[1.0]]


def test_the_frontier_has_every_setting_at_the_tuned_rate(tmp_path: Path):
    halves = (moment([0.2], kl=1.0, fraction=0.5), moment([0.4], kl=3.0, selection=9.0))
    lines = [
        *(policy("dpo", seed, [], 0.7, moments=halves) for seed in (*TUNING, SEED)),
        *(policy("dpo", seed, [0.1], 0.7, rate=2.0, design="faster") for seed in (*TUNING, SEED)),
    ]
    frontier = table_of(tmp_path, *start(SEED), *lines).frontier("routes", "dpo", [SEED])
    assert [(kl.tolist(), r.tolist()) for kl, r in frontier] == [
        ([[1.0]], [[0.2]]),
        ([[3.0]], [[0.4]]),
    ]


def test_a_scorer_is_taken_where_it_needs_the_fewest_nats_on_the_tuning_seeds(tmp_path: Path):
    # A lead of 1 on every pair costs log(1 + 1/e) = 0.31 nats, of -1 a nat more. With seed 1000 it
    # is the other way round, and does not count.
    lines: list[Cell] = []
    for value, tuned, tested in ((0.2, 1.0, -1.0), (2.0, -1.0, 1.0)):
        for seed in TUNING:
            lines.append(scorer("local-rm", seed, [tuned] * 3, value=value, design=str(value)))
        lines.append(scorer("local-rm", SEED, [tested] * 3, value=value, design=str(value)))
    ((margins, prompts),) = table_of(tmp_path, *lines).margins("routes", "local-rm", [SEED])
    np.testing.assert_array_equal(margins, [-1.0] * 3)
    assert prompts == ["0", "1", "2"]


def test_margins_on_what_was_not_asked_are_missing(tmp_path: Path):
    table = table_of(tmp_path, scorer("reward-model", SEED, [1.0]))
    with pytest.raises(NoEstimate, match="no margins on 'paraphrased'"):
        table.margins("routes", "reward-model", [SEED], on="paraphrased")


def test_a_nat_of_kl_has_its_price(tmp_path: Path):
    # Beta 0.2 pleases the scorer by 2.0, 8 nats away: 2.0 - 0.3 x 8 is below beta 0.7's 0.5.
    far, near = moment([0.0], selection=2.5, kl=8.0), moment([0.7], selection=1.0, kl=0.0)
    lines = [policy("dpo", seed, [], 0.2, moments=(far,)) for seed in TUNING]
    lines += [policy("dpo", seed, [], 0.7, moments=(near,)) for seed in TUNING]
    assert table_of(tmp_path, *start(), *lines).setting("routes", "dpo").value == 0.7
