"""Policies and the rewards that they imply are two names of the same thing.

pi -> r_pi = beta log(pi [/ ref]) is a logarithm; r_pi -> pi is soft RL. Z(r_pi) = 1, so the round
trip returns pi; the other one returns r less beta log Z, a shift of each prompt that Bradley-Terry
cannot see.

Source: the paper (policy-reward isomorphism); Rafailov et al. 2023, arXiv:2305.18290, theorem 1.
"""

from __future__ import annotations

import numpy as np

from allroads.exact.claim import Claim, equal, unequal
from allroads.exact.example import BETA, Example, with_end
from allroads.exact.measures import log_partition
from allroads.exact.pairs import random_pairs
from allroads.exact.policies import leaf_logprobs
from allroads.exact.soft import implicit_reward, soft_value_iteration
from allroads.exact.tree import Array
from allroads.findings import Check, Drawing, Line


def check() -> tuple[Check, ...]:
    """Every variant."""
    e = with_end()
    implied = implicit_reward(e.log_pi, beta=BETA, reference_PL=e.log_ref)
    local = implicit_reward(e.log_pi, beta=BETA)
    found = soft_value_iteration(e.tree, e.reward, beta=BETA, reference=e.reference)
    back = implicit_reward(leaf_logprobs(e.tree, found.policy), beta=BETA, reference_PL=e.log_ref)
    log_z = log_partition(e.reward, beta=BETA, reference_PL=e.log_ref)
    per_token = implied / e.tree.lengths_L
    trip = "log-probability of each completion before and after the round trip, nats"
    return (
        equal("policy to reward and back", trip, _soft(e, implied), e.log_pi),
        equal(
            "the same without a reference",
            trip,
            leaf_logprobs(e.tree, soft_value_iteration(e.tree, local, beta=BETA).policy),
            e.log_pi,
        ),
        equal(
            "reward to policy and back",
            "the implied reward, and r - beta log Z, reward units",
            back,
            e.reward - BETA * log_z[:, None],
        ),
        equal(
            "no partition function",
            "log Z of an implied reward, and 0, nats",
            log_partition(implied, beta=BETA, reference_PL=e.log_ref),
            0.0,
        ),
        *_blindness(e),
        unequal("reward per token", trip, _soft(e, per_token), e.log_pi),
        unequal(
            "no partition function, reward per token",
            "log Z of an implied reward divided by the length, and 0, nats",
            log_partition(per_token, beta=BETA, reference_PL=e.log_ref),
            0.0,
        ),
        unequal("another beta on the way back", trip, _soft(e, implied, beta=2 * BETA), e.log_pi),
        unequal(
            "another reference on the way back",
            trip,
            leaf_logprobs(e.tree, soft_value_iteration(e.tree, implied, beta=BETA).policy),
            e.log_pi,
        ),
    )


def _soft(e: Example, reward: Array, beta: float = BETA) -> Array:
    found = soft_value_iteration(e.tree, reward, beta=beta, reference=e.reference)
    return leaf_logprobs(e.tree, found.policy)


def _blindness(e: Example) -> tuple[Check, ...]:
    """Bradley-Terry sees differences within a prompt, and nothing else."""
    pairs = random_pairs(e.tree, e.rng, 40)
    of_prompt = np.array([[3.0], [-5.0]])
    of_completion = np.linspace(0, 1, e.tree.leaves)
    says = "surprise at 40 pairs before and after a shift of the reward, nats"
    before = pairs.nll(e.reward)
    return (
        equal("shift of a prompt", says, pairs.nll(e.reward + of_prompt), before),
        unequal("shift of a completion", says, pairs.nll(e.reward + of_completion), before),
    )


def draw() -> Drawing:
    """Log Z of multiples of an implied reward: zero at one, and at none."""
    e = with_end()
    scale = np.linspace(0, 2, 81)
    implied = implicit_reward(e.log_pi, beta=BETA, reference_PL=e.log_ref)
    log_z = np.array([log_partition(s * implied, beta=BETA, reference_PL=e.log_ref) for s in scale])
    x = tuple(scale.tolist())
    return Drawing(
        title="A policy's own reward needs no normalising",
        x="multiple of the implied reward",
        y="log Z, nats",
        lines=tuple(
            Line(name=f"prompt {k + 1}", x=x, y=tuple(log_z[:, k].tolist()))
            for k in range(e.tree.prompts)
        ),
        reading="At 1, the implied reward itself, log Z is 0 for every prompt, and soft RL gives "
        "the policy back (at 0 it gives the reference). Any other multiple, and so any other "
        "beta on the way back, gives another policy.",
    )


CLAIM = Claim(
    name="isomorphism",
    statement="Policies and implied rewards are one to one: Z(r_pi) = 1, soft RL on r_pi returns "
    "pi, and a reward comes back up to a shift of each prompt, to which preferences are blind.",
    source="Swamy et al. 2025 (policy-reward isomorphism); Rafailov et al. 2023, theorem 1",
    check=check,
    draw=draw,
)
