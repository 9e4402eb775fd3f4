"""A judge as labeller: shares of wins by hand, failures left out, requests counted."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from allroads.errors import JudgeError
from allroads.judges import JudgeLabeller
from allroads.models.states import Rows
from tests.judges.server import Asked, Behave, Fake, Said, serving
from tests.judges.test_llm import judge, longer

WORDS = ("", "a", "bb", "ccc", "dddd")
P, Q = (1,), (2,)


def decode(tokens: tuple[int, ...]) -> str:
    return " ".join(WORDS[t] for t in tokens)


def labeller(fake: Fake, folder: Path) -> JudgeLabeller:
    return JudgeLabeller(judge(fake.url, folder, retries=0), decode)


def scored(behave: Behave, folder: Path, rows: Rows) -> tuple[list[float], Fake, int]:
    with serving(behave) as fake:
        one = labeller(fake, folder)
        return one(rows), fake, one.queries(rows)


def test_a_score_is_the_share_of_wins_over_the_others_of_the_prompt(tmp_path: Path):
    # Lengths 1, 2, 3 under one prompt, by a judge that likes length: 0, 1 and 2 wins of 2. Under
    # the other prompt 4 beats 1. Nobody meets a rival of another prompt.
    rows = Rows([P, Q, P, P, Q], [(1,), (1,), (3,), (2,), (4,)])
    scores, fake, queries = scored(longer, tmp_path, rows)
    assert scores == [0.0, 0.0, 1.0, 0.5, 1.0]
    assert len(fake.asked) == queries == 2 * (3 + 1)
    assert {a.text.count("[...]") for a in fake.asked} == {0}


def test_a_tie_is_half_a_win_and_equal_texts_cost_nothing(tmp_path: Path):
    # Two equal texts and a longer one: each of the two ties once and loses once.
    rows = Rows([P, P, P], [(1,), (1,), (2,)])
    scores, fake, queries = scored(longer, tmp_path, rows)
    assert scores == [0.25, 0.25, 1.0]
    # Both meet the same rival: the same two requests, sent once.
    assert len(fake.asked) == queries == 2


def test_a_judge_that_likes_a_place_says_nothing(tmp_path: Path):
    scores, _, _ = scored(lambda asked: "1", tmp_path, Rows([P, P], [(1,), (2,)]))
    assert scores == [0.5, 0.5]


def test_a_completion_without_a_rival_has_no_score(tmp_path: Path):
    scores, fake, queries = scored(longer, tmp_path, Rows([P, Q, Q], [(1,), (1,), (2,)]))
    assert math.isnan(scores[0])
    assert scores[1:] == [0.0, 1.0]
    assert len(fake.asked) == queries == 2


def mumbling(*about: str) -> Behave:
    """Says nothing readable where all of these texts are compared."""

    def behave(asked: Asked) -> str:
        return "Both are nice." if set(about) <= set(asked.answers) else longer(asked)

    return behave


def test_a_duel_without_a_ruling_leaves_the_rest(tmp_path: Path):
    # a and bb are not told apart: a only lost to ccc, bb too, ccc won both.
    rows = Rows([P, P, P], [(1,), (2,), (3,)])
    scores, _, queries = scored(mumbling("a", "bb"), tmp_path, rows)
    assert scores == [0.0, 0.0, 1.0]
    assert queries == 6, "asked and paid for, readable or not"


def test_no_readable_duel_is_no_score_and_never_a_zero(tmp_path: Path):
    rows = Rows([P, P, P], [(1,), (2,), (3,)])
    scores, _, _ = scored(mumbling("a"), tmp_path, rows)
    assert math.isnan(scores[0])
    assert scores[1:] == [0.0, 1.0]
    none, _, _ = scored(lambda asked: "hm", tmp_path / "other", rows)
    assert all(map(math.isnan, none))


def test_answers_are_kept_and_counted_but_never_asked_for_again(tmp_path: Path):
    rows = Rows([P, P, P], [(1,), (2,), (3,)])
    first, _, _ = scored(longer, tmp_path, rows)
    again, fake, queries = scored(longer, tmp_path, rows)
    assert again == first
    assert (len(fake.asked), queries) == (0, 6)


def test_a_request_that_fails_is_a_duel_less(tmp_path: Path):
    def behave(asked: Asked) -> str | Said:
        busy = set(asked.answers) == {"a", "bb"}
        return Said(status=500, body=b"busy") if busy else longer(asked)

    scores, _, _ = scored(behave, tmp_path, Rows([P, P, P], [(1,), (2,), (3,)]))
    assert scores == [0.0, 0.0, 1.0]


def test_a_server_that_never_replies_is_an_error_also_in_a_small_round(tmp_path: Path):
    rows = Rows([P, P], [(1,), (2,)])
    with pytest.raises(JudgeError, match=r"no request to the judge at .*HTTP 500, busy\)\. What"):
        scored(lambda asked: Said(status=500, body=b"busy"), tmp_path, rows)
    # Nothing of it was kept, so the same call works when the server does.
    assert scored(longer, tmp_path, rows)[0] == [0.0, 1.0]


def test_it_is_from_outside_and_runs_no_model(tmp_path: Path):
    with serving(longer) as fake:
        one = labeller(fake, tmp_path)
    assert (one.origin, one.forward_parameters) == ("outside", 0)
