"""The table of losses: what each takes, on which quantity, which choices it reads, what it logs.

A road is a row of `atlas`; a loss is a row here. Adding one means a pure function in
`objectives` and a row below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from allroads import objectives
from allroads.roads.choices import Objective
from allroads.roads.scored import Scored

Metrics = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One row of the table."""

    name: str
    takes: Literal["single", "pair", "group"]
    scores: tuple[str, ...]
    function: Callable[[Scored, Objective], tuple[Tensor, Metrics]]
    """-> (U,) losses, and (U,) metrics by name, without gradient."""
    reads: tuple[str, ...] = ()
    """Fields of the objective, beside score, reference and beta, that change something."""
    per: Literal["unit", "token", "as-chosen"] = "unit"
    """A batch's loss is the sum over units divided by its units or by its completion tokens."""
    by_token: bool = False
    """Whether it reads `Scored.tokens`."""
    compares: bool = False
    """Whether the completions of a unit are measured against each other: two at least."""
    mismatched: bool = False
    """Whether it needs the KL of the batch, estimated on completions of other prompts."""
    metrics: dict[str, str]
    """What each logged metric means, in one line."""
    source: str

    def divides_by_tokens(self, objective: Objective) -> bool:
        """Whether a batch's sum is divided by its completion tokens instead of its units."""
        return (objective.normalise if self.per == "as-chosen" else self.per) == "token"


def _likelihood(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    return objectives.negative_log_likelihood(scored.score[:, 0]), {}


def _about_pairs(scored: Scored, lead_U: Tensor) -> Metrics:
    lead = lead_U.detach()
    metrics = {"accuracy": (lead > 0).to(lead.dtype) + 0.5 * (lead == 0), "lead": lead}
    if scored.logprob is not None:
        metrics["logprob_better"] = scored.logprob[:, 0]
        metrics["logprob_worse"] = scored.logprob[:, 1]
    return metrics


def _bradley_terry(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    better, worse = scored.score[:, 0], scored.score[:, 1]
    loss = objectives.bradley_terry_nll(
        better, worse, margin=objective.margin, smoothing=objective.smoothing
    )
    return loss, _about_pairs(scored, better - worse)


def _identity(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    lead = scored.score[:, 0] - scored.score[:, 1]
    loss = objectives.identity_preference_loss(lead / objective.price, beta=objective.price)
    return loss, _about_pairs(scored, lead)


def _hinge(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    better, worse = scored.score[:, 0], scored.score[:, 1]
    loss = objectives.hinge_loss(better, worse, margin=objective.margin)
    return loss, _about_pairs(scored, better - worse)


def _kahneman_tversky(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    assert scored.baseline is not None
    good, bad = scored.score[:, 0], scored.score[:, 1]
    loss = objectives.kahneman_tversky_loss(
        good, bad, scored.baseline, undesirable_weight=objective.weight
    )
    metrics = _about_pairs(scored, good - bad)
    metrics["kl_baseline"] = scored.baseline.expand_as(good)
    return loss, metrics


def _odds_ratio(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    mean = scored.score / scored.lengths
    better, worse = mean[:, 0], mean[:, 1]
    odds = objectives.odds_ratio_nll(better, worse)
    loss = objectives.negative_log_likelihood(better) + objective.weight * odds
    return loss, {**_about_pairs(scored, better - worse), "odds_ratio_nll": odds.detach()}


def _about_samples(scored: Scored, ratio_UK: Tensor, behaviour_UK: Tensor) -> Metrics:
    metrics = {"ratio": ratio_UK.mean(dim=1)}
    if scored.logprob is not None:
        metrics["entropy"] = -scored.logprob.sum(dim=1) / scored.lengths.sum(dim=1)
    if scored.reference is not None:
        kl = objectives.k1(behaviour_UK.flatten(), scored.reference.flatten())
        metrics["kl"] = kl.view_as(ratio_UK).mean(dim=1)
    return metrics


def _spread(advantage_UK: Tensor) -> Tensor:
    """Deviation within each group; 0 in a group of one."""
    return (
        advantage_UK.std(dim=1)
        if advantage_UK.shape[1] > 1
        else torch.zeros_like(advantage_UK[:, 0])
    )


def _policy_gradient(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    assert scored.advantage is not None
    behaviour = scored.score.detach() if scored.behaviour is None else scored.behaviour
    loss = objectives.importance_weighted_policy_gradient(scored.score, behaviour, scored.advantage)
    metrics = _about_samples(scored, torch.exp(scored.score.detach() - behaviour), behaviour)
    metrics["advantage_deviation"] = _spread(scored.advantage)
    return loss, metrics


def _rebel(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    assert scored.reward is not None
    behaviour = scored.score.detach() if scored.behaviour is None else scored.behaviour
    log_ratio = scored.score - behaviour
    loss = objectives.rebel_loss(log_ratio, scored.reward, eta=objective.eta)
    metrics = _about_samples(scored, torch.exp(log_ratio.detach()), behaviour)
    metrics["reward_deviation"] = _spread(scored.reward)
    return loss, metrics


def _clipped(scored: Scored, objective: Objective) -> tuple[Tensor, Metrics]:
    tokens = scored.tokens
    assert tokens is not None
    mask = tokens.mask
    count = scored.lengths.sum(dim=1)

    def real(values_UKT: Tensor | None) -> Tensor:
        assert values_UKT is not None
        return values_UKT[mask]

    def placed(values_N: Tensor) -> Tensor:
        return values_N.new_zeros(mask.shape).masked_scatter(mask, values_N)

    def reduced(terms_N: Tensor) -> Tensor:
        term_UKT = placed(terms_N)
        if objective.normalise == "token":
            return term_UKT.sum(dim=(1, 2))
        if objective.normalise == "sequence":
            return (term_UKT.sum(dim=2) / scored.lengths).mean(dim=1)
        return term_UKT.sum(dim=2).mean(dim=1) / scored.limit

    def mean(values_N: Tensor) -> Tensor:
        return placed(values_N.detach()).sum(dim=(1, 2)) / count

    logprob, behaviour, advantage = map(real, (tokens.logprob, tokens.behaviour, tokens.advantage))
    loss = reduced(
        objectives.clipped_policy_gradient(logprob, behaviour, advantage, clip=objective.clip)
    )
    ratio = torch.exp(logprob.detach() - behaviour)
    metrics = _about_samples(
        scored, placed(ratio).sum(dim=2) / scored.lengths, tokens.behaviour.sum(dim=2)
    )
    held = objectives.clip_stops(ratio, advantage, clip=objective.clip)
    metrics["clipped"] = mean(held.to(ratio.dtype))
    if objective.kl == "loss":
        k3 = objectives.k3(logprob, real(tokens.reference))
        loss = loss + objective.price * reduced(k3)
        metrics["k3"] = mean(k3)
    if objective.critic is not None:
        value = real(tokens.value)
        error = objectives.clipped_value_loss(
            value, real(tokens.before), real(tokens.returns), clip=objective.critic.clip or math.inf
        )
        loss = loss + objective.critic.weight * reduced(error)
        metrics["value_loss"] = mean(error)
        metrics["value"] = mean(value)
    return loss, metrics


_PAIRS = {
    "accuracy": "share of the batch's pairs whose better side has the higher reward; a tie counts "
    "half",
    "lead": "reward of the better side minus the worse, reward units, mean over pairs",
    "logprob_better": "policy's log-probability of the better side, nats per completion; it may "
    "fall while the lead grows (likelihood displacement)",
    "logprob_worse": "the same for the worse side",
}
_SAMPLES = {
    "ratio": "policy / behaviour probability of the samples; 1 on-policy",
    "entropy": "surprise of the policy at the sampled tokens, nats per token: an estimate of its "
    "entropy",
    "kl": "k1 estimate of KL(writer || reference), nats per completion",
}
_IMPLICIT = ("over_tokens", "beta_factor")

LOSSES: dict[str, Loss] = {
    row.name: row
    for row in (
        Loss(
            name="likelihood",
            takes="single",
            scores=("log-prob",),
            per="token",
            function=_likelihood,
            metrics={},
            source="maximum likelihood",
        ),
        Loss(
            name="bradley-terry",
            takes="pair",
            scores=("implicit", "head-last", "head-mean", "head-sum"),
            reads=(*_IMPLICIT, "margin", "smoothing"),
            function=_bradley_terry,
            metrics=_PAIRS,
            source="Bradley and Terry 1952; DPO: Rafailov et al. 2023, arXiv:2305.18290; margin: "
            "SimPO, Meng et al. 2024, arXiv:2405.14734",
        ),
        Loss(
            name="identity",
            takes="pair",
            scores=("implicit",),
            reads=_IMPLICIT,
            function=_identity,
            metrics=_PAIRS,
            source="IPO: Azar et al. 2023, arXiv:2310.12036",
        ),
        Loss(
            name="hinge",
            takes="pair",
            scores=("implicit",),
            reads=(*_IMPLICIT, "margin"),
            function=_hinge,
            metrics=_PAIRS,
            source="SLiC: Zhao et al. 2023, arXiv:2305.10425; on log-ratios: Liu et al. 2023, "
            "arXiv:2309.06657",
        ),
        Loss(
            name="kahneman-tversky",
            takes="pair",
            scores=("implicit",),
            reads=("weight", "beta_factor"),
            mismatched=True,
            function=_kahneman_tversky,
            metrics={
                **_PAIRS,
                "kl_baseline": "beta times the batch's KL(policy || reference), estimated on "
                "completions of other prompts and not below 0, reward units",
            },
            source="KTO: Ethayarajh et al. 2024, arXiv:2402.01306",
        ),
        Loss(
            name="odds-ratio",
            takes="pair",
            scores=("log-prob",),
            reads=("weight",),
            function=_odds_ratio,
            metrics={
                **_PAIRS,
                "lead": "mean log-probability per token of the better side minus the worse, nats",
                "odds_ratio_nll": "-log sigma of the log odds ratio, nats per pair",
            },
            source="ORPO: Hong et al. 2024, arXiv:2403.07691",
        ),
        Loss(
            name="policy-gradient",
            takes="group",
            scores=("log-prob",),
            reads=("advantage", "kl"),
            function=_policy_gradient,
            metrics={
                **_SAMPLES,
                "advantage_deviation": "standard deviation of the advantages within a group, "
                "reward units",
            },
            source="RLOO: Ahmadian et al. 2024, arXiv:2402.14740; REINFORCE: Williams 1992",
        ),
        Loss(
            name="rebel",
            takes="group",
            scores=("log-prob",),
            reads=("eta", "kl"),
            compares=True,
            function=_rebel,
            metrics={
                **_SAMPLES,
                "reward_deviation": "standard deviation of the rewards within a group, reward "
                "units",
            },
            source="REBEL: Gao et al. 2024, arXiv:2404.16767",
        ),
        Loss(
            name="clipped",
            takes="group",
            scores=("log-prob",),
            reads=("advantage", "kl", "clip", "normalise", "critic"),
            per="as-chosen",
            by_token=True,
            function=_clipped,
            metrics={
                **_SAMPLES,
                "clipped": "share of the tokens whose gradient the clipped ratio stops",
                "k3": "k3 estimate of KL(policy || reference) in the loss, nats per token",
                "value_loss": "half the critic's squared error, squared reward units per token",
                "value": "the critic's value, reward units, mean over tokens",
            },
            source="PPO: Schulman et al. 2017, arXiv:1707.06347; GRPO: Shao et al. 2024, "
            "arXiv:2402.03300",
        ),
    )
}


def declared(objective: Objective) -> dict[str, str]:
    """The metrics that a stage with this objective logs, each with its meaning."""
    absent = set()
    if objective.score.startswith("head-"):
        absent |= {"logprob_better", "logprob_worse"}
    if objective.reference is None:
        absent |= {"kl"}
    if objective.kl != "loss":
        absent |= {"k3"}
    if objective.critic is None:
        absent |= {"value_loss", "value"}
    metrics = LOSSES[objective.loss].metrics
    return {name: words for name, words in metrics.items() if name not in absent}


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
    "turned": "share of the pairs whose order the labeller turned round (relabelled pairs only)",
    "target_lead": "lead that was asked of the round's pairs, reward units, mean (margin-matched "
    "only)",
    "picked_lead": "lead that they have (margin-matched only)",
    "mismatch": "how far the sampler's log-probabilities are from the trainer's, nats per token "
    "(online, where several updates share a round)",
}
"""Logged for every stage."""
