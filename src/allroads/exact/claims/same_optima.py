"""Reward model + soft RL and DPO have the same optima, where their classes are the same.

Premise: the rewards of stage one and the rewards that policies imply have the same differences
within prompts; beta and reference are the same throughout; each stage reaches its optimum. Then the
policies that the two roads may return are the same set, whatever the pairs cover: a pair that
nobody labelled leaves both roads equally free. Where a ridge makes the optimum unique, both roads
return the same policy, if the ridge is in coordinates that a pair can see.

Source: the paper, theorem 2.2 (entropy form); with a reference it is our reconstruction of its
companion, theorem 2.3.
"""

from __future__ import annotations

import numpy as np

from allroads.exact.claim import Claim, equal, unequal
from allroads.exact.classes import (
    RewardClass,
    every_reward,
    implied_by_log_linear,
    implied_by_policies,
    linear_rewards,
    within_prompt,
)
from allroads.exact.example import BETA, Example, with_end
from allroads.exact.features import token_at_position, token_counts
from allroads.exact.fit import maximum_likelihood
from allroads.exact.pairs import Pairs, random_pairs
from allroads.exact.policies import leaf_logprobs, random_policy
from allroads.exact.soft import implicit_reward, soft_value_iteration
from allroads.exact.tree import Array, Levels
from allroads.findings import Check, Drawing, Line

RIDGE = 0.1
FEW_STEPS = 20
SOLVED = 1e-9
"""Tolerance of what an iterative solver has found."""


def check() -> tuple[Check, ...]:
    """Every variant."""
    e = with_end()
    pairs = random_pairs(e.tree, e.rng, 40)
    return (*_sets(e, pairs), *_unique(e, pairs), *_broken(e, pairs))


def reward_model(e: Example, pairs: Pairs, ridge: float = RIDGE) -> Array:
    """Stage one over every reward, with the ridge on differences within prompts."""
    start = np.zeros(e.tree.prompts * e.tree.leaves)
    rewards = every_reward(e.tree)
    fit = maximum_likelihood(rewards, pairs, start, ridge=ridge, coordinates=within_prompt)
    return fit.reward_PL


def soft_rl(
    e: Example, reward: Array, *, beta: float = BETA, reference: Levels | None = None
) -> Array:
    """Stage two: leaf log-probabilities of the soft-optimal policy; the reference by default."""
    anchor = reference or e.reference
    found = soft_value_iteration(e.tree, reward, beta=beta, reference=anchor)
    return leaf_logprobs(e.tree, found.policy)


def dpo(e: Example, pairs: Pairs, ridge: float = RIDGE, *, class_: RewardClass | None = None,
        size: int | None = None) -> Array:  # fmt: skip
    """DPO, the same ridge; returns leaf log-probabilities."""
    rewards = class_ or implied_by_policies(e.tree, beta=BETA, reference=e.reference)
    start = 0.3 * e.rng.standard_normal(size or e.tree.prompts * e.tree.slots)
    fit = maximum_likelihood(rewards, pairs, start, ridge=ridge, coordinates=within_prompt)
    return fit.reward_PL / BETA + e.log_ref


def _implied(e: Example, log_pi: Array) -> Array:
    return implicit_reward(log_pi, beta=BETA, reference_PL=e.log_ref)


def _sets(e: Example, pairs: Pairs) -> tuple[Check, ...]:
    """Without a ridge the optima are many. Any of one road is one of the other."""
    some = reward_model(e, pairs, ridge=0.0)
    any_reward = some + _unseen(e, pairs)
    log_pi, log_dpo = soft_rl(e, any_reward), dpo(e, pairs, ridge=0.0)
    least = pairs.nll(_implied(e, log_dpo))
    entropic = implied_by_policies(e.tree, beta=BETA)
    local = dpo(e, pairs, 0.0, class_=entropic) - e.log_ref
    bare = soft_value_iteration(e.tree, any_reward, beta=BETA)
    return (
        equal(
            "any optimum of RM + soft RL",
            "its surprise at the labels as DPO counts it, and DPO's least, nats",
            pairs.nll(_implied(e, log_pi)),
            least,
            tolerance=SOLVED,
        ),
        equal(
            "any optimum of DPO",
            "surprise of its implied reward, and a reward model's least, nats",
            least,
            pairs.nll(some),
            tolerance=SOLVED,
        ),
        equal(
            "any optimum of DPO, slope",
            "slope of the reward model's likelihood at DPO's implied reward, and 0",
            pairs.slope(_implied(e, log_dpo)),
            0.0,
            tolerance=SOLVED,
        ),
        equal(
            "entropy form",
            "surprise of RM + soft RL without a reference, and of local DPO, nats",
            pairs.nll(implicit_reward(leaf_logprobs(e.tree, bare.policy), beta=BETA)),
            pairs.nll(BETA * local),
            tolerance=SOLVED,
        ),
    )


def _unseen(e: Example, pairs: Pairs) -> Array:
    """A random change of the reward that no pair can see."""
    ones = np.eye(e.tree.prompts * e.tree.leaves).reshape(-1, e.tree.prompts, e.tree.leaves)
    seen = np.array([pairs.differences(one) for one in ones]).T
    change = e.rng.standard_normal(seen.shape[1])
    change -= np.linalg.pinv(seen) @ (seen @ change)
    return change.reshape(e.tree.prompts, e.tree.leaves)


def _unique(e: Example, pairs: Pairs) -> tuple[Check, ...]:
    """With one ridge on differences within prompts, both roads return one policy."""
    one = random_pairs(e.tree, e.rng, 1)
    many = random_pairs(e.tree, e.rng, 2000)
    says = "log-probability of each completion under both roads, nats"
    return tuple(
        equal(name, f"{says}; {count}", soft_rl(e, reward_model(e, p)), dpo(e, p), tolerance=SOLVED)
        for name, count, p in (
            ("one ridge", "40 pairs", pairs),
            ("one ridge, a single pair", "1 pair", one),
            ("one ridge, every completion covered", "2,000 pairs", many),
        )
    )


def _broken(e: Example, pairs: Pairs) -> tuple[Check, ...]:
    """One part of the premise at a time."""
    log_dpo, reward = dpo(e, pairs), reward_model(e, pairs)
    counts = linear_rewards(token_counts(e.tree))
    simple = maximum_likelihood(
        counts, pairs, np.zeros(e.tree.vocabulary), ridge=RIDGE, coordinates=within_prompt
    )
    position = token_at_position(e.tree)
    blind = implied_by_log_linear(e.tree, position, beta=BETA, reference=e.reference)
    raw = maximum_likelihood(
        implied_by_policies(e.tree, beta=BETA, reference=e.reference),
        pairs,
        np.zeros(e.tree.prompts * e.tree.slots),
        ridge=RIDGE,
    )
    other = random_policy(e.tree, e.rng)
    roads = {
        "classes differ: simpler rewards": (
            "rewards that count tokens, every policy",
            soft_rl(e, simple.reward_PL),
            log_dpo,
        ),
        "classes differ: simpler policies": (
            "every reward, DPO over policies blind to the prefix",
            soft_rl(e, reward),
            dpo(e, pairs, class_=blind, size=position.shape[-1]),
        ),
        "another beta in stage two": (
            "soft RL at 2 beta",
            soft_rl(e, reward, beta=2 * BETA),
            log_dpo,
        ),
        "another reference in stage two": (
            "soft RL near another policy",
            soft_rl(e, reward, reference=other),
            log_dpo,
        ),
        "early stopping": (
            f"{FEW_STEPS} gradient steps on rewards, as many on logits",
            soft_rl(e, few_steps(e, pairs, every_reward(e.tree), e.tree.leaves)),
            few_steps(
                e,
                pairs,
                implied_by_policies(e.tree, beta=BETA, reference=e.reference),
                e.tree.slots,
                start=e.tree.flatten(e.reference),
            )
            / BETA
            + e.log_ref,
        ),
        "weight decay on one side": (
            "the ridge on DPO alone",
            soft_rl(e, reward_model(e, pairs, ridge=0.0)),
            log_dpo,
        ),
        "weight decay that sees the prompt's shift": (
            "the same ridge, on the rewards themselves",
            soft_rl(e, reward_model(e, pairs)),
            raw.reward_PL / BETA + e.log_ref,
        ),
    }
    says = "log-probability of each completion under both roads, nats"
    return tuple(
        unequal(name, f"{says}; {why}", left, right, tolerance=SOLVED)
        for name, (why, left, right) in roads.items()
    )


def few_steps(
    e: Example, pairs: Pairs, rewards: RewardClass, size: int, *, start: Array | None = None
) -> Array:
    """Rewards after a few plain gradient steps; both roads start at the reference."""
    theta = np.zeros(e.tree.prompts * size) if start is None else start.ravel().copy()
    for _ in range(FEW_STEPS):
        reward, jacobian = rewards(theta)
        theta -= 0.3 * np.tensordot(pairs.slope(reward), jacobian, axes=2)
    return rewards(theta)[0]


def draw() -> Drawing:
    """How far the two roads end from each other as the pairs cover more and more."""
    e = with_end()
    counts = linear_rewards(token_counts(e.tree))
    sizes = (1, 3, 10, 30, 100, 300, 1000)
    same, differ = [], []
    for size in sizes:
        pairs = random_pairs(e.tree, e.rng, size)
        log_dpo = dpo(e, pairs)
        simple = maximum_likelihood(
            counts, pairs, np.zeros(e.tree.vocabulary), ridge=RIDGE, coordinates=within_prompt
        )
        for found, reward in ((same, reward_model(e, pairs)), (differ, simple.reward_PL)):
            found.append(max(float(np.abs(soft_rl(e, reward) - log_dpo).max()), 1e-16))
    x = tuple(float(size) for size in sizes)
    return Drawing(
        title="The same policy by both roads, however few the pairs",
        x="preference pairs",
        y="greatest difference of log-probability, nats",
        lines=(
            Line(name="every reward, every policy", x=x, y=tuple(same)),
            Line(name="rewards that count tokens, every policy", x=x, y=tuple(differ)),
        ),
        reading="With classes whose differences coincide the two roads agree to rounding at any "
        "number of pairs. With a simpler class of rewards they do not, and more pairs do not help.",
        log_x=True,
        log_y=True,
    )


CLAIM = Claim(
    name="same-optima",
    statement="Where rewards and implied rewards have the same differences within prompts, reward "
    "model + soft RL and DPO have the same set of optima, whatever the pairs cover.",
    source="Swamy et al. 2025, theorem 2.2; with a reference: our reconstruction of theorem 2.3",
    check=check,
    draw=draw,
)
