"""Margin-matched pairs: leads like those that the labeller gives the data's own pairs."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allroads.errors import TrainingError
from allroads.judges import CallableLabeller
from allroads.records import Cost
from allroads.roads.picks import lead, margin_matched
from allroads.roads.sources import with_leads
from allroads.seeding import child
from tests.roads.problem import (
    CONTROLS,
    Killed,
    counters,
    dataset,
    die_at,
    round_of,
    run,
    supplies,
    tiny_policy,
    token_sum,
)
from tests.roads.test_picks import CUT, A, B, C, D, one

STAGE = CONTROLS["online-dpo-margin"]
PAIRS = dataset().pairs["train"]
LEADS = [
    abs(a - b)
    for pair in PAIRS
    for a, b in [token_sum([pair.prompt] * 2, (pair.chosen, pair.rejected))]
]


def test_the_nearest_lead_by_hand():
    # Scores 1, 2, 3, 4 make leads 1 (three times), 2 (twice) and 3 (once).
    for order in itertools.permutations([A, B, C, D]):
        assert margin_matched(order, 5.0) == margin_matched(order, 2.6) == (D, A)
        # Of equally near leads the larger; of equal ones that whose better side is better.
        assert margin_matched(order, 2.1) == margin_matched(order, 1.5) == (D, B)
        assert margin_matched(order, 0.0) == (D, C)


def test_ties_failures_and_cut_texts_make_no_lead():
    assert margin_matched([A, one(1.0, 7)], 0.0) is None
    assert margin_matched([A, one(9.0, 1)], 1.0) is None  # the same text
    assert margin_matched([A, one(math.nan, 7)], 0.0) is None
    assert margin_matched([A, one(math.nan, 7), C], 0.0) == (C, A)
    assert margin_matched([CUT, one(8.0, 6, finished=False)], 1.0) is None
    assert margin_matched([CUT, A], 0.0) == (A, CUT)


@given(
    st.lists(st.integers(-3, 3), min_size=2, max_size=6),
    st.floats(0, 8),
    st.randoms(use_true_random=False),
)
def test_no_pair_is_nearer_and_order_never_decides(scores: list[int], target: float, rng):
    group = [one(float(score), text) for text, score in enumerate(scores)]
    found = margin_matched(group, target)
    leads = [abs(a - b) for a, b in itertools.combinations(scores, 2) if a != b]
    if found is None:
        assert not leads
        return
    assert lead(found) > 0
    assert abs(lead(found) - target) == min(abs(x - target) for x in leads)
    rng.shuffle(group)
    assert margin_matched(group, target) == found


def test_each_pair_is_the_nearest_to_a_lead_drawn_from_the_datas():
    start, cost = tiny_policy(), Cost()
    given_ = supplies(STAGE, start)
    round_ = round_of(STAGE, given_, start, 2, cost)
    known = [x for x in LEADS if x > 0]
    rng = child(given_.seed, given_.address, "leads", 2)
    targets = rng.choice(known, round_.slots).tolist()
    wanted, had = [], []
    for unit in round_.units:
        a, b = token_sum([unit.prompt] * 2, unit.completions)
        wanted.append(targets[unit.slot])
        had.append(a - b)
    assert round_.facts["target_lead"] == pytest.approx(np.mean(wanted))
    finished = [unit for unit in round_.units if all(c[-1] == 0 for c in unit.completions)]
    if len(finished) == len(round_.units):
        assert round_.facts["picked_lead"] == pytest.approx(np.mean(had))
    # Both sides of every pair of the data, then every sample.
    k = STAGE.source.per_prompt
    assert k is not None
    assert cost.outside_queries == 2 * len(PAIRS) + k * round_.slots


def test_leads_follow_the_datas_where_samples_offer_any(all_finish: None):
    """Twelve rounds of four: realised leads against the data's, in the mean and in the spread.

    With three samples a prompt the choice is coarse; the mean lead asked and the mean lead had
    differ by less than the deviation of what was asked.
    """
    start = tiny_policy()
    given_ = supplies(STAGE, start)
    facts = [round_of(STAGE, given_, start, i).facts for i in range(12)]
    asked = np.mean([f["target_lead"] for f in facts])
    had = np.mean([f["picked_lead"] for f in facts])
    assert abs(asked - had) < np.std(LEADS)


def test_the_datas_pairs_are_scored_once_and_paid_for_once(tmp_path: Path):
    asked = 0

    def score(prompts, completions):
        nonlocal asked
        asked += len(prompts)
        return token_sum(prompts, completions)

    labeller = CallableLabeller(score)
    _, cost = run(STAGE, tmp_path / "a", labeller=labeller)
    assert asked == cost.outside_queries
    with pytest.raises(Killed):
        run(STAGE, tmp_path / "b", labeller=labeller, progress=die_at(3), checkpoint_seconds=0)
    _, again = run(STAGE, tmp_path / "b", labeller=labeller, checkpoint_seconds=0)
    assert counters(again) == counters(cost)


def test_a_labeller_that_tells_nothing_apart_is_said():
    same = CallableLabeller(lambda prompts, completions: [1.0] * len(prompts))
    given_ = supplies(STAGE, tiny_policy(), labeller=same)
    with pytest.raises(TrainingError, match="it tells none of 10 apart"):
        with_leads(STAGE, given_, Cost())
