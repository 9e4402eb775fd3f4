"""The world of preimages: its map by hand, what its dials do to it, and answers of any length."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from allroads.data.worlds import Preimage, make_world
from allroads.data.worlds.synthetic import Problem
from allroads.seeding import child
from allroads.types import Tokens


def xor(**dials: Any) -> Preimage:
    """Two symbols; one round writes 0 where neighbours agree, 1 where they differ."""
    task = Preimage(symbols=2, **dials)
    task.__dict__["table"] = np.array([[0, 1], [1, 0]])
    return task


@pytest.mark.parametrize(
    ("steps", "image"),
    [
        (0, (0, 1, 1)),
        (1, (1, 0, 1)),  # 0 and 1 differ, 1 and 1 agree, and the last has the first on its right
        (2, (1, 1, 0)),  # the same once more
    ],
)
def test_rounds_by_hand(steps: int, image: tuple[int, ...]):
    assert xor(steps=steps, length=3).image((0, 1, 1)) == image


@pytest.mark.parametrize(
    ("why", "answer", "reward"),
    [
        ("the string itself", (1, 2, 2), 1.0),
        ("its complement has the same image", (2, 1, 1), 1.0),
        ("all alike: 000", (1, 1, 1), 1 / 3),
        ("110 gives 011", (2, 2, 1), 1 / 3),
        ("shorter: 01 gives 11, of three one is right", (1, 2), 1 / 3),
        ("longer: 0111 gives 1001, of four two are right", (1, 2, 2, 2), 2 / 4),
        ("nothing", (), 0.0),
    ],
)
def test_rewards_by_hand(why: str, answer: Tokens, reward: float):
    """The prompt is 101, the image of 011; symbol s is token s + 1."""
    task = xor(steps=1, length=3, hint=2)
    problem = Problem((2, 1, 2, 1, 2), (1, 2, 2))  # with a hint, which is none of the image
    assert task.score([problem], [answer]) == [pytest.approx(reward)]


def test_without_steps_it_is_copying():
    task = Preimage(steps=0)
    problem = next(task.problems(child(0, "test")))
    assert problem.prompt == problem.known
    half = (*problem.known[:4], *(token % 4 + 1 for token in problem.known[4:]))
    assert task.score([problem] * 2, [problem.prompt, half]) == [1.0, 0.5]


@pytest.mark.parametrize("one_way", [0.0, 0.3, 1.0])
def test_every_symbol_stands_in_the_table_equally_often(one_way: float):
    table = Preimage(one_way=one_way, symbols=6).table
    assert np.bincount(table.ravel()).tolist() == [6] * 6


def misses(one_way: float) -> int:
    """Symbols that a row cannot give, over all rows: the dead ends."""
    return sum(26 - len(set(row)) for row in Preimage(one_way=one_way, symbols=26).table.tolist())


def test_one_way_opens_dead_ends():
    assert misses(0.0) == 0
    assert 0 < misses(0.4) < misses(1.0)
    # A row of 26 entries at random misses 26 x (25/26)^26 = 9.4 of 26 symbols.
    assert misses(1.0) / 26 == pytest.approx(9.4, abs=1.0)


def test_information_is_lost_with_every_round():
    """All 4^4 strings have ever fewer images; at no step none is lost."""
    sizes = [
        len({Preimage(steps=s, symbols=4, length=4).image(x) for x in product(range(4), repeat=4)})
        for s in (0, 1, 2, 4)
    ]
    assert sizes[0] == 4**4
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_a_position_of_the_image_depends_on_steps_more_neighbours():
    task = Preimage(steps=2, length=8, one_way=0.0, symbols=8)
    base = task.image((0,) * 8)
    moved = task.image((0, 0, 0, 0, 1, 0, 0, 0))
    changed = {i for i in range(8) if base[i] != moved[i]}
    # Position i reads i, i + 1 and i + 2; as every row is a permutation, the last one tells.
    assert 2 in changed
    assert changed <= {2, 3, 4}


def test_a_hint_stands_behind_the_image():
    plain, hinted = Preimage(hint=0), Preimage(hint=3)
    a, b = (next(task.problems(child(0, "test"))) for task in (plain, hinted))
    assert b.prompt == (*a.prompt, *a.known[:3])
    assert (plain.longest_prompt, hinted.longest_prompt) == (8, 11)


def test_the_map_and_its_prompts_never_change():
    """Golden: numbers of different versions may be compared only on the same world."""
    world: Any = make_world("preimage")
    assert world.task.table[0].tolist() == GOLDEN_ROW
    assert [world.decode(p.tokens) for p in world.prompts("test")[:2]] == GOLDEN_PROMPTS


GOLDEN_ROW = [3, 0, 2, 0]
GOLDEN_PROMPTS = ["a d a b b b c c", "c a d d c b b b"]
