"""The world of secrets: references and similarities by hand, and no easier way to tell."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from allroads.data.worlds import Secret, make_world
from allroads.data.worlds.secret import positions, rouge_l
from allroads.data.worlds.synthetic import Problem

A, B, C, D = 1, 2, 3, 4


def test_a_reference_by_hand():
    task = Secret(length=3, prompt_length=2, symbols=2, reads=1)
    task.__dict__["places"] = np.array([[0], [1], [0]])
    task.__dict__["tables"] = np.array([[0, 1], [1, 0], [1, 0]])
    # Prompt a b: table 0 at a is a, table 1 at b is a, table 2 at a is b.
    assert task.reference((A, B)) == (A, A, B)


def test_a_reference_that_reads_two_words_by_hand():
    task = Secret(length=2, prompt_length=3, symbols=2, reads=2)
    task.__dict__["places"] = np.array([[2, 0], [1, 2]])
    task.__dict__["tables"] = np.array([[0, 0, 1, 1], [1, 0, 0, 1]])
    # Prompt b a b: table 0 reads (b, b), its entry 3: b; table 1 reads (a, b), its entry 1: a.
    assert task.reference((B, A, B)) == (B, A)


@pytest.mark.parametrize(
    ("reference", "answer", "by_position", "by_rouge"),
    [
        ((A, B, C, B), (A, B, C, B), 1.0, 1.0),
        ((A, B, C, B), (B, C, A, B), 1 / 4, 2 * 3 / 8),  # b c b is common
        ((A, B, C, D), (D, C, B, A), 0.0, 2 * 1 / 8),
        ((A, B, C, D), (A, B), 2 / 4, 2 * 2 / 6),
        ((A, B), (A, A, B, B), 1 / 4, 2 * 2 / 6),
        ((A, B), (), 0.0, 0.0),
    ],
)
def test_similarities_by_hand(reference: Any, answer: Any, by_position: float, by_rouge: float):
    assert positions(reference, answer) == pytest.approx(by_position)
    assert rouge_l(reference, answer) == pytest.approx(by_rouge)
    problem = Problem((A,), reference)
    assert Secret().score([problem], [answer]) == [positions(reference, answer)]
    rouge = Secret(similarity="rouge-l")
    assert rouge.score([problem], [answer]) == [rouge_l(reference, answer)]


def test_every_word_is_equally_likely_everywhere():
    """Over all 27 prompts each of three words stands nine times at each position."""
    task = Secret(length=5, prompt_length=3, symbols=3, reads=2)
    references = np.array([task.reference(prompt) for prompt in product((1, 2, 3), repeat=3)])
    for column in references.T:
        assert np.bincount(column, minlength=4).tolist() == [0, 9, 9, 9]


@pytest.mark.parametrize("reads", [1, 2])
def test_no_position_copies_the_prompt(reads: int):
    """Chance is 1 in 8; a table that happens to leave two more symbols as they are makes 3 in 8."""
    world: Any = make_world("secret", reads=reads)
    prompts = np.array([prompt.tokens for prompt in world.prompts("train")])
    references = np.array([world.task.reference(prompt) for prompt in prompts.tolist()])
    same = [np.mean(references[:, i] == prompts[:, j]) for i, j in product(range(8), range(6))]
    assert max(same) < 0.42
    assert np.mean(same) == pytest.approx(1 / 8, abs=0.02)


def test_training_prompts_show_every_entry_that_held_out_ones_need():
    world: Any = make_world("secret", reads=2)
    shown = {split: entries(world, split) for split in ("train", "test")}
    assert len(shown["train"]) == 8 * 8**2
    assert shown["test"] <= shown["train"]


def entries(world: Any, split: Any) -> set[tuple[int, ...]]:
    """(position, words read there) of all references."""
    return {
        (i, *(prompt.tokens[place] for place in places))
        for prompt in world.prompts(split)
        for i, places in enumerate(world.task.places.tolist())
    }


@pytest.mark.parametrize("reads", [1, 2, 3, 4, 6])
def test_no_word_of_the_prompt_is_idle(reads: int):
    places = Secret(reads=reads, length=12, symbols=4).places
    assert all(len(set(row)) == reads for row in places.tolist())
    assert set(places.ravel().tolist()) == set(range(6))
    if 6 % reads == 0:
        assert np.bincount(places.ravel()).tolist() == [2 * reads] * 6


def test_one_word_read_is_a_substitution_and_another_seed_another_secret():
    tables = Secret(reads=1).tables
    assert all(sorted(row) == [*range(8)] for row in tables.tolist())
    assert (Secret(map_seed=1).tables != Secret().tables).any()
    assert (Secret(map_seed=1).places != Secret().places).any()


def test_the_secret_never_changes():
    """Golden: numbers of different versions may be compared only on the same world."""
    world: Any = make_world("secret")
    prompt = world.prompts("test")[0].tokens
    assert (world.decode(prompt), world.decode(world.task.reference(prompt))) == GOLDEN


GOLDEN = ("a g b h e f", "a f e c c a e a")
