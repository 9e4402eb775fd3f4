from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allroads.data.split import (
    SPLITS,
    SplitFractions,
    conversation_id_of,
    prompt_id_of,
    split_of,
)
from allroads.errors import ConfigError


def test_the_fractions_are_met_on_many_prompts() -> None:
    # 20,000 draws: a share has a standard error of at most 0.0035.
    fractions = SplitFractions()
    splits = [split_of(f"prompt {i}", 7, fractions) for i in range(20_000)]
    for split in SPLITS:
        assert splits.count(split) / 20_000 == pytest.approx(getattr(fractions, split), abs=0.015)


@given(name=st.text(), seed=st.integers(0, 10))
def test_an_empty_fraction_gets_nothing(name: str, seed: int) -> None:
    fractions = SplitFractions(train=0.0, selection=0.5, grader=0.5, test=0.0)
    assert split_of(name, seed, fractions) in ("selection", "grader")
    assert split_of(name, seed, fractions) == split_of(name, seed, fractions)


def test_the_split_is_the_same_on_every_machine_and_depends_on_the_seed() -> None:
    names = [prompt_id_of(f"prompt {i}") for i in range(200)]
    one, two = ([split_of(name, seed, SplitFractions()) for name in names] for seed in (1, 2))
    assert one != two
    assert names[0] == "1df4d9375a13909e"  # b2sum -l 64 of "prompt 0"


@pytest.mark.parametrize("train", [0.5, 0.7, -0.1])
def test_fractions_must_add_up(train: float) -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        SplitFractions(train=train)


def test_white_space_and_form_do_not_make_another_prompt() -> None:
    assert prompt_id_of("Why  so?\n") == prompt_id_of("Why so?")
    assert prompt_id_of(({"role": "user", "content": " Why so?"},)) == prompt_id_of("Why so?")
    assert prompt_id_of("Why so") != prompt_id_of("Why so?")


def test_later_turns_belong_to_the_conversation_of_the_first() -> None:
    first, other = ({"role": "user", "content": said} for said in ("Why so?", "Why not?"))
    system = {"role": "system", "content": "Be brief."}
    answer = {"role": "assistant", "content": "Because."}
    later = (first, answer, other)
    assert conversation_id_of((first,)) == prompt_id_of((first,)) == conversation_id_of("Why so?")
    assert conversation_id_of(later) == conversation_id_of((first,)) != prompt_id_of(later)
    assert conversation_id_of((system, *later)) == conversation_id_of((first,))
    assert conversation_id_of((system, other)) != conversation_id_of((system, first))
    # Nobody asked: the prompt stands alone.
    assert conversation_id_of((system, answer)) == prompt_id_of((system, answer))


def test_who_said_it_is_part_of_the_prompt() -> None:
    said = [({"role": role, "content": "x"}, {"role": "user", "content": "y"}) for role in "ab"]
    assert prompt_id_of(said[0]) != prompt_id_of(said[1])
    assert prompt_id_of(said[0]) != prompt_id_of("a x user y")
