"""One objective: KL(P_D || P_pi) + beta KL(P_pi || P_ref), and the roads as its special cases.

SFT keeps the first term, on demonstrations. Max-entropy RL keeps the second, with every completion
equally likely under the reference, and a reward in place of the data. RLHF takes the terms one
after the other: the first on preferences, over rewards; the second towards the policy. DPO is the
first on preferences, over the rewards that policies imply.

Source: the paper (unified objective).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import wrightomega

from allroads.exact.claim import Claim, at_most, equal, unequal
from allroads.exact.example import BETA, Example, with_end, without_end
from allroads.exact.measures import (
    averaged,
    boltzmann,
    causal_entropy,
    entropy,
    expectation,
    kl,
    log_partition,
)
from allroads.exact.pairs import Pairs, random_pairs, sigmoid
from allroads.exact.policies import conditionals, leaf_logprobs, random_policy, uniform
from allroads.exact.soft import soft_value_iteration
from allroads.exact.tree import Array
from allroads.findings import Check, Drawing, Line


def check() -> tuple[Check, ...]:
    """Every variant."""
    e = with_end()
    log_data = leaf_logprobs(e.tree, random_policy(e.tree, e.rng))
    return (
        *_sft(e, log_data),
        *_max_entropy(e),
        *_rlhf_and_dpo(e, random_pairs(e.tree, e.rng, 40)),
        *_both_terms(e, log_data),
    )


def _sft(e: Example, log_data: Array) -> tuple[Check, ...]:
    """The first term is the data's surprise, up to what no policy can change."""
    reach = e.tree.prefix_sums(conditionals(e.tree, log_data))
    tokens = zip(reach, conditionals(e.tree, log_data), e.policy, strict=True)
    surprise = -sum(expectation(r, expectation(d, p)) for r, d, p in tokens)
    says = "surprise of each next token of the data less the data's entropy, and {}, nats"
    return (
        equal(
            "SFT",
            says.format("KL(P_D || P_pi)"),
            surprise - entropy(log_data),
            kl(log_data, e.log_pi),
        ),
        unequal(
            "SFT, divergence the other way",
            says.format("KL(P_pi || P_D)"),
            surprise - entropy(log_data),
            kl(e.log_pi, log_data),
        ),
    )


def _max_entropy(e: Example) -> tuple[Check, ...]:
    """With an even reference the second term is the entropy, up to a constant."""
    fixed = without_end()
    says = "KL from the policy of even tokens, and log of the number of completions - H(pi), nats"
    checks = [
        test(
            name,
            says,
            kl(x.log_pi, leaf_logprobs(x.tree, uniform(x.tree))),
            math.log(x.tree.leaves) - causal_entropy(x.tree, x.policy),
        )
        for test, name, x in (
            (equal, "max-entropy RL", fixed),
            (unequal, "max-entropy RL, lengths differ", e),
        )
    ]
    return tuple(checks)


def _rlhf_and_dpo(e: Example, pairs: Pairs) -> tuple[Check, ...]:
    """The first term on preferences is the Bradley-Terry likelihood, of whatever class."""
    value = expectation(e.log_pi, e.reward) - BETA * kl(e.log_pi, e.log_ref)
    target = boltzmann(e.reward, beta=BETA, reference_PL=e.log_ref)
    best = BETA * log_partition(e.reward, beta=BETA, reference_PL=e.log_ref)
    ratio = e.log_pi - e.log_ref
    says = "KL from the labels to Bradley-Terry, and the likelihood's loss less label entropy, nats"
    return (
        equal(
            "RLHF, stage one",
            says,
            label_kl(pairs, pairs.differences(e.reward)),
            pairs.nll(e.reward) - pairs.label_entropy(),
        ),
        equal(
            "RLHF, stage two",
            "E[r] - beta KL(pi || ref), and beta log Z - beta KL(pi || P*), reward units",
            value,
            best - BETA * kl(e.log_pi, target),
        ),
        equal(
            "DPO",
            f"{says}; rewards are beta log(pi / ref)",
            label_kl(pairs, pairs.differences(BETA * ratio)),
            _dpo_loss(e, pairs) - pairs.label_entropy(),
        ),
        unequal(
            "DPO without its reference",
            f"{says}; rewards are beta log pi",
            label_kl(pairs, pairs.differences(BETA * e.log_pi)),
            _dpo_loss(e, pairs) - pairs.label_entropy(),
        ),
    )


def label_kl(pairs: Pairs, difference_M: Array) -> float:
    """KL from the labels' shares to those that Bradley-Terry expects, summed over labels, nats."""
    p, q = pairs.share_M, sigmoid(difference_M)
    terms = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    return float(np.dot(pairs.weight_M, terms))


def _dpo_loss(e: Example, pairs: Pairs) -> float:
    """DPO's loss as its authors print it, pair by pair, in plain numbers."""
    total = 0.0
    rows = zip(pairs.prompt_M, pairs.first_M, pairs.second_M, pairs.share_M, strict=True)
    for prompt, first, second, share in rows:
        log_pi, log_ref = e.log_pi[prompt], e.log_ref[prompt]
        lead = BETA * (log_pi[first] - log_ref[first]) - BETA * (log_pi[second] - log_ref[second])
        total -= share * math.log(1 / (1 + math.exp(-lead)))
        total -= (1 - share) * math.log(1 / (1 + math.exp(lead)))
    return total


def _both_terms(e: Example, log_data: Array) -> tuple[Check, ...]:
    """The optimum of the whole objective lies between the data and the reference."""
    best = optimum(log_data, e.log_ref, BETA)
    others = [e.log_pi, e.log_ref, log_data, boltzmann(0.5 * (log_data + e.log_ref))]
    nearest = soft_value_iteration(e.tree, log_data, beta=BETA, reference=e.reference)
    others.append(leaf_logprobs(e.tree, nearest.policy))
    return (
        equal("both terms, beta near 0", "the optimum and the data, log-probabilities, nats",
              optimum(log_data, e.log_ref, 1e-9), log_data, tolerance=1e-6),
        equal("both terms, beta large", "the optimum and the reference, log-probabilities, nats",
              optimum(log_data, e.log_ref, 1e9), e.log_ref, tolerance=1e-6),
        at_most(
            "both terms",
            "the objective at its optimum, and at five other policies, nats",
            _objective(e, log_data, best),
            [_objective(e, log_data, other) for other in others],
        ),
    )  # fmt: skip


def _objective(e: Example, log_data: Array, log_pi: Array) -> float:
    return averaged(e.tree, kl(log_data, log_pi) + BETA * kl(log_pi, e.log_ref))


def optimum(log_data: Array, log_ref: Array, beta: float) -> Array:
    """Minimise KL(data || P) + beta KL(P || ref) over all distributions; log P, (P, L).

    Stationarity, -D / P + beta log(P / ref) = c, has one solution for each c (Wright's omega); the
    constant of each prompt that makes P sum to one is found by bisection.
    """
    shift = np.log(1 / beta) + log_data - log_ref

    def log_p(c: Array) -> Array:
        # P = (D / beta) / omega(log(D / (beta ref)) - c / beta), here with c / beta.
        return log_data - np.log(beta) - np.log(np.real(wrightomega(shift - c[:, None])))

    width = 10.0 + 2.0 / beta + np.abs(log_data - log_ref).max()
    low = np.full(len(log_data), -width)
    high = np.full(len(log_data), width)
    for _ in range(200):
        middle = (low + high) / 2
        above = np.exp(log_p(middle)).sum(axis=1) > 1
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return log_p((low + high) / 2)


def draw() -> Drawing:
    """The path of the optimum from the data to the reference, as beta grows."""
    e = with_end()
    log_data = leaf_logprobs(e.tree, random_policy(e.tree, e.rng))
    betas = np.geomspace(1e-3, 1e3, 61)
    path = [optimum(log_data, e.log_ref, beta) for beta in betas]
    mixed = [np.logaddexp(log_data + np.log1p(-s), e.log_ref + np.log(s))
             for s in np.linspace(1e-6, 1 - 1e-6, 41)]  # fmt: skip

    def along(points: list[Array]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (
            tuple(averaged(e.tree, kl(p, e.log_ref)) for p in points),
            tuple(averaged(e.tree, kl(log_data, p)) for p in points),
        )

    best, mixture = along(path), along(mixed)
    return Drawing(
        title="From the data to the reference",
        x="KL(P_pi || P_ref), nats",
        y="KL(P_D || P_pi), nats",
        lines=(
            Line(name="optimum, beta from 0.001 to 1000", x=best[0], y=best[1]),
            Line(name="mixtures of data and reference", x=mixture[0], y=mixture[1]),
        ),
        reading="Each point of the lower curve is the best policy at one beta: it starts at the "
        "data (SFT, beta 0) and ends at the reference. Nothing lies below it; mixing the two "
        "distributions lies above.",
    )


CLAIM = Claim(
    name="unified",
    statement="SFT, max-entropy RL, RLHF and DPO are special cases of KL(P_D || P_pi) + beta "
    "KL(P_pi || P_ref).",
    source="Swamy et al. 2025 (unified objective)",
    check=check,
    draw=draw,
)
