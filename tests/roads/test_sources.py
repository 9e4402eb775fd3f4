"""A round's material: whose prompts, whose completions, what is known about them, what it cost."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from allroads.errors import TrainingError
from allroads.judges import CallableLabeller, GlobalLabeller, LocalLabeller
from allroads.models.reward_model import reward_model_on
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads.choices import Schedule, Source
from allroads.roads.sources import _walk, gather, planned_slots
from allroads.roads.stage import Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Round
from tests.roads import problem
from tests.roads.problem import (
    ANSWERS,
    ONLINE,
    PROMPTS,
    STAGES,
    dataset,
    made_of,
    supplies,
    tiny_policy,
    token_sum,
)

LABELLED = [name for name in ONLINE if STAGES[name].labeller != "data"]


def changed(name: str, **changes: object) -> Stage:
    return Stage.model_validate({**dict(STAGES[name]), **changes})


def round_of(stage: Stage, index: int = 0, **changes: object) -> tuple[Round, Cost]:
    cost = Cost()
    policy = tiny_policy()
    return problem.round_of(stage, supplies(stage, policy, **changes), policy, index, cost), cost


def walked(stage: Stage, given_: Supplies, index: int) -> list[str]:
    prompts = _walk(stage, given_, given_.dataset.prompts["train"], index)
    return [prompt.prompt_id for prompt in prompts]


# Prompts ----------------------------------------------------------------------------------------


@given(
    rounds=st.integers(1, 12),
    batch=st.integers(1, 9),
    refresh=st.sampled_from(["update", "round", "once"]),
    seed=st.integers(0, 5),
)
def test_the_walk_takes_every_prompt_once_a_lap(rounds: int, batch: int, refresh: str, seed: int):
    rounds = 1 if refresh == "once" else rounds
    stage = changed(
        "online-dpo",
        source=Source(who="self", per_prompt=2, refresh=refresh),  # type: ignore[arg-type]
        schedule=Schedule(rounds=rounds, batch_size=batch),
    )
    given_ = supplies(stage, None, seed=seed)  # type: ignore[arg-type]
    walk = [prompt for index in range(rounds) for prompt in walked(stage, given_, index)]
    slots = planned_slots(stage, given_.dataset)
    assert slots == {"update": min(batch, 6), "round": max(1, 6 // rounds), "once": 6}[refresh]
    assert len(walk) == slots * rounds
    for lap in range(0, len(walk), 6):
        piece = walk[lap : lap + 6]
        assert len(set(piece)) == len(piece)


def test_laps_and_seeds_and_stages_shuffle_differently():
    stage = changed("online-dpo", schedule=Schedule(batch_size=6, rounds=2))

    def order(index: int, **changes: object) -> list[str]:
        given_ = supplies(stage, None, **changes)  # type: ignore[arg-type]
        return walked(stage, given_, index)

    # Six prompts have 720 orders; these four draws are fixed by the seed.
    orders = [order(0), order(1), order(0, seed=8), order(0, address="elsewhere")]
    assert len(set(map(tuple, orders))) == 4
    assert order(1) == order(1)


# Offline ----------------------------------------------------------------------------------------


def test_offline_rows_stand_in_the_order_of_the_data():
    data = dataset()
    demonstrations, _ = round_of(STAGES["sft"])
    winners, _ = round_of(STAGES["sft-chosen"])
    pairs, _ = round_of(STAGES["reward-model"])
    for round_ in (demonstrations, winners, pairs):
        assert [unit.slot for unit in round_.units] == list(range(10))
        assert (round_.slots, round_.facts) == (10, {})
        assert all(u.behaviour is None and u.advantage is None for u in round_.units)
    for i, pair in enumerate(data.pairs["train"]):
        assert demonstrations.units[i].completions == (pair.chosen,)
        assert winners.units[i].completions == (pair.chosen,)
        assert pairs.units[i].completions == (pair.chosen, pair.rejected)
        assert pairs.units[i].prompt == pair.prompt
        assert pairs.units[i].reference is None


@pytest.mark.parametrize("name", ["sft", "sft-chosen", "dpo", "reward-model"])
def test_labels_and_demonstrations_are_counted_once(name: str):
    """However many rounds read them."""
    stage, cost = STAGES[name], Cost()
    for index in (0, 1):
        gather(stage, supplies(stage, tiny_policy()), None, index, cost)
        assert (cost.labels, cost.demonstrations) == ((0, 10) if name == "sft" else (10, 0))
        assert (cost.tokens_sampled, cost.scorer_queries, cost.outside_queries) == (0, 0, 0)


@pytest.mark.parametrize("name", ["sft", "sft-chosen", "dpo"])
def test_no_data_is_an_error_that_names_the_stage(name: str):
    what = "demonstrations" if name == "sft" else "pairs"
    with pytest.raises(TrainingError, match=f"stage '{name}' has no {what} to train on"):
        round_of(STAGES[name], dataset=made_of((), (), PROMPTS))


@pytest.mark.parametrize("budget", [1, 30, 10**6])
@torch.no_grad()
def test_reference_logprobs_are_those_of_the_one_function(budget: int):
    reference = tiny_policy(seed=5)
    round_, cost = round_of(
        STAGES["dpo"], reference=lambda: reference, token_budget=budget, temperature=0.7
    )
    for unit in round_.units:
        assert unit.reference is not None
        for value, completion in zip(unit.reference, unit.completions, strict=True):
            alone = reference.sequence_logprobs(Rows([unit.prompt], [completion]), temperature=0.7)
            assert value == pytest.approx(alone.item(), abs=1e-4)
    # Prompts of 3, 7, 1, 3, 2, 4, 3, 7, 1, 3 tokens stand before both answers of a row; the
    # answers have 6 + 8 + 3 + 6 + 5 = 28 tokens, and come twice.
    tokens = 2 * 34 + 2 * 28
    weights = sum(p.numel() for p in reference.model.parameters())
    assert cost.tokens_scored == tokens
    assert cost.flops == 2 * weights * tokens


def test_the_lengths_in_the_comment_above():
    lengths = [len(PROMPTS[i % 6].tokens) for i in range(10)]
    assert lengths == [3, 7, 1, 3, 2, 4, 3, 7, 1, 3]
    assert [len(a) + len(b) for a, b in ANSWERS] == [6, 8, 3, 6, 5]


# Online -----------------------------------------------------------------------------------------


def test_scores_decide_who_is_better():
    round_, _ = round_of(STAGES["online-dpo"])
    assert 0 < len(round_.units) <= round_.slots == 4
    for unit in round_.units:
        assert any(c[-1] == 0 for c in unit.completions)
        if all(c[-1] == 0 for c in unit.completions):
            better, worse = token_sum([unit.prompt] * 2, unit.completions)
            assert better > worse
        else:
            assert unit.completions[0][-1] == 0


@pytest.mark.parametrize("name", LABELLED)
@torch.no_grad()
def test_behaviour_is_the_writers_logprob_of_each_completion(name: str):
    writer = tiny_policy()
    round_, _ = round_of(STAGES[name])
    for unit in round_.units:
        assert unit.behaviour is not None
        rows = Rows([unit.prompt] * len(unit.completions), unit.completions)
        expected = writer.sequence_logprobs(rows).tolist()
        assert unit.behaviour == pytest.approx(expected, abs=1e-4)
        if STAGES[name].objective.reference is not None:  # here the writer itself
            assert unit.reference == pytest.approx(expected, abs=1e-4)


def test_another_stage_may_write():
    stage = changed("online-dpo", source=Source(who="other", per_prompt=2, refresh="round"))
    writer = tiny_policy(seed=9)
    by_writer, _ = round_of(stage, writer=writer)
    with torch.no_grad():
        for unit in by_writer.units:
            rows = Rows([unit.prompt] * 2, unit.completions)
            assert unit.behaviour == pytest.approx(
                writer.sequence_logprobs(rows).tolist(), abs=1e-4
            )


def test_samples_are_a_function_of_seed_address_and_round():
    stage = STAGES["online-dpo-batch"]
    first, _ = round_of(stage)
    assert round_of(stage)[0] == first
    for other in (round_of(stage, 1), round_of(stage, seed=8), round_of(stage, address="x")):
        assert other[0] != first


def test_advantages_by_hand():
    """Score minus beta times the log-ratio, minus the mean of the other two of the group."""
    beta = 0.25
    objective = STAGES["rloo"].objective.model_copy(update={"beta": beta})
    other = partial(tiny_policy, seed=5)
    round_, _ = round_of(changed("rloo", objective=objective), reference=other)
    finished = [
        score
        for unit in round_.units
        for score, c in zip(
            token_sum([unit.prompt] * 3, unit.completions), unit.completions, strict=True
        )
        if c[-1] == 0
    ]
    assert len(round_.units) == 4
    assert 0 < len(finished) < 12, "the seed should give finished and unfinished completions"
    for unit in round_.units:
        assert unit.behaviour is not None
        assert unit.reference is not None
        scores = token_sum([unit.prompt] * 3, unit.completions)
        reward = [
            (score if c[-1] == 0 else min(finished) - 1.0) - beta * (b - r)
            for score, c, b, r in zip(
                scores, unit.completions, unit.behaviour, unit.reference, strict=True
            )
        ]
        expected = [
            reward[0] - (reward[1] + reward[2]) / 2,
            reward[1] - (reward[0] + reward[2]) / 2,
            reward[2] - (reward[0] + reward[1]) / 2,
        ]
        assert unit.advantage == pytest.approx(expected, abs=1e-9)


@pytest.mark.usefixtures("all_finish")
def test_beta_is_the_price_of_the_penalty():
    def advantages(beta: float) -> list[tuple[float, ...] | None]:
        objective = STAGES["rloo"].objective.model_copy(update={"beta": beta})
        round_, _ = round_of(
            changed("rloo", objective=objective),
            reference=partial(tiny_policy, seed=5),
            labeller=CallableLabeller(lambda prompts, completions: [1.0] * len(prompts)),
        )
        return [u.advantage for u in round_.units]

    cheap, dear = advantages(0.5), advantages(2.0)
    assert cheap
    # Equal scores: the penalty is all there is, and four times the price is four times as much.
    for low, high in zip(cheap, dear, strict=True):
        assert low is not None
        assert high == pytest.approx([4 * a for a in low])
        assert max(map(abs, low)) > 1e-3


# Failures ---------------------------------------------------------------------------------------


def scripted(*scores: float | None) -> CallableLabeller:
    """The same scores for every group, whatever was written."""
    return CallableLabeller(
        lambda prompts, completions: list(scores) * (len(prompts) // len(scores))
    )


@pytest.mark.usefixtures("all_finish")
@pytest.mark.parametrize("failure", [None, math.nan])
@pytest.mark.parametrize("name", ["online-dpo", "rloo"])
def test_a_failed_score_drops_its_unit_and_is_counted(name: str, failure: float | None):
    stage = STAGES[name]
    scores = [1.0] * (stage.source.per_prompt or 0)
    round_, cost = round_of(stage, labeller=scripted(failure, *scores[1:]))
    assert round_.units == ()
    assert round_.facts["dropped"] == round_.slots
    assert round_.facts["score"] == 1.0, "a failure is no part of the mean"
    assert round_.facts["unfinished"] == 0.0
    assert cost.outside_queries == round_.slots * len(scores)


@pytest.mark.usefixtures("all_finish")
def test_a_score_of_zero_is_a_score():
    round_, _ = round_of(STAGES["online-dpo"], labeller=scripted(0.0, -1.0))
    assert len(round_.units) == round_.slots == 4
    assert round_.facts["dropped"] == 0
    assert round_.facts["score"] == -0.5


def test_all_scores_failed():
    round_, _ = round_of(STAGES["online-dpo"], labeller=scripted(None, None))
    assert round_.units == ()
    assert math.isnan(round_.facts["score"])


@pytest.mark.usefixtures("all_finish")
def test_ties_are_dropped_and_counted():
    round_, _ = round_of(STAGES["online-dpo"], labeller=scripted(1.0, 1.0))
    assert round_.units == ()
    assert round_.facts["dropped"] == 4


@pytest.mark.usefixtures("all_finish")
def test_a_failed_score_is_counted_even_where_its_prompt_still_gives_a_pair():
    whole, _ = round_of(STAGES["online-dpo-batch"], labeller=scripted(1.0, 2.0, 3.0))
    failing, _ = round_of(STAGES["online-dpo-batch"], labeller=scripted(1.0, None, 3.0))
    assert len(failing.units) == len(whole.units) == failing.slots
    assert (whole.facts["failed"], whole.facts["dropped"]) == (0, 0)
    assert (failing.facts["failed"], failing.facts["dropped"]) == (failing.slots, 0)


@pytest.mark.usefixtures("all_finish")
def test_a_dropped_unit_leaves_its_slot_empty():
    def some_fail(prompts, completions):
        return [None if p == PROMPTS[0].tokens else s
                for p, s in zip(prompts, token_sum(prompts, completions), strict=True)]  # fmt: skip

    stage = changed("rloo", schedule=Schedule(batch_size=6))
    whole, _ = round_of(stage)
    holed, _ = round_of(stage, labeller=CallableLabeller(some_fail))
    assert len(whole.units) == holed.slots == 6
    assert [(u.slot, u.prompt) for u in holed.units] == [
        (u.slot, u.prompt) for u in whole.units if u.prompt != PROMPTS[0].tokens
    ]
    assert len(holed.units) == 5
    assert holed.facts["dropped"] == 1


# Facts and costs --------------------------------------------------------------------------------


def test_facts_by_hand():
    texts: list[tuple[int, ...]] = []

    def remember(prompts, completions):
        texts.extend(completions)
        return token_sum(prompts, completions)

    stage = STAGES["rloo"]
    round_, cost = round_of(stage, labeller=CallableLabeller(remember))
    assert len(texts) == 12
    prompts = [u.prompt for u in round_.units for _ in range(3)]
    assert round_.facts == pytest.approx(
        {
            "score": sum(token_sum(prompts, texts)) / 12,
            "unfinished": sum(t[-1] != 0 for t in texts) / 12,
            "length": sum(map(len, texts)) / 12,
            "dropped": 0,
            "failed": 0,
        }
    )
    assert cost.tokens_sampled == sum(map(len, texts))
    assert (cost.outside_queries, cost.scorer_queries) == (12, 0)
    # A callable runs no model of ours: only the reference scores tokens.
    rows = sum(map(len, texts)) + sum(map(len, prompts))
    assert cost.tokens_scored == rows
    weights = sum(p.numel() for p in tiny_policy().model.parameters())
    # Sampling encodes each prompt once; scoring by the reference reads every row whole.
    sampled = sum(map(len, texts)) + sum(map(len, prompts)) / 3
    assert cost.flops == pytest.approx(2 * weights * (sampled + rows))


@pytest.mark.parametrize("kind", ["global", "local"])
def test_a_learned_labellers_queries_are_not_outside_information(kind: str):
    policy = tiny_policy(seed=4)
    labeller = (
        GlobalLabeller(reward_model_on(policy, reading="sum", seed=0), token_budget=100)
        if kind == "global"
        else LocalLabeller(policy, tiny_policy(), 0.5, 1.0, token_budget=100)
    )
    stage = STAGES["rloo"]
    _, outside = round_of(stage)
    _, cost = round_of(stage, labeller=labeller)
    assert (cost.outside_queries, cost.scorer_queries) == (0, 12)
    assert cost.tokens_scored == 2 * outside.tokens_scored
    extra = 2.0 * labeller.forward_parameters * outside.tokens_scored
    assert cost.flops == pytest.approx(outside.flops + extra)


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_round_comes_back_from_a_checkpoint_as_it_was(name: str):
    """Through JSON, bit for bit: the resumed run trains on the same numbers."""
    round_, _ = round_of(STAGES[name])
    text = json.dumps(round_.plain())
    assert Round.of(json.loads(text)) == round_
    assert asdict(round_)["slots"] == round_.slots


@pytest.mark.parametrize("refresh", ["update", "round", "once"])
def test_no_prompt_to_answer_is_an_error_that_names_the_stage(refresh: str):
    source = Source(who="self", per_prompt=2, refresh=refresh)  # type: ignore[arg-type]
    stage = changed("online-dpo", source=source, schedule=Schedule(rounds=1))
    with pytest.raises(TrainingError, match="stage 'online-dpo' has no prompts to train on"):
        round_of(stage, dataset=made_of(dataset().pairs["train"], (), ()))
