"""The other witness: tiny trees written out with itertools and plain floats, no arrays."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from hypothesis import strategies as st

from allroads.exact import Levels, Tree
from allroads.types import Tokens

Policy = Callable[[int, Tokens], list[float]]


@st.composite
def trees(draw: st.DrawFn, leaves: int = 100) -> Tree:
    """Small trees of every kind: one or several prompts, with and without an end token."""
    vocabulary = draw(st.integers(2, 4))
    horizon = draw(st.integers(1, 4))
    eos = draw(st.none() | st.integers(0, vocabulary - 1))
    weights = draw(st.lists(st.floats(0.1, 1.0), min_size=1, max_size=3))
    rho = tuple(w / sum(weights) for w in weights)
    tree = Tree(vocabulary=vocabulary, horizon=horizon, rho=rho, eos=eos)
    return tree if tree.leaves <= leaves else Tree(vocabulary=2, horizon=horizon, rho=rho)


def completions(tree: Tree) -> set[Tokens]:
    """Every string of tokens that is a completion, by trying all strings."""
    found = set()
    for size in range(1, tree.horizon + 1):
        for tokens in itertools.product(range(tree.vocabulary), repeat=size):
            ends_early = tree.eos is not None and tokens[-1] == tree.eos
            if tree.eos in tokens[:-1] or not (ends_early or size == tree.horizon):
                continue
            found.add(tokens)
    return found


def prefixes(tree: Tree, size: int) -> list[Tokens]:
    """Prefixes of one length that can be continued, in the order of their digits."""
    alive = [t for t in range(tree.vocabulary) if t != tree.eos]
    return list(itertools.product(alive, repeat=size))


def reader(tree: Tree, levels: Levels) -> Callable[[int, Tokens, int], float]:
    """What `levels` say of a token after a prefix."""
    places = [{p: i for i, p in enumerate(prefixes(tree, h))} for h in range(tree.horizon)]
    return lambda prompt, prefix, token: float(
        levels[len(prefix)][prompt, places[len(prefix)][prefix], token]
    )


def path_sum(tree: Tree, levels: Levels, prompt: int, tokens: Tokens) -> float:
    """The sum of `levels` along a completion."""
    at = reader(tree, levels)
    return sum(at(prompt, tokens[:k], tokens[k]) for k in range(len(tokens)))


def soft_value(
    tree: Tree,
    reward: Callable[[int, Tokens], float],
    prompt: int,
    prefix: Tokens,
    beta: float,
    reference: Callable[[int, Tokens, int], float],
) -> float:
    """beta log of the sum over completions behind `prefix`, each written out."""
    total = 0.0
    for tokens in completions(tree):
        if tokens[: len(prefix)] == prefix and len(tokens) > len(prefix):
            weight = sum(
                reference(prompt, tokens[:k], tokens[k]) for k in range(len(prefix), len(tokens))
            )
            total += math.exp(reward(prompt, tokens) / beta + weight)
    return beta * math.log(total)
