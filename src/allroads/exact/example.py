"""The small worlds on which the claims are computed: two prompts, nothing uniform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from allroads.exact.policies import leaf_logprobs, random_policy
from allroads.exact.tree import Array, Levels, Tree

BETA = 0.7
"""Price of one nat, wherever a claim does not need another."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A tree with a reward, a reference and some other policy; `rng` for anything further."""

    tree: Tree
    rng: Generator
    reward: Array
    """(P, L), standard normal."""
    reference: Levels
    policy: Levels

    @property
    def log_ref(self) -> Array:
        """Leaf log-probabilities of the reference, (P, L)."""
        return leaf_logprobs(self.tree, self.reference)

    @property
    def log_pi(self) -> Array:
        """Leaf log-probabilities of the policy, (P, L)."""
        return leaf_logprobs(self.tree, self.policy)


def example(tree: Tree, seed: int = 0) -> Example:
    """Draw the numbers of an example."""
    rng = np.random.default_rng(seed)
    return Example(
        tree=tree,
        rng=rng,
        reward=rng.standard_normal((tree.prompts, tree.leaves)),
        reference=random_policy(tree, rng),
        policy=random_policy(tree, rng),
    )


def with_end(horizon: int = 3) -> Example:
    """Three tokens, one of which ends the completion: lengths differ."""
    return example(Tree(vocabulary=3, horizon=horizon, rho=(0.4, 0.6), eos=0))


def without_end(horizon: int = 3) -> Example:
    """Three tokens, all completions of the same length."""
    return example(Tree(vocabulary=3, horizon=horizon, rho=(0.4, 0.6)))
