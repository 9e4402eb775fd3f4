"""Which completions reach the loss, by example and under every order of the samples."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allroads.roads.picks import PICKS, Scored, best_worst, floored, two, whole_group, winners
from allroads.types import Completion, Prompt

PROMPT = Prompt(prompt_id="p", tokens=(9,))
NAN = math.nan


def one(score: float, text: int = 0, *, logprob: float = -1.0, finished: bool = True) -> Scored:
    """A completion that says `text`."""
    completion = Completion(
        prompt=PROMPT,
        tokens=(text + 1, 0) if finished else (text + 1,),
        token_logprobs=(logprob, 0.0) if finished else (logprob,),
        stop="eos" if finished else "length",
    )
    return Scored(completion, score)


A, B, C, D = one(1.0, 1), one(2.0, 2), one(3.0, 3), one(4.0, 4)
CUT = one(9.0, 5, finished=False)
"""Scored above all others, but cut at the length limit."""


def test_the_table_names_every_pick_of_sampled_completions():
    assert {"two": two, "best-worst": best_worst, "winners": winners, "group": whole_group} == PICKS


def test_the_better_of_two_comes_first():
    assert two([A, B]) == two([B, A]) == (B, A)


def test_two_takes_the_first_two_of_more():
    """Any two independent samples are two at random; the best of many would not be."""
    assert two([A, B, D]) == (B, A)


def test_best_worst_takes_the_ends():
    for order in itertools.permutations([A, B, C, D]):
        assert best_worst(order) == (D, A)


def test_the_winner_is_the_best():
    for order in itertools.permutations([A, B, C]):
        assert winners(order) == (C,)


@pytest.mark.parametrize("pick", [two, best_worst])
@pytest.mark.parametrize(
    ("why", "pair"),
    [
        ("tie", (one(1.0, 1), one(1.0, 2))),
        ("tie at a score of zero", (one(0.0, 1), one(-0.0, 2))),
        ("identical texts, different scores", (one(1.0, 1), one(2.0, 1))),
        ("both unfinished", (one(1.0, 1, finished=False), one(2.0, 2, finished=False))),
        ("a score failed", (one(NAN, 1), one(2.0, 2))),
        ("both scores failed", (one(NAN, 1), one(NAN, 2))),
    ],
)
def test_what_says_nothing_is_dropped_in_both_orders(pick, why, pair):
    assert pick(pair) is None
    assert pick(pair[::-1]) is None


def test_a_zero_score_is_a_score():
    zero = one(0.0, 7)
    assert two([zero, A]) == (A, zero)
    assert best_worst([zero, one(-1.0, 8)]) == (zero, one(-1.0, 8))
    assert winners([zero, one(-1.0, 8)]) == (zero,)


@pytest.mark.parametrize("pick", [two, best_worst])
def test_a_finished_completion_beats_an_unfinished_one_whatever_the_score(pick):
    assert pick([A, CUT]) == pick([CUT, A]) == (A, CUT)
    assert winners([CUT, A]) == (A,)


def test_best_worst_leaves_failed_scores_out():
    assert best_worst([one(NAN, 6), B, one(NAN, 7), A]) == (B, A)
    assert best_worst([one(NAN, 6), B]) is None
    assert winners([one(NAN, 6), A]) == (A,)
    assert winners([one(NAN, 6)]) is None
    assert best_worst([]) is None


def test_a_group_needs_every_score():
    assert whole_group([B, A, CUT]) == (B, A, CUT)
    assert whole_group([B, one(NAN, 6), A]) is None


def test_equal_scores_are_decided_by_the_likelier_one():
    likely, unlikely = one(5.0, 1, logprob=-1.0), one(5.0, 2, logprob=-2.0)
    low, lower = one(0.0, 3, logprob=-1.0), one(0.0, 4, logprob=-2.0)
    for order in itertools.permutations([likely, unlikely, low, lower]):
        assert best_worst(order) == (likely, low)
        assert winners(order) == (likely,)


def test_floored_by_hand():
    # Lowest finished score of the round: -2; unfinished ones get -2 - 1 = -3, whatever they had.
    cut_and_bad = one(-5.0, 6, finished=False)  # sets no floor, whatever it was scored
    groups = [[A, CUT, cut_and_bad], [one(-2.0, 6), one(NAN, 7), one(NAN, 8, finished=False)]]
    scores = [[s.score for s in group] for group in floored(groups, penalty=1.0)]
    assert scores[0] == [1.0, -3.0, -3.0]
    assert scores[1][0] == -2.0
    assert math.isnan(scores[1][1])
    assert scores[1][2] == -3.0
    assert [[s.completion for s in g] for g in floored(groups, penalty=1.0)] == [
        [s.completion for s in g] for g in groups
    ]


def test_floored_without_a_finished_completion_has_nothing_to_learn_from():
    cut = [one(1.0, 1, finished=False), one(2.0, 2, finished=False)]
    (group,) = floored([cut], penalty=1.0)
    assert all(math.isnan(s.score) for s in group), "a floor of 0 would be a made-up score"
    assert two(group) is best_worst(group) is winners(group) is whole_group(group) is None
    assert floored([], penalty=1.0) == []


def test_a_round_in_which_every_score_failed_gives_no_group():
    cut = [one(NAN, 1, finished=False), one(NAN, 2, finished=False)]
    (group, _) = floored([cut, [one(NAN, 3), one(NAN, 4)]], penalty=1.0)
    assert whole_group(group) is None


@st.composite
def groups(draw: st.DrawFn, sizes: tuple[int, int], logprobs: st.SearchStrategy[float]):
    """Few values of everything, so that ties of every kind occur."""
    return [
        one(
            draw(st.sampled_from([NAN, -1.0, 0.0, 1.0])),
            draw(st.integers(0, 3)),
            logprob=draw(logprobs),
            finished=draw(st.booleans()),
        )
        for _ in range(draw(st.integers(*sizes)))
    ]


def texts(picked: tuple[Scored, ...] | None) -> list[tuple[int, ...]] | None:
    return None if picked is None else [s.completion.tokens for s in picked]


@given(group=groups((2, 2), st.just(-1.0)))
def test_order_never_decides_between_two(group: list[Scored]):
    assert texts(two(group)) == texts(two(group[::-1]))


DISTINCT = st.floats(-50, -0.01)


@pytest.mark.parametrize("pick", [best_worst, winners])
@given(group=groups((1, 5), DISTINCT), data=st.data())
def test_order_never_decides_among_completions_of_different_likelihood(pick, group, data):
    likelihoods = {s.completion.logprob for s in group}
    if len(likelihoods) == len(group):
        assert texts(pick(group)) == texts(pick(data.draw(st.permutations(group))))


@pytest.mark.parametrize("pick", [best_worst, winners])
def test_order_never_decides_among_completions_of_equal_likelihood(pick):
    """Equal log-probabilities of different texts are common when they are permutations."""
    group = [one(1.0, 1), one(1.0, 2), one(0.0, 3)]
    picked = {tuple(texts(pick(order)) or ()) for order in itertools.permutations(group)}
    assert len(picked) == 1


@given(group=groups((2, 5), DISTINCT))
def test_a_picked_pair_always_says_something(group: list[Scored]):
    for pick in (two, best_worst):
        pair = pick(group)
        if pair is not None:
            better, worse = pair
            assert better.rank > worse.rank
            assert better.completion.finished
            assert better.completion.tokens != worse.completion.tokens
            assert not math.isnan(better.score + worse.score)
