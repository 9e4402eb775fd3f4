"""Preference data on a tree, and its Bradley-Terry likelihood.

A row is a pair of completions of one prompt with the *share* of labels that prefer the first. With
shares strictly between 0 and 1 the likelihood has its maximum at finite rewards; single 0/1 labels
would send it to infinity. Axis letter: M pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from allroads.errors import InputError
from allroads.exact.tree import Array, Tree


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of completions with the share of labels for the first of each."""

    prompt_M: NDArray[np.intp]
    first_M: NDArray[np.intp]
    """Leaves, by their place in the tree's order."""
    second_M: NDArray[np.intp]
    share_M: Array
    """Share of labels that prefer the first, in (0, 1)."""
    weight_M: Array
    """Number of labels of each pair; the likelihood sums over labels."""

    def differences(self, value_PL: Array) -> Array:
        """value(first) - value(second) of each pair, (M,)."""
        return value_PL[self.prompt_M, self.first_M] - value_PL[self.prompt_M, self.second_M]

    def nll(self, reward_PL: Array) -> float:
        """Surprise at all labels under Bradley-Terry, -log sigma(difference), in nats, summed.

        Source: Bradley and Terry 1952; the paper (the likelihood of both stages).
        """
        d = self.differences(reward_PL)
        surprise = self.share_M * np.logaddexp(0, -d) + (1 - self.share_M) * np.logaddexp(0, d)
        return float(np.dot(self.weight_M, surprise))

    def slope(self, reward_PL: Array) -> Array:
        """The derivative of `nll` by the reward of each completion, (P, L)."""
        pull = self.weight_M * (sigmoid(self.differences(reward_PL)) - self.share_M)
        slope = np.zeros_like(reward_PL)
        np.add.at(slope, (self.prompt_M, self.first_M), pull)
        np.add.at(slope, (self.prompt_M, self.second_M), -pull)
        return slope

    def label_entropy(self) -> float:
        """The part of `nll` that no reward can remove: the entropy of the labels, in nats."""
        q = self.share_M
        return float(-np.dot(self.weight_M, q * np.log(q) + (1 - q) * np.log1p(-q)))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def random_pairs(tree: Tree, rng: Generator, count: int) -> Pairs:
    """`count` pairs of different completions, with shares between 0.1 and 0.9 and unit weights.

    The shares follow no reward, so that they may contradict each other (a over b over c over a).
    """
    if tree.leaves < 2:
        raise InputError(f"a pair needs 2 completions, the tree has {tree.leaves}")
    first = rng.integers(tree.leaves, size=count)
    return Pairs(
        prompt_M=rng.integers(tree.prompts, size=count),
        first_M=first,
        second_M=(first + rng.integers(1, tree.leaves, size=count)) % tree.leaves,
        share_M=rng.uniform(0.1, 0.9, size=count),
        weight_M=np.ones(count),
    )


def labelled(pairs: Pairs, reward_PL: Array) -> Pairs:
    """The same pairs with the shares that Bradley-Terry expects of people with this reward."""
    return Pairs(
        prompt_M=pairs.prompt_M,
        first_M=pairs.first_M,
        second_M=pairs.second_M,
        share_M=sigmoid(pairs.differences(reward_PL)),
        weight_M=pairs.weight_M,
    )
