"""Blocks double, nest, and keep what belongs together."""

from __future__ import annotations

import pytest

from allroads.lab.diagnose.blocks import Blocks, blocks_of
from allroads.types import Pair


def pair(prompt: int, at: int, conversation: str = "") -> Pair:
    return Pair(
        prompt_id=f"p{prompt}",
        prompt=(prompt,),
        chosen=(at, 0),
        rejected=(at, 1),
        conversation_id=conversation,
    )


PAIRS = tuple(pair(prompt, at) for prompt in range(40) for at in range(1 + prompt % 3))


def test_each_block_is_about_as_long_as_all_before_it():
    blocks = Blocks.of(PAIRS, 4, order=0, seed=0)
    n = len(PAIRS)
    assert blocks.ends[-1] == n
    # A cluster has at most three pairs: no cut is further off than half of that.
    for end, share in zip(blocks.ends, (1 / 8, 1 / 4, 1 / 2, 1), strict=True):
        assert abs(end - share * n) <= 1.5


def test_earlier_blocks_are_the_past_of_later_ones_and_the_next_follows():
    blocks = Blocks.of(PAIRS, 4, order=1, seed=0)
    for at in range(3):
        assert blocks.before(at) + blocks.after(at) == blocks.before(at + 1)
    assert blocks.after(3) == ()
    assert sorted(map(id, blocks.before(3))) == sorted(map(id, PAIRS))


@pytest.mark.parametrize("order", range(5))
def test_a_prompts_pairs_stay_together_and_a_conversations_prompts_too(order: int):
    talks = tuple(pair(prompt, 7, f"talk {prompt // 4}") for prompt in range(100, 124))
    blocks = Blocks.of((*PAIRS, *talks), 4, order=order, seed=3)
    for at in range(3):
        before = {one.cluster for one in blocks.before(at)}
        assert not before & {one.cluster for one in blocks.after(at)}


def test_orders_differ_and_come_again():
    drawn = [Blocks.of(PAIRS, 3, order=order, seed=0).pairs for order in range(3)]
    assert len({tuple(map(id, pairs)) for pairs in drawn}) == 3
    assert Blocks.of(PAIRS[::-1], 3, order=0, seed=0).before(2) != drawn[1]
    assert Blocks.of(PAIRS, 3, order=2, seed=0).pairs == drawn[2]
    assert Blocks.of(PAIRS, 3, order=2, seed=1).pairs != drawn[2]


@pytest.mark.parametrize(("pairs", "count"), [(1024, 5), (1023, 4), (128, 2), (10, 2)])
def test_the_first_block_is_not_too_small(pairs: int, count: int):
    assert blocks_of(pairs, 64) == count
