"""Soft value iteration: the policy that solves entropy- or KL-regularised RL on a tree, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allroads.errors import InputError
from allroads.exact.policies import logsumexp
from allroads.exact.tree import Array, Levels, Tree


@dataclass(frozen=True, kw_only=True)
class SoftValues:
    """What soft value iteration finds. Values are in reward units, the policy in nats."""

    q: Levels
    """Q(prefix, token): what can still be had after the token, one (P, N, V) a depth."""
    v: Levels
    """V(prefix), one (P, N) a depth."""
    policy: Levels
    """log pi(token | prefix) = [log ref +] (Q - V) / beta."""
    root_P: Array
    """V of each prompt: beta log Z, the best value of the regularised objective."""


def soft_value_iteration(
    tree: Tree, reward_PL: Array, *, beta: float = 1.0, reference: Levels | None = None
) -> SoftValues:
    """Maximise E[reward] + beta * entropy, or E[reward] - beta * KL(policy || reference).

    Backwards from the leaves, in logarithms: V = beta log sum_a [ref(a)] exp(Q(a) / beta), where
    the value after a token is the reward of the leaf it ends in, or V of the longer prefix.

    Args:
        tree: the completions.
        reward_PL: reward of each completion, in reward units.
        beta: price of one nat, in reward units. Positive.
        reference: policy to stay near; None: the entropy form.

    Raises:
        InputError: beta is not positive, a reward is no number, or shapes do not fit the tree.

    Source: Ziebart 2010, "Modeling purposeful adaptive behavior"; the paper (soft RL); with a
    reference, Rafailov et al. 2023, arXiv:2305.18290, eq. 3-4.
    """
    if not beta > 0:
        raise InputError(f"beta must be positive, got {beta}")
    reward_PL = np.asarray(reward_PL, dtype=np.float64)
    if not (reward_PL < np.inf).all():
        raise InputError("reward_PL holds NaN or infinity: every completion needs a finite reward")
    if reference is not None:
        tree.check(reference)
    v: list[Array] = []
    policy: list[Array] = []

    def fold(depth: int, q: Array) -> Array:
        score = q / beta
        if reference is not None:
            score = score + reference[depth]
        total = logsumexp(score)
        v.append(beta * total)
        policy.append(score - total[..., None])
        return v[-1]

    q, root = tree.gather(reward_PL, fold)
    return SoftValues(q=q, v=tuple(reversed(v)), policy=tuple(reversed(policy)), root_P=root)


def implicit_reward(
    logprob_PL: Array, *, beta: float = 1.0, reference_PL: Array | None = None
) -> Array:
    """The reward that a policy implies: beta log pi, or beta log(pi / ref). Reward units, (P, L).

    Source: the paper (local reward models); Rafailov et al. 2023, arXiv:2305.18290, eq. 5.
    """
    return beta * (logprob_PL if reference_PL is None else logprob_PL - reference_PL)
