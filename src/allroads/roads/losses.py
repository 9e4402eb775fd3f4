"""The table of losses: what each takes, on which quantity, and what it logs.

A road is a row of `atlas`; a loss is a row here. Adding one means a pure function in
`objectives` and a row below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from allroads import objectives


@dataclass(frozen=True)
class Scored:
    """What a loss may read about U units of K completions, all (U, K) unless said.

    `score` carries the gradient: log-probabilities in nats or rewards in reward units. `logprob`
    is the policy's own log-probability (None for a scalar head), without gradient. `behaviour` is
    the writer's log-probability and `advantage` the round's advantages; None offline.
    """

    score: Tensor
    logprob: Tensor | None
    reference: Tensor | None
    behaviour: Tensor | None
    advantage: Tensor | None


@dataclass(frozen=True)
class Loss:
    """One row of the table."""

    name: str
    takes: Literal["single", "pair", "group"]
    scores: tuple[str, ...]
    per: Literal["unit", "token"]
    """A batch's loss is the sum over units divided by its units or by its completion tokens."""
    needs_reference: bool
    function: Callable[[Scored], tuple[Tensor, dict[str, Tensor]]]
    """-> (U,) losses, and (U,) metrics by name, without gradient."""
    metrics: dict[str, str]
    """What each logged metric means, in one line."""
    source: str


def _likelihood(scored: Scored) -> tuple[Tensor, dict[str, Tensor]]:
    return objectives.negative_log_likelihood(scored.score[:, 0]), {}


def _bradley_terry(scored: Scored) -> tuple[Tensor, dict[str, Tensor]]:
    better, worse = scored.score[:, 0], scored.score[:, 1]
    lead = (better - worse).detach()
    metrics = {"accuracy": (lead > 0).to(lead.dtype) + 0.5 * (lead == 0), "lead": lead}
    if scored.logprob is not None:
        metrics["logprob_better"] = scored.logprob[:, 0]
        metrics["logprob_worse"] = scored.logprob[:, 1]
    return objectives.bradley_terry_nll(better, worse), metrics


def _rloo(scored: Scored) -> tuple[Tensor, dict[str, Tensor]]:
    assert scored.behaviour is not None
    assert scored.advantage is not None
    loss = objectives.importance_weighted_policy_gradient(
        scored.score, scored.behaviour, scored.advantage
    )
    ratio = torch.exp(scored.score.detach() - scored.behaviour)
    metrics = {
        "ratio": ratio.mean(dim=1),
        "advantage_deviation": scored.advantage.std(dim=1),
    }
    if scored.reference is not None:
        metrics["kl"] = (
            objectives.k1(scored.behaviour.flatten(), scored.reference.flatten())
            .view_as(ratio)
            .mean(dim=1)
        )
    return loss, metrics


LOSSES: dict[str, Loss] = {
    row.name: row
    for row in (
        Loss(
            name="likelihood",
            takes="single",
            scores=("log-prob",),
            per="token",
            needs_reference=False,
            function=_likelihood,
            metrics={},
            source="maximum likelihood",
        ),
        Loss(
            name="bradley-terry",
            takes="pair",
            scores=("implicit", "head-last", "head-mean", "head-sum"),
            per="unit",
            needs_reference=False,
            function=_bradley_terry,
            metrics={
                "accuracy": "share of the batch's pairs whose better side has the higher reward; "
                "a tie counts half",
                "lead": "reward of the better side minus the worse, reward units, mean over pairs",
                "logprob_better": "policy's log-probability of the better side, nats per "
                "completion; it may fall while the lead grows (likelihood displacement)",
                "logprob_worse": "the same for the worse side",
            },
            source="Bradley and Terry 1952; DPO: Rafailov et al. 2023, arXiv:2305.18290",
        ),
        Loss(
            name="rloo",
            takes="group",
            scores=("log-prob",),
            per="unit",
            needs_reference=True,
            function=_rloo,
            metrics={
                "ratio": "policy / behaviour probability of the sampled completions; 1 on-policy",
                "advantage_deviation": "standard deviation of the advantages within a group, "
                "reward units",
                "kl": "k1 estimate of KL(policy || reference), nats per completion",
            },
            source="RLOO: Ahmadian et al. 2024, arXiv:2402.14740",
        ),
    )
}

COMMON_METRICS = {
    "loss": "the objective, mean over the batch's units (or completion tokens)",
    "gradient_norm": "norm of the whole gradient before clipping",
    "learning_rate": "of this step",
    "units": "units in the batch",
    "score": "labeller's score of the sampled completions, mean over the round (online only)",
    "unfinished": "share of the round's completions cut at the length limit (online only)",
    "length": "tokens per sampled completion, mean over the round (online only)",
    "dropped": "prompts of the round that gave no unit: tie, both unfinished, or a failed score "
    "(online only)",
    "failed": "completions of the round without a score (online only)",
}
"""Logged for every stage."""
