"""Rulings to counts, shares and intervals, by hand."""

from __future__ import annotations

import pytest

from allroads import stats
from allroads.judges.client import Reply
from allroads.judges.llm import Ruling
from allroads.judges.template import Pick
from allroads.lab.judgement import count_crossed, count_pairs

REPLIES = (Reply("1", cut=False, model="m", seconds=1.0),) * 2


def ruled(first: Pick, second: Pick) -> Ruling:
    winners = {("first", "second"): "a", ("second", "first"): "b"}
    winner = winners.get((first, second), "tie")
    return Ruling(winner=winner, picks=(first, second), replies=REPLIES)  # type: ignore[arg-type]


WIN, LOSS, SIDED = ruled("first", "second"), ruled("second", "first"), ruled("first", "first")
TIE, SAME = ruled("tie", "tie"), Ruling(winner="tie")
SLOW = Ruling(failure="time-out", detail="no answer within 1 s")
CHATTER = Ruling(failure="unparsable answer", detail="well \ud800", cut=True)


def test_pairs_are_counted_by_hand():
    rulings = [WIN, WIN, LOSS, SIDED, TIE, SAME, SLOW, CHATTER, SLOW]
    found = count_pairs(rulings, list("abcdefghi"))
    assert (found.asked, found.wins, found.ties, found.losses) == (9, 2, 3, 1)
    assert (found.identical, found.cut) == (1, 1)
    assert [(f.reason, f.count, f.example) for f in found.failures] == [
        ("time-out", 2, "no answer within 1 s"),
        ("unparsable answer", 1, "well ?"),
    ]
    # Six were judged: 2 wins and half of 3 ties. Failures are no part of it.
    wilson = stats.proportion(3.5, 6)
    assert found.share is not None
    assert (found.share.value, found.share.low, found.share.high) == (
        pytest.approx(3.5 / 6), wilson.low, wilson.high,
    )  # fmt: skip
    # Shown to the judge: five. One of them went with its place.
    assert found.disagreement is not None
    assert found.disagreement.value == pytest.approx(1 / 5)
    # Verdicts that name an answer: 2 of each decided pair and of the sided one; first: 1+1+1+2.
    assert found.first == pytest.approx(5 / 8)


def test_pairs_of_one_prompt_count_as_one_where_they_agree():
    alone = count_pairs([WIN] * 6 + [LOSS] * 6, list("abcdefghijkl")).share
    together = count_pairs([WIN] * 6 + [LOSS] * 6, list("aabbccddeeff")).share
    assert alone is not None
    assert together is not None
    assert alone.value == together.value == 0.5
    assert (alone.prompts, together.prompts) == (12, 6)
    assert together.low is not None
    assert alone.low is not None
    assert together.low < alone.low


def test_nothing_judged_is_nothing_measured():
    for found in (
        count_pairs([], []),
        count_pairs([SLOW, CHATTER], ["a", "b"]),
        count_crossed([[SLOW]], ["a"]),
    ):
        assert (found.share, found.disagreement, found.first) == (None, None, None)
        assert found.wins == found.ties == found.losses == 0


def test_one_seed_has_an_interval_over_prompts():
    found = count_crossed([[WIN, WIN, TIE, LOSS, SLOW]], list("abcde")).share
    wilson = stats.proportion(2.5, 4)
    assert found is not None
    assert (found.low, found.high) == (wilson.low, wilson.high)
    assert (found.seeds, found.prompts) == (1, 4)


def test_seeds_are_crossed_with_prompts_and_a_failed_prompt_is_left_out_for_all():
    rows = [[WIN, WIN, TIE, LOSS, SLOW], [WIN, TIE, TIE, LOSS, WIN]]
    found = count_crossed(rows, list("abcde"))
    expected = stats.two_way_mean([[1, 1, 0.5, 0], [1, 0.5, 0.5, 0]])
    assert found.share is not None
    assert found.share.value == pytest.approx(expected.value)
    assert expected.low is not None
    assert expected.high is not None
    assert found.share.low == pytest.approx(max(0, expected.low))
    assert found.share.high == pytest.approx(min(1, expected.high))
    assert (found.share.seeds, found.share.prompts) == (2, 4)
    assert (found.asked, found.wins, found.failures[0].count) == (10, 4, 1)


def test_seeds_that_all_say_the_same_leave_the_doubt_about_prompts():
    found = count_crossed([[WIN] * 5, [WIN] * 5], list("abcde")).share
    assert found is not None
    assert (found.value, found.seeds) == (1.0, 2)
    assert found.low == stats.proportion(5, 5).low
