"""What estimators of a policy gradient amount to on average: summed over every sample.

An estimator turns samples into weights on scores, and its mean gradient is
sum over x of weight(x) * grad log pi(x). That of E[r] itself has weight pi(x) (r(x) - E[r]).
Scores average to zero, so weights matter up to multiples of pi: `centred` takes those away.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from allroads.errors import InputError
from allroads.exact.measures import expectation
from allroads.exact.tree import Array, Levels, Tree

Advantage = Callable[[Array], Array]
"""Rewards of groups (G, K) -> advantages (G, K)."""

MOST_GROUPS = 10**6


def leave_one_out(reward_GK: Array) -> Array:
    """Each reward less the mean of the others of its group. Unbiased.

    Source: Ahmadian et al. 2024, arXiv:2402.14740 (RLOO).
    """
    k = reward_GK.shape[1]
    return reward_GK - (reward_GK.sum(axis=1, keepdims=True) - reward_GK) / (k - 1)


def less_group_mean(reward_GK: Array) -> Array:
    """Each reward less the mean of its group, itself included: (k - 1) / k of the gradient.

    Source: Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO).
    """
    return reward_GK - reward_GK.mean(axis=1, keepdims=True)


def standardised(reward_GK: Array) -> Array:
    """The same, divided by the group's deviation (over k - 1); 0 where all rewards are equal.

    Source: Shao et al. 2024, arXiv:2402.03300 (GRPO).
    """
    deviation = reward_GK.std(axis=1, ddof=1, keepdims=True)
    # A group of equal rewards may leave a deviation of rounding alone.
    flat = np.ptp(reward_GK, axis=1, keepdims=True) == 0
    return less_group_mean(reward_GK) / np.where(flat, np.inf, deviation)


def policy_gradient_weights(logprob_PL: Array, reward_PL: Array) -> Array:
    """(P, L) weights of the gradient of E[r] itself; of next tokens, (P, N, V), likewise."""
    return np.exp(logprob_PL) * (reward_PL - expectation(logprob_PL, reward_PL)[..., None])


def group_weights(logprob_PL: Array, reward_PL: Array, k: int, advantage: Advantage) -> Array:
    """(P, L) mean weights of (1/k) sum_i advantage_i * grad log pi(x_i), over all groups of k.

    Args:
        logprob_PL: the policy, nats.
        reward_PL: reward of each completion.
        k: completions of a group, drawn independently.
        advantage: what a group's rewards are turned into.

    Raises:
        InputError: there are more than `MOST_GROUPS` groups.
    """
    prompts, leaves = logprob_PL.shape
    if leaves**k > MOST_GROUPS:
        raise InputError(
            f"{leaves} completions make {leaves**k} groups of {k}; at most {MOST_GROUPS} are "
            "listed: take a smaller tree or smaller groups"
        )
    groups_GK = np.stack(np.unravel_index(np.arange(leaves**k), (leaves,) * k), axis=1)
    weight_PL = np.zeros((prompts, leaves))
    for row, logprob_L, reward_L in zip(weight_PL, logprob_PL, reward_PL, strict=True):
        chance_G = np.exp(logprob_L[groups_GK].sum(axis=1))
        share_GK = chance_G[:, None] * advantage(reward_L[groups_GK]) / k
        np.add.at(row, groups_GK, share_GK)
    return weight_PL


def clipped_weights(
    logprob_PL: Array, behaviour_PL: Array, advantage_PL: Array, *, clip: float
) -> Array:
    """(P, L) mean weights of PPO's clipped surrogate, samples from `behaviour`.

    min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A) with the ratio of whole completions: where the
    clamp decides, the gradient is zero. Without clipping they are pi * advantage.

    Source: Schulman et al. 2017, arXiv:1707.06347, eq. 7.
    """
    ratio = np.exp(logprob_PL - behaviour_PL)
    kept = np.where(advantage_PL > 0, ratio <= 1 + clip, ratio >= 1 - clip)
    return np.exp(logprob_PL) * advantage_PL * kept


def lambda_returns(
    tree: Tree, policy: Levels, reward_PL: Array, critic: Levels, *, decay: float
) -> Levels:
    """Mean lambda-return after each token: what GAE's advantage plus the critic amounts to.

    G(s, a) = r where the completion ends, else (1 - decay) V(s') + decay * E_pi[G(s', .)]; no
    discount. With decay 1 it is Q, whatever the critic; with an exact critic it is Q at any decay.

    Args:
        tree: the completions.
        policy: who writes them.
        reward_PL: given at the end of each completion.
        critic: value of each prefix, one (P, N) a depth.
        decay: lambda, in 0..1.

    Returns:
        One (P, N, V) a depth, reward units.

    Source: Schulman et al. 2016, arXiv:1506.02438.
    """

    def fold(depth: int, after: Array) -> Array:
        return (1 - decay) * critic[depth] + decay * expectation(policy[depth], after)

    returns, _ = tree.gather(reward_PL, fold)
    return returns


def lambda_weights(tree: Tree, policy: Levels, returns: Levels) -> Levels:
    """Mean weight of each token's own score: reach(prefix) * pi(token) * (G - E[G]), as levels."""
    return tuple(
        np.exp(reach)[..., None] * policy_gradient_weights(level, g)
        for reach, level, g in zip(tree.prefix_sums(policy), policy, returns, strict=True)
    )


def centred(weight_PL: Array, logprob_PL: Array) -> Array:
    """The same gradient with weights that sum to zero for each prompt."""
    return weight_PL - np.exp(logprob_PL) * weight_PL.sum(axis=-1, keepdims=True)


def length_and_direction(found: Array, wanted: Array) -> tuple[float, float]:
    """(length of `found` along `wanted` as a share of `wanted`, cosine of the angle)."""
    along = float(np.vdot(found, wanted))
    size, own = float(np.vdot(wanted, wanted)), float(np.vdot(found, found))
    return along / size, along / float(np.sqrt(size * own))
