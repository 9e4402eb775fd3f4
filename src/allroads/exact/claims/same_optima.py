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
FEW_STEPS, RATE = 20, 0.3
SOLVED = 1e-9
"""Tolerance of what an iterative solver has found."""
BOTH = "log-probability of each completion by both roads, nats"


def check() -> tuple[Check, ...]:
    """Every variant."""
    e = with_end()
    return (*_sets(e), *_unique(e), *_broken(e, random_pairs(e.tree, e.rng, 40)))


def fitted(pairs: Pairs, rewards: RewardClass, start: Array, ridge: float = RIDGE) -> Array:
    """The likeliest rewards of a class, with the ridge on differences within prompts; (P, L)."""
    fit = maximum_likelihood(rewards, pairs, start, ridge=ridge, coordinates=within_prompt)
    return fit.reward_PL


def reward_model(e: Example, pairs: Pairs, ridge: float = RIDGE) -> Array:
    """Stage one over every reward."""
    return fitted(pairs, every_reward(e.tree), np.zeros(e.reward.size), ridge)


def soft_rl(
    e: Example, reward: Array, *, beta: float = BETA, reference: Levels | None = None
) -> Array:
    """Stage two, near the example's reference by default; leaf log-probabilities."""
    anchor = reference or e.reference
    found = soft_value_iteration(e.tree, reward, beta=beta, reference=anchor)
    return leaf_logprobs(e.tree, found.policy)


def dpo(e: Example, pairs: Pairs, ridge: float = RIDGE) -> Array:
    """DPO over every policy, from a random one; leaf log-probabilities."""
    start = 0.3 * e.rng.standard_normal(e.tree.prompts * e.tree.slots)
    return _policy(e, fitted(pairs, _local(e), start, ridge))


def _local(e: Example) -> RewardClass:
    return implied_by_policies(e.tree, beta=BETA, reference=e.reference)


def _policy(e: Example, implied: Array) -> Array:
    """Leaf log-probabilities of the policy that implies a reward."""
    return implied / BETA + e.log_ref


def _implied(e: Example, log_pi: Array) -> Array:
    return implicit_reward(log_pi, beta=BETA, reference_PL=e.log_ref)


def _sets(e: Example) -> tuple[Check, ...]:
    """Eight pairs leave most completions open: the optima of each road are many."""
    pairs = random_pairs(e.tree, e.rng, 8)
    some = reward_model(e, pairs, ridge=0.0)
    other = some + _unseen(e, pairs)
    log_pi, log_dpo = soft_rl(e, other), dpo(e, pairs, ridge=0.0)
    least = pairs.nll(_implied(e, log_dpo))
    bare = leaf_logprobs(e.tree, soft_value_iteration(e.tree, other, beta=BETA).policy)
    start = e.rng.standard_normal(e.tree.prompts * e.tree.slots)
    local = fitted(pairs, implied_by_policies(e.tree, beta=BETA), start, ridge=0.0)
    return (
        equal(
            "any optimum of RM + soft RL",
            "its surprise at 8 pairs as DPO counts it, and DPO's least, nats",
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
            "surprise of RM + soft RL without a reference, and of DPO without one, nats",
            pairs.nll(implicit_reward(bare, beta=BETA)),
            pairs.nll(local),
            tolerance=SOLVED,
        ),
        unequal("one optimum taken for the set", f"{BOTH}; 8 pairs, no ridge", log_pi, log_dpo,
                tolerance=SOLVED),
    )  # fmt: skip


def _unseen(e: Example, pairs: Pairs) -> Array:
    """A random change of the reward that no pair can see."""
    ones = np.eye(e.reward.size).reshape(-1, *e.reward.shape)
    seen = np.array([pairs.differences(one) for one in ones]).T
    change = e.rng.standard_normal(e.reward.size)
    change -= np.linalg.pinv(seen) @ (seen @ change)
    return change.reshape(e.reward.shape)


def _unique(e: Example) -> tuple[Check, ...]:
    """With one ridge on differences within prompts, both roads return one policy."""
    checks = []
    for name, count in (("a single pair", 1), ("forty pairs", 40), ("all is covered", 2000)):
        pairs = random_pairs(e.tree, e.rng, count)
        two_stage, direct = soft_rl(e, reward_model(e, pairs)), dpo(e, pairs)
        says = f"{BOTH}; {count} random pairs"
        checks.append(equal(f"one ridge, {name}", says, two_stage, direct, tolerance=SOLVED))
    return tuple(checks)


def _broken(e: Example, pairs: Pairs) -> tuple[Check, ...]:
    """One part of the premise at a time; 40 pairs."""
    reward, log_dpo = reward_model(e, pairs), dpo(e, pairs)
    position = token_at_position(e.tree)
    blind = implied_by_log_linear(e.tree, position, beta=BETA, reference=e.reference)
    log_blind = _policy(e, fitted(pairs, blind, np.zeros(position.shape[-1])))
    raw = maximum_likelihood(_local(e), pairs, e.tree.flatten(e.reference).ravel(), ridge=RIDGE)
    start = e.tree.flatten(e.reference)
    early = few_steps(pairs, every_reward(e.tree), np.zeros(e.reward.size))
    early_dpo = few_steps(pairs, _local(e), start.ravel())
    other = random_policy(e.tree, e.rng)
    rows = (
        ("classes differ: simpler rewards", "rewards that count tokens, every policy",
         soft_rl(e, _counting(e, pairs)), log_dpo),
        ("classes differ: simpler policies", "every reward, DPO over policies blind to the prefix",
         soft_rl(e, reward), log_blind),
        ("another beta in stage two", "soft RL at 2 beta",
         soft_rl(e, reward, beta=2 * BETA), log_dpo),
        ("another reference in stage two", "soft RL near another policy",
         soft_rl(e, reward, reference=other), log_dpo),
        ("early stopping", f"{FEW_STEPS} gradient steps on rewards, as many on logits",
         soft_rl(e, early), _policy(e, early_dpo)),
        ("weight decay on one side", "the ridge on DPO alone",
         soft_rl(e, reward_model(e, pairs, ridge=0.0)), log_dpo),
        ("weight decay that sees the prompt's shift", "the same ridge, on the rewards themselves",
         soft_rl(e, reward), _policy(e, raw.reward_PL)),
    )  # fmt: skip
    return tuple(
        unequal(name, f"{BOTH}; {why}", left, right, tolerance=SOLVED)
        for name, why, left, right in rows
    )


def _counting(e: Example, pairs: Pairs) -> Array:
    """Stage one over rewards that only count tokens."""
    return fitted(pairs, linear_rewards(token_counts(e.tree)), np.zeros(e.tree.vocabulary))


def few_steps(pairs: Pairs, rewards: RewardClass, start: Array) -> Array:
    """Rewards after a few plain gradient steps."""
    theta = start.copy()
    for _ in range(FEW_STEPS):
        reward, jacobian = rewards(theta)
        theta -= RATE * np.tensordot(pairs.slope(reward), jacobian, axes=2)
    return rewards(theta)[0]


def draw() -> Drawing:
    """How far the two roads end from each other as the pairs cover more and more."""
    e = with_end()
    sizes = (1, 3, 10, 30, 100, 300, 1000)
    same, differ = [], []
    for size in sizes:
        pairs = random_pairs(e.tree, e.rng, size)
        log_dpo = dpo(e, pairs)
        for found, reward in ((same, reward_model(e, pairs)), (differ, _counting(e, pairs))):
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
