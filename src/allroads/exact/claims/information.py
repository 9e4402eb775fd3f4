"""Data processing: what is known of the true reward can only shrink on the way to a policy.

truth -> labels -> reward model -> samples that the policy draws and the reward model labels. Each
arrow uses nothing but what stands before it, so no step adds information about the truth. A
labeller from outside the data (a verifier, a judge) has an arrow of its own from the truth, and
information rises.

Everything is finite and enumerated: four possible rewards, equally likely; a few pairs with
Bradley-Terry labels; a reward model that is a function of the labels and sees only the number of
ones; on-policy pairs.

Source: the paper (hypothesis 1); Cover and Thomas 2006, theorem 2.8.1.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allroads.exact.claim import Claim, at_most, equal, exceeds
from allroads.exact.classes import linear_rewards
from allroads.exact.fit import maximum_likelihood
from allroads.exact.measures import boltzmann
from allroads.exact.pairs import Pairs, sigmoid
from allroads.exact.tree import Array, Tree
from allroads.findings import Check, Drawing, Line

TREE = Tree(vocabulary=2, horizon=2)
PAIRS = ((3, 0), (2, 1), (3, 1), (1, 0), (2, 0))
"""The labelled pairs, as leaves: every pair of completions but one."""
BETA, RIDGE, SAMPLED = 0.5, 1.0, 2
"""Price of a nat in stage two; ridge of the reward model; on-policy pairs that are labelled."""
TRUTHS = np.array(
    [[0.0, 1.0, 1.0, 2.0], [2.0, 1.0, 1.0, 0.0], [0.0, 0.0, 2.0, 2.0], [0.0, 2.0, 0.0, 2.0]]
)
"""The family of rewards, (truths, L): more ones, fewer ones, a first one, a last one."""
RICH = TREE.tokens_LH.astype(float)
"""Is the first token a one, and the last? Every truth is linear in these."""
SIMPLE = RICH.sum(axis=1, keepdims=True)
"""The number of ones: the reward model's only feature."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Everything that can happen, with its probability. Axis letters: R truths, D label sets."""

    labels_RD: Array
    """P(label set | truth)."""
    model_D: NDArray[np.intp]
    """The reward model's name for each label set: equal numbers are the same reward model."""
    outcome_DX: Array
    """P(samples and their labels by the reward model | label set)."""
    judged_RDX: dict[str, Array]
    """P(samples and labels | truth, label set) for each labeller from outside."""


def check() -> tuple[Check, ...]:
    """Every variant."""
    c = chain()
    data, model, samples = kept(c)
    _, rich, _ = kept(chain(feature_LK=RICH))
    more = {name: _of(c.labels_RD[:, :, None] * x) for name, x in c.judged_RDX.items()}
    both = _of(c.labels_RD[:, :, None] * c.outcome_DX)
    alone = {name: _of((c.labels_RD[:, :, None] * x).sum(1)) for name, x in c.judged_RDX.items()}
    says = "information about the truth {}, and {}, nats"
    return (
        at_most("labels to reward model",
                f"{says.format('in the reward model', 'in its labels')}; "
                f"{data - model:.3f} are lost", model, data),
        at_most("reward model to samples",
                f"{says.format('in samples that it labels', 'in the reward model')}; "
                f"{model - samples:.3f} are lost", samples, model),
        equal("labels to a reward model that can express every truth",
              f"{says.format('in the reward model', 'in its labels')}; what it fits is sufficient",
              rich, data),
        equal("labels and samples together",
              says.format("in labels and samples", "in the labels alone"), both, data),
        *(
            exceeds(f"outside labeller: {name}",
                    says.format("in labels and samples", "in the labels alone"), x, data)
            for name, x in more.items()
        ),
        exceeds("outside labeller: verifier, labels forgotten",
                says.format("in the samples alone", "in those that the reward model labels"),
                alone["verifier"], samples),
    )  # fmt: skip


def kept(c: Chain) -> tuple[float, float, float]:
    """Information about the truth in the labels, the reward model, and the samples; nats."""
    merged = np.array(
        [c.labels_RD[:, c.model_D == name].sum(axis=1) for name in np.unique(c.model_D)]
    ).T
    return _of(c.labels_RD), _of(merged), _of(c.labels_RD @ c.outcome_DX)


def _of(given_RX: Array) -> float:
    """Mutual information of an even truth and an outcome, from P(outcome | truth); nats."""
    joint = given_RX.reshape(len(given_RX), -1) / len(given_RX)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    return float(np.sum(joint[some] * np.log(joint[some] / apart[some])))


def chain(sampled: int = SAMPLED, feature_LK: Array = SIMPLE) -> Chain:
    """Enumerate label sets, reward models, on-policy pairs and their labels."""
    label_sets = np.array(list(itertools.product((1, 0), repeat=len(PAIRS))))
    first, second = np.array(PAIRS).T
    wins = sigmoid(TRUTHS[:, first] - TRUTHS[:, second])
    labels = np.prod(np.where(label_sets, wins[:, None], 1 - wins[:, None]), axis=2)
    rewards = np.array([reward_model(row, feature_LK) for row in label_sets])
    _, names = np.unique(np.round(rewards, 9), axis=0, return_inverse=True)
    log_pi = boltzmann(rewards, beta=BETA)
    outcome = np.array([_labelled(p, r, sampled) for p, r in zip(log_pi, rewards, strict=True)])
    judged = {
        "verifier": np.array([[_labelled(p, 20 * t, sampled) for p in log_pi] for t in TRUTHS]),
        "judge": np.array([[_labelled(p, t, sampled) for p in log_pi] for t in TRUTHS]),
        "judge that agrees little": np.array(
            [[_labelled(p, 0.2 * t, sampled) for p in log_pi] for t in TRUTHS]
        ),
    }
    return Chain(labels_RD=labels, model_D=names.ravel(), outcome_DX=outcome, judged_RDX=judged)


def reward_model(first_wins: Array, feature_LK: Array) -> Array:
    """The reward of each completion that one set of labels leads to: a ridge fit, linear."""
    first, second = np.array(PAIRS).T
    pairs = Pairs(
        prompt_M=np.zeros(len(PAIRS), dtype=np.intp),
        first_M=first,
        second_M=second,
        share_M=np.asarray(first_wins, float),
        weight_M=np.ones(len(PAIRS)),
    )
    start = np.zeros(feature_LK.shape[-1])
    rewards = linear_rewards(feature_LK[None])
    return maximum_likelihood(rewards, pairs, start, ridge=RIDGE).reward_PL[0]


def _labelled(log_p: Array, reward: Array, sampled: int) -> Array:
    """P(pairs drawn from the policy, and their labels), flat, for `sampled` independent pairs."""
    chance = np.exp(log_p)[:, None] * np.exp(log_p)[None]
    first = sigmoid(reward[:, None] - reward[None])
    one = np.stack([chance * first, chance * (1 - first)]).ravel()
    flat = np.ones(1)
    for _ in range(sampled):
        flat = np.outer(flat, one).ravel()
    return flat


def draw() -> Drawing:
    """Information about the truth as more and more on-policy pairs are labelled."""
    counts = (0, 1, 2)
    chains = [chain(sampled) for sampled in counts]
    x = tuple(float(n) for n in counts)
    data, model, _ = kept(chains[0])
    together = [_of(c.labels_RD[:, :, None] * c.outcome_DX) for c in chains]

    def of(name: str) -> tuple[float, ...]:
        return tuple(_of(c.labels_RD[:, :, None] * c.judged_RDX[name]) for c in chains)

    return Drawing(
        title="Where information about the true reward comes from",
        x="on-policy pairs that are labelled",
        y="information about the truth, nats",
        lines=(
            Line(name="human labels + a verifier's", x=x, y=of("verifier")),
            Line(name="human labels + a judge's", x=x, y=of("judge")),
            Line(name="human labels + the reward model's", x=x, y=tuple(together)),
            Line(name="the reward model", x=x, y=(model,) * len(x)),
            Line(
                name="the reward model's labels alone",
                x=x,
                y=tuple(kept(c)[2] for c in chains),
            ),
        ),
        reading="Samples labelled by the reward model add nothing to the human labels, and by "
        "themselves never hold more than the reward model. Labels from outside raise the line. "
        f"All there is to know is {np.log(len(TRUTHS)):.2f} nats; the labels hold {data:.3f}.",
    )


CLAIM = Claim(
    name="data-processing",
    statement="From labels to reward model to samples that it labels, information about the true "
    "reward never rises; with a labeller from outside it does.",
    source="Swamy et al. 2025 (hypothesis 1); Cover and Thomas 2006, theorem 2.8.1",
    check=check,
    draw=draw,
)
