"""Policies on a tree: the log-probability of each next token after each prefix, as `Levels`.

`leaf_logprobs` turns a policy into a distribution over completions, `conditionals` turns it back.
Log-probabilities are in nats; minus infinity (a token that never comes) is allowed.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from allroads.exact.tree import Array, Levels, Tree


def logsumexp(x: Array) -> Array:
    """The log of the sum of exponentials over the last axis; all of it minus infinity stays so."""
    top = x.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - top).sum(axis=-1)) + top[..., 0]


def from_logits(logits: Levels) -> Levels:
    """The policy with these logits: each prefix normalised by itself."""
    return tuple(level - logsumexp(level)[..., None] for level in logits)


def uniform(tree: Tree) -> Levels:
    """Every token equally likely. With `eos` the completions are then not equally likely."""
    return from_logits(zeros(tree))


def zeros(tree: Tree) -> Levels:
    """Zero for each token after each prefix."""
    return tuple(
        np.zeros((tree.prompts, tree.nodes(h), tree.vocabulary)) for h in range(tree.horizon)
    )


def random_policy(tree: Tree, rng: Generator, scale: float = 1.0) -> Levels:
    """Logits drawn from a normal distribution of this deviation, each prefix by itself."""
    return from_logits(tuple(scale * rng.standard_normal(level.shape) for level in zeros(tree)))


def leaf_logprobs(tree: Tree, policy: Levels) -> Array:
    """Log-probability of each completion given its prompt, (P, L), in nats, summed over tokens."""
    return tree.spread(policy)


def logit_gradient(tree: Tree, policy: Levels, slope_PL: Array) -> Levels:
    """Turn a derivative by leaf log-probabilities into one by the policy's logits.

    A logit raises all completions behind its token, and lowers, by the token's probability, all
    behind its prefix: sum(slope behind the token) - pi(token) sum(slope behind the prefix).

    Args:
        tree: the completions.
        policy: where the derivative is taken.
        slope_PL: derivative of any objective by the log-probability of each completion.

    Returns:
        The derivative by each logit, (P, N, V) a depth. Cost: one walk over the tree.
    """
    behind, _ = tree.gather(slope_PL, lambda _, level: level.sum(axis=-1))
    return tuple(
        level - np.exp(logprob) * level.sum(axis=-1, keepdims=True)
        for level, logprob in zip(behind, policy, strict=True)
    )


def conditionals(tree: Tree, logprob_PL: Array) -> Levels:
    """The policy that gives these completions these probabilities.

    Args:
        tree: the completions.
        logprob_PL: log-probability of each completion, up to a constant for each prompt. Every
            prefix must be possible.
    """
    after, _ = tree.gather(logprob_PL, lambda _, level: logsumexp(level))
    return from_logits(after)
