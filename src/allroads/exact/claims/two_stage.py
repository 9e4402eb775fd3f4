"""Two stages over simple rewards are maximum likelihood over the policies optimal for them.

With w -> r_w a class R_sim, Pi(R_sim) is the set of soft-optimal policies of its rewards. Fitting
r_w and then running soft RL returns the policy of Pi(R_sim) that is likeliest by DPO's own
likelihood, *if* soft RL reaches P*_r: then r_w and the policy's implied reward differ by a shift of
each prompt. A class of policies that cannot reach P*_r breaks it.

Source: the paper, theorem 3.1.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from allroads.exact.claim import Claim, equal, unequal
from allroads.exact.classes import (
    implied_by_policies,
    implied_by_soft_optima,
    linear_rewards,
)
from allroads.exact.example import BETA, Example, without_end
from allroads.exact.features import token_counts
from allroads.exact.fit import Fit, maximum_likelihood
from allroads.exact.measures import boltzmann
from allroads.exact.pairs import Pairs, labelled, random_pairs
from allroads.exact.policies import leaf_logprobs, logsumexp
from allroads.exact.soft import implicit_reward, soft_value_iteration
from allroads.exact.tree import Array, Tree
from allroads.findings import Check, Drawing, Line

SOLVED = 1e-9
"""Tolerance of what an iterative solver has found."""


def world() -> tuple[Example, Array, Pairs]:
    """Completions of two tokens; rewards linear in three features; 60 pairs of a richer truth."""
    e = without_end(horizon=2)
    feature = token_counts(e.tree)[..., 1:]
    other = e.rng.standard_normal((*e.reward.shape, 1))
    pairs = random_pairs(e.tree, e.rng, 60)
    return e, np.concatenate([feature, other], axis=-1), labelled(pairs, 2 * e.reward)


def check() -> tuple[Check, ...]:
    """Every variant."""
    e, feature, pairs = world()
    start = np.zeros(feature.shape[-1])
    first = maximum_likelihood(linear_rewards(feature), pairs, start)
    over = implied_by_soft_optima(e.tree, feature, beta=BETA, reference=e.reference)
    direct = maximum_likelihood(over, pairs, start + 1)
    log_two = _second_stage(e, first.reward_PL)
    implied = implicit_reward(log_two, beta=BETA, reference_PL=e.log_ref)
    return (
        equal(
            "parameters",
            "where the reward's likelihood, and the optimal policies', is highest",
            first.parameters,
            direct.parameters,
            tolerance=SOLVED,
        ),
        equal(
            "policy",
            "log-probability of each completion after two stages and by likelihood, nats",
            log_two,
            direct.reward_PL / BETA + e.log_ref,
            tolerance=SOLVED,
        ),
        equal(
            "likelihood",
            "surprise at the labels of the reward, and of the policy that it led to, nats",
            first.nll,
            pairs.nll(implied),
            tolerance=SOLVED,
        ),
        *_broken(e, feature, pairs, first, direct),
    )


def _second_stage(e: Example, reward: Array, *, beta: float = BETA) -> Array:
    found = soft_value_iteration(e.tree, reward, beta=beta, reference=e.reference)
    return leaf_logprobs(e.tree, found.policy)


def _broken(e: Example, feature: Array, pairs: Pairs, first: Fit, direct: Fit) -> tuple[Check, ...]:
    """One part of the premise at a time."""

    def surprise(log_pi: Array) -> float:
        return pairs.nll(implicit_reward(log_pi, beta=BETA, reference_PL=e.log_ref))

    def projected(parameters: Array) -> Array:
        return blind_projection(e.tree, _target(e, feature @ parameters))

    best = minimize(lambda w: surprise(projected(w)), first.parameters, tol=1e-9)
    bare = soft_value_iteration(e.tree, first.reward_PL, beta=BETA)
    every = maximum_likelihood(
        implied_by_policies(e.tree, beta=BETA, reference=e.reference),
        pairs,
        np.zeros(e.tree.prompts * e.tree.slots),
    )
    says = "surprise at the labels after two stages, and the least over Pi(R_sim), nats"
    return (
        unequal(
            "lossy projection",
            f"{says}; policies that cannot see the prefix",
            surprise(projected(first.parameters)),
            float(best.fun),
            tolerance=SOLVED,
        ),
        unequal(
            "another beta in stage two",
            f"{says}; soft RL at 2 beta",
            surprise(_second_stage(e, first.reward_PL, beta=2 * BETA)),
            direct.nll,
            tolerance=SOLVED,
        ),
        unequal(
            "another reference in stage two",
            f"{says}; soft RL without the reference",
            surprise(leaf_logprobs(e.tree, bare.policy)),
            direct.nll,
            tolerance=SOLVED,
        ),
        unequal(
            "all policies instead of Pi(R_sim)",
            "surprise at the labels after two stages, and DPO's least over all policies, nats",
            first.nll,
            every.nll,
            tolerance=SOLVED,
        ),
    )


def _target(e: Example, reward: Array) -> Array:
    return boltzmann(reward, beta=BETA, reference_PL=e.log_ref)


def blind_projection(tree: Tree, target_PL: Array, rounds: int = 2000) -> Array:
    """The policy nearest to a distribution, in KL(pi || target), that draws tokens independently.

    Each position's distribution in turn is set to its optimum given the others (mean field), until
    nothing moves. Only for trees whose completions have one length.
    """
    shape = (tree.prompts, *[tree.vocabulary] * tree.horizon)
    target = target_PL.reshape(shape)
    axes = range(1, tree.horizon + 1)
    log_q = [np.full((tree.prompts, tree.vocabulary), -np.log(tree.vocabulary)) for _ in axes]

    def along(axis: int) -> Array:
        """This position's log-probabilities, ready to broadcast over whole completions."""
        sizes = [tree.prompts, *[1] * tree.horizon]
        sizes[axis] = tree.vocabulary
        return log_q[axis - 1].reshape(sizes)

    for _ in range(rounds):
        moved = 0.0
        for axis in axes:
            others = sum(along(k) for k in axes if k != axis)
            rest = tuple(k for k in axes if k != axis)
            score = (np.exp(others) * target).sum(axis=rest)
            new = score - logsumexp(score)[:, None]
            moved = max(moved, float(np.abs(new - log_q[axis - 1]).max()))
            log_q[axis - 1] = new
        if moved < 1e-13:
            break
    return np.broadcast_to(sum(along(k) for k in axes), shape).reshape(target_PL.shape)


def draw() -> Drawing:
    """The labels' likelihood along a line of rewards, read from rewards and from policies."""
    e, feature, pairs = world()
    first = maximum_likelihood(linear_rewards(feature), pairs, np.zeros(feature.shape[-1]))
    scale = np.linspace(-0.5, 3, 71)

    def surprise(log_pi: Array) -> float:
        return pairs.nll(implicit_reward(log_pi, beta=BETA, reference_PL=e.log_ref))

    rewards = [s * first.reward_PL for s in scale]
    x = tuple(scale.tolist())
    return Drawing(
        title="A reward and the policy that is optimal for it explain the labels equally well",
        x="multiple of the fitted reward",
        y="surprise at the labels, nats",
        lines=(
            Line(name="the reward", x=x, y=tuple(pairs.nll(r) for r in rewards)),
            Line(
                name="its soft-optimal policy",
                x=x[::5],
                y=tuple(surprise(_second_stage(e, r)) for r in rewards[::5]),
            ),
            Line(
                name="the nearest policy that is blind to the prefix",
                x=x,
                y=tuple(surprise(blind_projection(e.tree, _target(e, r))) for r in rewards),
            ),
        ),
        reading="The first two curves are one curve, so they have one optimum. Where policies "
        "cannot reach the optimum of a reward, the curve is another one: its least surprise is "
        "not where stage one stopped.",
    )


CLAIM = Claim(
    name="two-stage",
    statement="If soft RL loses nothing, a reward model over R_sim followed by soft RL is maximum "
    "likelihood over Pi(R_sim), the policies that are optimal for rewards of R_sim.",
    source="Swamy et al. 2025, theorem 3.1",
    check=check,
    draw=draw,
)
