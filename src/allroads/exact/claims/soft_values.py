"""Soft value iteration reaches the Boltzmann distribution of the reward.

Backwards over prefixes, V = beta log sum_a [ref(a)] exp(Q(a) / beta). The policy [ref times]
exp((Q - V) / beta) gives every completion its share of P*_r, and V of the prompt is beta log Z.

Source: the paper (soft RL); Ziebart 2010, "Modeling purposeful adaptive behavior".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from allroads.exact.claim import Claim, equal, unequal
from allroads.exact.example import BETA, Example, with_end, without_end
from allroads.exact.measures import averaged, boltzmann, expectation, kl, log_partition
from allroads.exact.policies import from_logits, leaf_logprobs, logsumexp
from allroads.exact.soft import soft_value_iteration
from allroads.exact.tree import Array
from allroads.findings import Check, Drawing, Line

DISCOUNT = 0.9


def check() -> tuple[Check, ...]:
    """Every variant."""
    e, fixed = with_end(), without_end()
    entropic = soft_value_iteration(e.tree, e.reward, beta=BETA)
    anchored = soft_value_iteration(e.tree, e.reward, beta=BETA, reference=e.reference)
    even = soft_value_iteration(fixed.tree, fixed.reward, beta=BETA)
    target = boltzmann(e.reward, beta=BETA)
    near_ref = boltzmann(e.reward, beta=BETA, reference_PL=e.log_ref)
    says = "log-probability of each completion, and its share of P*, nats"
    return (
        equal("entropy form", says, leaf_logprobs(e.tree, entropic.policy), target),
        equal("with a reference", says, leaf_logprobs(e.tree, anchored.policy), near_ref),
        equal(
            "one length",
            says,
            leaf_logprobs(fixed.tree, even.policy),
            boltzmann(fixed.reward, beta=BETA),
        ),
        equal(
            "value of the prompt",
            "V of the empty prefix, and beta log Z, reward units",
            anchored.root_P,
            BETA * log_partition(e.reward, beta=BETA, reference_PL=e.log_ref),
        ),
        *(
            unequal(name, f"{says}; {why}", policy(e, BETA), near_ref)
            for name, (why, policy) in BROKEN.items()
        ),
    )


def greatest(e: Example, beta: float) -> Array:
    """Values of the best continuation instead of soft ones."""
    return _backed_up(e, beta, lambda _, q: q.max(axis=-1))


def of_the_reference(e: Example, beta: float) -> Array:
    """Values of the reference: one step of improvement on it, and no more."""
    return _backed_up(e, beta, lambda h, q: expectation(e.reference[h], q))


def discounted(e: Example, beta: float) -> Array:
    """Soft values that lose a tenth with every token."""
    return _backed_up(e, beta, lambda h, q: DISCOUNT * beta * logsumexp(q / beta + e.reference[h]))


def reference_only_outside(e: Example, beta: float) -> Array:
    """The reference in the policy, but forgotten in the values."""
    return _backed_up(e, beta, lambda _, q: beta * logsumexp(q / beta))


def _backed_up(e: Example, beta: float, fold: Callable[[int, Array], Array]) -> Array:
    """Leaf log-probabilities of ref exp(Q / beta), normalised, with values folded otherwise."""
    q, _ = e.tree.gather(e.reward, fold)
    tilted = tuple(level / beta + ref for level, ref in zip(q, e.reference, strict=True))
    return leaf_logprobs(e.tree, from_logits(tilted))


BROKEN: dict[str, tuple[str, Callable[[Example, float], Array]]] = {
    "greatest value": ("V = max Q", greatest),
    "values of the reference": ("V = E_ref Q", of_the_reference),
    "discounted values": (f"V loses {1 - DISCOUNT:.0%} a token", discounted),
    "reference forgotten in the values": ("V = beta log sum exp(Q / beta)", reference_only_outside),
}


def draw() -> Drawing:
    """How far from P* each other backup ends, at every price of a nat."""
    e = with_end()
    betas = np.geomspace(0.05, 20, 60)
    lines = []
    for name, (_, policy) in BROKEN.items():
        far = [
            averaged(
                e.tree,
                kl(policy(e, b), boltzmann(e.reward, beta=b, reference_PL=e.log_ref)),
            )
            for b in betas
        ]
        lines.append(Line(name=name, x=tuple(betas.tolist()), y=tuple(far)))
    return Drawing(
        title="Only soft values lead to P*",
        x="beta, reward units per nat",
        y="KL from P*, nats",
        lines=tuple(lines),
        reading="Soft value iteration lies on the line at zero for every beta. The other ways to "
        "carry values backwards end somewhere else; greatest values come near where a nat is "
        "cheap, values of the reference where it is dear.",
        log_x=True,
    )


CLAIM = Claim(
    name="soft-values",
    statement="Soft value iteration over prefixes reaches P* exactly, and its value of a prompt "
    "is beta log Z.",
    source="Swamy et al. 2025 (soft RL); Ziebart 2010",
    check=check,
    draw=draw,
)
