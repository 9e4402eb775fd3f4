"""Soft RL is a reverse-KL projection onto the reward's Boltzmann distribution.

E_pi[r] + beta H(pi) = beta log Z(r) - beta KL(P_pi || P*_r), for every policy; with a reference,
-beta KL(pi || ref) stands in place of the entropy. So the best policy of *any* class is the one
whose distribution is nearest to P*_r, in this direction.

Source: the paper (soft RL as a projection).
"""

from __future__ import annotations

import numpy as np

from allroads.exact.claim import Claim, equal, unequal
from allroads.exact.example import BETA, Example, with_end
from allroads.exact.measures import (
    boltzmann,
    causal_entropy,
    entropy,
    expectation,
    kl,
    log_partition,
)
from allroads.exact.policies import from_logits, leaf_logprobs
from allroads.exact.tree import Array
from allroads.findings import Check, Drawing, Line

SLIP = 0.2
"""Chance that another token than the chosen one is written, where the dynamics are broken."""


def check() -> tuple[Check, ...]:
    """Every variant."""
    e = with_end()
    log_pi, log_ref = e.log_pi, e.log_ref
    value = expectation(log_pi, e.reward)
    soft = value + BETA * causal_entropy(e.tree, e.policy)
    anchored = value - BETA * kl(log_pi, log_ref)
    target = boltzmann(e.reward, beta=BETA)
    near_ref = boltzmann(e.reward, beta=BETA, reference_PL=log_ref)
    top = BETA * log_partition(e.reward, beta=BETA)
    top_ref = BETA * log_partition(e.reward, beta=BETA, reference_PL=log_ref)
    scale, objective, reverse, forward = line_of_policies(e)
    return (
        equal(
            "entropy form",
            "E[r] + beta H(pi) against beta log Z - beta KL(pi || P*), reward units",
            soft,
            top - BETA * kl(log_pi, target),
        ),
        equal(
            "with a reference",
            "E[r] - beta KL(pi || ref) against beta log Z - beta KL(pi || P*), reward units",
            anchored,
            top_ref - BETA * kl(log_pi, near_ref),
        ),
        equal(
            "any class",
            "where on a line of policies the objective is best, and where KL(pi || P*) is least",
            scale[np.argmax(objective)],
            scale[np.argmin(reverse)],
        ),
        unequal(
            "divergence the other way",
            "the same with KL(P* || pi), reward units",
            soft,
            top - BETA * kl(target, log_pi),
        ),
        unequal(
            "any class, divergence the other way",
            "where on the line the objective is best, and where KL(P* || pi) is least",
            scale[np.argmax(objective)],
            scale[np.argmin(forward)],
        ),
        unequal(
            "entropy at another price",
            "E[r] + 2 beta H(pi) against beta log Z - beta KL(pi || P*), reward units",
            value + 2 * BETA * causal_entropy(e.tree, e.policy),
            top - BETA * kl(log_pi, target),
        ),
        _slippery(e, top, target),
    )


def _slippery(e: Example, top: Array, target: Array) -> Check:
    """Tokens that can slip: what is chosen is no longer what is written."""
    written = tuple(
        np.log((1 - SLIP) * np.exp(level) + SLIP / e.tree.vocabulary) for level in e.policy
    )
    log_pi = leaf_logprobs(e.tree, written)
    reach = e.tree.prefix_sums(written)
    chosen = sum(expectation(r, entropy(level)) for r, level in zip(reach, e.policy, strict=True))
    return unequal(
        "dynamics that are not a tree",
        "the same where a token slips one time in five: entropy of choices is not of completions",
        expectation(log_pi, e.reward) + BETA * chosen,
        top - BETA * kl(log_pi, target),
    )


def line_of_policies(e: Example) -> tuple[Array, Array, Array, Array]:
    """The policy's logits times a growing scale: objective and both divergences, first prompt."""
    scale = np.linspace(-3, 3, 241)
    target = boltzmann(e.reward, beta=BETA)
    rows = []
    for s in scale:
        log_pi = leaf_logprobs(e.tree, from_logits(tuple(s * level for level in e.policy)))
        objective = expectation(log_pi, e.reward) + BETA * entropy(log_pi)
        rows.append([objective[0], kl(log_pi, target)[0], kl(target, log_pi)[0]])
    objective, reverse, forward = np.array(rows).T
    return scale, objective, reverse, forward


def draw() -> Drawing:
    """Both divergences along a line of policies, and what the objective leaves to be gained."""
    e = with_end()
    scale, objective, reverse, forward = line_of_policies(e)
    best = BETA * log_partition(e.reward, beta=BETA)[0]
    x = tuple(scale.tolist())
    return Drawing(
        title="The soft RL objective measures one divergence, and not the other",
        x="scale of the logits (0: uniform)",
        y="nats",
        lines=(
            Line(name="KL(pi || P*)", x=x, y=tuple(reverse.tolist())),
            Line(
                name="what the objective leaves to be gained, / beta",
                x=x[::12],
                y=tuple(((best - objective) / BETA)[::12].tolist()),
            ),
            Line(name="KL(P* || pi)", x=x, y=tuple(forward.tolist())),
        ),
        reading="The first two curves are the same curve: maximising the objective over these "
        "policies is minimising KL(pi || P*). The other direction has its least value elsewhere.",
    )


CLAIM = Claim(
    name="projection",
    statement="Soft RL is a reverse-KL projection: E[r] + beta H(pi) = beta log Z - beta "
    "KL(pi || P*), so over any class of policies the best one is the nearest to P*.",
    source="Swamy et al. 2025 (soft RL as a projection)",
    check=check,
    draw=draw,
)
