"""Expectations, entropies, divergences and partition functions: sums over all completions.

Everything takes leaf log-probabilities (P, L) in nats and returns one number a prompt, (P,);
`averaged` weighs the prompts. A completion of probability zero adds nothing, whatever its value.
"""

from __future__ import annotations

import numpy as np

from allroads.exact.policies import logsumexp
from allroads.exact.tree import Array, Levels, Tree


def averaged(tree: Tree, value_P: Array) -> float:
    """The mean over prompts under their distribution rho."""
    return float(np.dot(tree.rho, value_P))


def expectation(logprob_PL: Array, value_PL: Array) -> Array:
    """E[value] of each prompt, in the value's unit."""
    with np.errstate(invalid="ignore"):
        terms = np.exp(logprob_PL) * value_PL
    return np.where(logprob_PL > -np.inf, terms, 0.0).sum(axis=-1)


def entropy(logprob_PL: Array) -> Array:
    """-E[log P] over whole completions, nats."""
    return -expectation(logprob_PL, logprob_PL)


def kl(logprob_PL: Array, other_PL: Array) -> Array:
    """KL(first || second) over whole completions, nats; infinite where only the second is zero."""
    with np.errstate(invalid="ignore"):
        ratio = logprob_PL - other_PL
    return expectation(logprob_PL, ratio)


def causal_entropy(tree: Tree, policy: Levels) -> Array:
    """E[sum over tokens of the entropy of the next token], nats.

    On a tree it is the entropy of whole completions, because a prefix remembers every choice.

    Source: Ziebart 2010, "Modeling purposeful adaptive behavior"; the paper (soft RL).
    """
    reach = tree.prefix_sums(policy)
    parts = (expectation(r, entropy(p)) for r, p in zip(reach, policy, strict=True))
    return np.sum(list(parts), axis=0)


def token_kl(tree: Tree, policy: Levels, other: Levels) -> Array:
    """E[sum over tokens of KL(policy || other) at the prefix], nats: the chain rule of `kl`."""
    reach = tree.prefix_sums(policy)
    parts = (expectation(r, kl(p, q)) for r, p, q in zip(reach, policy, other, strict=True))
    return np.sum(list(parts), axis=0)


def log_partition(
    reward_PL: Array, *, beta: float = 1.0, reference_PL: Array | None = None
) -> Array:
    """The log Z = log sum of exp(reward / beta), weighted by the reference where one is given.

    Nats; `beta * log Z` is the greatest value of E[r] + beta H, or of E[r] - beta KL(. || ref).
    """
    score = reward_PL / beta
    return logsumexp(score if reference_PL is None else score + reference_PL)


def boltzmann(reward_PL: Array, *, beta: float = 1.0, reference_PL: Array | None = None) -> Array:
    """Leaf log-probabilities proportional to exp(reward / beta), times the reference if given.

    Source: the paper (the target P*_r); Rafailov et al. 2023, arXiv:2305.18290, eq. 4.
    """
    score = reward_PL / beta
    score = score if reference_PL is None else score + reference_PL
    return score - logsumexp(score)[..., None]
