"""Pairs that are no row of the data: demonstrations against samples, and pairs labelled anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from allroads.errors import TrainingError
from allroads.judges import CallableLabeller
from allroads.models.states import Rows
from allroads.roads import sources
from allroads.rollouts.sampler import sample
from tests.roads import problem
from tests.roads.problem import (
    PROMPTS,
    STAGES,
    dataset,
    made_of,
    supplies,
    tiny_policy,
    token_sum,
)
from tests.roads.test_sources import round_of, scripted

# Demonstrations against own samples -------------------------------------------------------------


def test_each_demonstration_stands_above_a_sample_of_the_policy():
    round_, cost = round_of(STAGES["spin"])
    shown = {(row.prompt, row.completion) for row in dataset().demonstrations}
    assert len(round_.units) == round_.slots == 5
    for unit in round_.units:
        better, worse = unit.completions
        assert (unit.prompt, better) in shown
        assert better != worse
    assert set(round_.facts) == {"unfinished", "length", "dropped"}
    # The data's texts are the only labels: nobody is asked for a score.
    assert (cost.demonstrations, cost.labels) == (10, 0)
    assert (cost.scorer_queries, cost.outside_queries) == (0, 0)
    assert cost.tokens_sampled == round_.facts["length"] * 5


@torch.no_grad()
def test_the_writer_itself_is_the_reference_of_its_round():
    writer, stage = tiny_policy(seed=5), STAGES["spin"]
    round_ = problem.round_of(stage, supplies(stage, tiny_policy()), writer)
    for unit in round_.units:
        rows = Rows([unit.prompt] * 2, unit.completions)
        assert unit.reference == pytest.approx(writer.sequence_logprobs(rows).tolist(), abs=1e-4)


def test_the_rounds_walk_through_all_demonstrations():
    stage = STAGES["spin"]
    rows = [
        (unit.prompt, unit.completions[0]) for i in (0, 1) for unit in round_of(stage, i)[0].units
    ]
    every = [(row.prompt, row.completion) for row in dataset().demonstrations]
    assert sorted(rows) == sorted(every)


def test_chosen_completions_stand_in_for_demonstrations():
    data = dataset()
    without = made_of(data.pairs["train"], (), PROMPTS)
    assert round_of(STAGES["spin"], dataset=without)[0].units == round_of(STAGES["spin"])[0].units
    with pytest.raises(TrainingError, match="'spin' has no demonstrations or chosen completions"):
        round_of(STAGES["spin"], dataset=made_of((), (), PROMPTS))


def test_a_sample_that_is_the_demonstration_says_nothing(monkeypatch: pytest.MonkeyPatch):
    """One of the five samples is the text itself: that unit is dropped, and counted."""
    stage = STAGES["spin"]
    whole, _ = round_of(stage)
    text = whole.units[0].completions[0]

    def echo(*args, **options):
        groups = sample(*args, **options)
        logprobs = (-1.0,) * len(text)
        same = replace(groups[0][0], tokens=text, token_logprobs=logprobs, stop="eos")
        return [[same], *groups[1:]]

    monkeypatch.setattr(sources, "sample", echo)
    holed, _ = round_of(stage)
    assert [unit.slot for unit in holed.units] == [1, 2, 3, 4]
    assert (holed.slots, holed.facts["dropped"]) == (5, 1)


# Pairs that are labelled anew ---------------------------------------------------------------------


def test_relabelled_pairs_follow_the_labeller_not_the_data():
    round_, cost = round_of(STAGES["dpo-relabelled"])
    pairs, turned = dataset().pairs["train"], 0
    for unit in round_.units:
        pair = pairs[unit.slot]
        better, worse = token_sum([unit.prompt] * 2, unit.completions)
        assert better > worse
        assert set(unit.completions) == {pair.chosen, pair.rejected}
        turned += unit.completions[0] == pair.rejected
    assert 0 < turned < len(round_.units)
    assert round_.slots == 10
    ties = 10 - len(round_.units)
    assert round_.facts == {"turned": turned / len(round_.units), "dropped": ties}
    # The order of the data's labels was not read, but both answers of each pair were scored.
    assert (cost.labels, cost.outside_queries, cost.scorer_queries) == (0, 20, 0)


@pytest.mark.parametrize("labeller", [scripted(1.0, 1.0), scripted(1.0, None), scripted(None, 1.0)])
def test_a_tie_or_a_failed_score_drops_a_relabelled_pair(labeller: CallableLabeller):
    round_, _ = round_of(STAGES["dpo-relabelled"], labeller=labeller)
    assert round_.units == ()
    assert round_.facts == {"turned": 0, "dropped": 10}


@pytest.mark.parametrize(("scores", "turned"), [((0.0, -1.0), 0.0), ((-1.0, 0.0), 1.0)])
def test_a_score_of_zero_orders_a_relabelled_pair(scores: tuple[float, float], turned: float):
    round_, _ = round_of(STAGES["dpo-relabelled"], labeller=scripted(*scores))
    assert len(round_.units) == 10
    assert round_.facts["turned"] == turned


@torch.no_grad()
def test_a_relabelled_pair_keeps_its_reference_by_side(tmp_path: Path):
    """Neither a turned order nor the offline cache, in the data's order, mixes them up."""
    cache = tmp_path / "reference.json"
    round_of(STAGES["dpo"], reference_cache=cache)
    assert cache.is_file()
    reference, stage = tiny_policy(), STAGES["dpo-relabelled"]
    round_, _ = round_of(stage, labeller=scripted(-1.0, 1.0), reference_cache=cache)
    for unit in round_.units:
        rows = Rows([unit.prompt] * 2, unit.completions)
        expected = reference.sequence_logprobs(rows).tolist()
        assert unit.reference == pytest.approx(expected, abs=1e-4)
