"""The learners: each turns labelled pairs into a policy by minimising the same `Objective`.

    (a)  DPO over the table of all policies           `over_the_table`
    (a') DPO over log-linear token policies           `over_token_policies`
    (b)  DPO over Pi(R_sim)                           `over_soft_optima`
    (c)  a reward of R_sim, then exact soft RL        `reward_then_rl`
    (c') the same, but RL inside the class of (a')    `reward_then_rl_inside`

(d) of the issue is (c) in a world whose true reward is not in R_sim.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from allroads.exact.measures import boltzmann, expectation
from allroads.exact.pairs import sigmoid
from allroads.exact.policies import leaf_logprobs
from allroads.exact.regret.newton import Minimum, minimise
from allroads.exact.regret.objective import Objective
from allroads.exact.regret.token import TokenClass
from allroads.exact.regret.world import World
from allroads.exact.soft import implicit_reward, soft_value_iteration
from allroads.exact.tree import Array


class Learnt(NamedTuple):
    """What a learner found."""

    log_pi: Array
    """Leaf log-probabilities of its policy, (P, L)."""
    reward_PL: Array
    """What its likelihood used: its reward, or the one that its policy implies; reward units."""
    value: float
    """F at the end, nats."""
    slope: float
    """Greatest derivative of F that is left, by the learner's own parameters."""


def token_class(world: World) -> TokenClass:
    """The class of (a') in a world."""
    return TokenClass(
        tree=world.tree,
        reference=world.reference,
        feature_PSK=world.token_feature_PSK,
        beta=world.setting.beta,
    )


def soft_optimum(world: World, reward_PL: Array) -> Array:
    """Exact soft RL: the leaf log-probabilities of the policy that is optimal for a reward."""
    return boltzmann(reward_PL, beta=world.setting.beta, reference_PL=world.log_ref)


def reward_then_rl(world: World, pairs: int) -> Learnt:
    """(c): the likeliest reward of R_sim, then its soft-optimal policy."""
    goal, feature = Objective.of(world, pairs), world.feature_PLD

    def derivatives(w: Array) -> tuple[Array, Array]:
        reward = feature @ w
        slope = np.einsum("pl,pld->d", goal.slope(reward), feature)
        return slope, goal.curvature(reward, feature)

    found = minimise(lambda w: goal.value(feature @ w), derivatives, np.zeros(feature.shape[-1]))
    reward = feature @ found.at
    return Learnt(soft_optimum(world, reward), reward, found.value, found.slope)


def over_soft_optima(world: World, pairs: int) -> Learnt:
    """(b): the likeliest policy among those that are soft-optimal for a reward of R_sim.

    Each step solves soft RL by value iteration, and the likelihood sees only what the policy
    implies.
    """
    goal, feature, beta = Objective.of(world, pairs), world.feature_PLD, world.setting.beta

    def policy(w: Array) -> Array:
        solved = soft_value_iteration(world.tree, feature @ w, beta=beta, reference=world.reference)
        return leaf_logprobs(world.tree, solved.policy)

    def implied(w: Array) -> Array:
        return implicit_reward(policy(w), beta=beta, reference_PL=world.log_ref)

    def derivatives(w: Array) -> tuple[Array, Array]:
        log_pi = policy(w)
        columns = np.moveaxis(feature, -1, 0)
        mean = np.stack([expectation(log_pi, column) for column in columns], axis=-1)
        jacobian = feature - mean[:, None]
        reward = implicit_reward(log_pi, beta=beta, reference_PL=world.log_ref)
        slope = np.einsum("pl,pld->d", goal.slope(reward), jacobian)
        return slope, goal.curvature(reward, jacobian)

    found = minimise(lambda w: goal.value(implied(w)), derivatives, np.zeros(feature.shape[-1]))
    return Learnt(policy(found.at), implied(found.at), found.value, found.slope)


def over_token_policies(world: World, pairs: int, start: Array | None = None) -> Learnt:
    """(a'): the likeliest token policy, searched from the reference unless `start` is given."""
    goal, policies = Objective.of(world, pairs), token_class(world)

    def derivatives(theta: Array) -> tuple[Array, Array]:
        reward, jacobian = policies.reward(theta), policies.jacobian(theta)
        pull = goal.slope(reward)
        curvature = goal.curvature(reward, jacobian) + policies.bend(theta, pull)
        return np.einsum("pl,plk->k", pull, jacobian), curvature

    start = np.zeros(policies.size) if start is None else start
    found = minimise(lambda t: goal.value(policies.reward(t)), derivatives, start)
    reward = policies.reward(found.at)
    return Learnt(world.log_ref + reward / world.setting.beta, reward, found.value, found.slope)


def reward_then_rl_inside(world: World, reward_PL: Array) -> Learnt:
    """(c'): soft RL with a given reward inside the class of (a'), exactly enumerated.

    Args:
        world: the world.
        reward_PL: the reward; of (c) for the road, the true one for the best of the class.
    """
    policies, beta = token_class(world), world.setting.beta
    rho = np.array(world.tree.rho)[:, None]

    def value(theta: Array) -> float:
        implied = policies.reward(theta)
        share = rho * np.exp(world.log_ref + implied / beta)
        return -float(np.sum(share * (reward_PL - implied)))

    def derivatives(theta: Array) -> tuple[Array, Array]:
        implied, jacobian = policies.reward(theta), policies.jacobian(theta)
        share = rho * np.exp(world.log_ref + implied / beta)
        gain = reward_PL - implied
        gain = gain - np.sum(share * gain, axis=1, keepdims=True) / rho
        flat = jacobian.reshape(gain.size, -1)
        weight = (share * (1 - gain / beta) / beta).reshape(-1, 1)
        curvature = flat.T @ (flat * weight) - policies.bend(theta, share * gain) / beta
        return -np.einsum("pl,plk->k", share * gain, jacobian) / beta, curvature

    found = minimise(value, derivatives, np.zeros(policies.size))
    implied = policies.reward(found.at)
    return Learnt(world.log_ref + implied / beta, implied, found.value, found.slope)


def over_the_table(world: World, pairs: int) -> Learnt:
    """(a): DPO over all policies, which is a logistic regression with a number per completion.

    Every reward is some policy's, up to a shift of its prompt (theorem 2.2), so prompts separate.
    The shift is chosen such that the mean under the reference is 0. The ridge is then diagonal, and
    completions without a label stay at 0.
    """
    goal = Objective.of(world, pairs)
    leaves = world.tree.leaves
    reward, value, slope = np.zeros(goal.weight_PL.shape), 0.0, 0.0
    for p in range(world.tree.prompts):
        mine = goal.winner_N // leaves == p
        both = np.stack([goal.winner_N[mine], goal.loser_N[mine]]) % leaves
        seen, places = np.unique(both, return_inverse=True)
        if len(seen):
            ridge = goal.ridge * goal.weight_PL[p, seen]
            found = _one_table(places.reshape(both.shape), ridge, goal.temperature)
            reward[p, seen] = found.at
            value, slope = value + found.value, max(slope, found.slope)
    return Learnt(soft_optimum(world, reward), reward, value, slope)


def _one_table(pair_2N: NDArray[np.intp], ridge_L: Array, temperature: float) -> Minimum:
    """The rewards of the completions that one prompt's pairs (winner, loser) hold."""
    (winner, loser), size = pair_2N, len(ridge_L)

    def margins(reward: Array) -> Array:
        return (reward[winner] - reward[loser]) / temperature

    def value(reward: Array) -> float:
        surprise = np.logaddexp(0, -margins(reward)).sum()
        return float(surprise + 0.5 * np.sum(ridge_L * reward**2))

    def derivatives(reward: Array) -> tuple[Array, Array]:
        miss = sigmoid(-margins(reward))
        pull = miss / temperature
        weight = miss * (1 - miss) / temperature**2
        slope = ridge_L * reward
        slope += np.bincount(loser, pull, size) - np.bincount(winner, pull, size)
        one_way = np.bincount(winner * size + loser, weight, size * size).reshape(size, size)
        curvature = np.diag(ridge_L) - one_way - one_way.T
        curvature[np.diag_indices(size)] += one_way.sum(axis=0) + one_way.sum(axis=1)
        return slope, curvature

    return minimise(value, derivatives, np.zeros(size))
