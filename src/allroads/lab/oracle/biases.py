"""How far estimators are from what they estimate: lengths and angles of exact mean gradients.

Each row compares two flat gradients of a tiny transformer, both summed over every sample: what the
code gives on average, and what one would want.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from allroads.exact import Tree, conditionals, expectation
from allroads.exact import estimators as e
from allroads.lab.oracle.ground import GROUNDS, Ground, Problem, policy, problem
from allroads.lab.oracle.leaves import (
    Leaves,
    flat_gradient,
    leaves_of,
    logprobs,
    slot_logprobs,
)
from allroads.lab.oracle.production import gradient, joint_rounds, mean_over_rounds, of_batch
from allroads.lab.oracle.table import named_gradient, roads
from allroads.models.policy import Policy
from allroads.records import Cost
from allroads.roads.sources import gather

ONE_TOKEN = Ground(
    name="one token", tree=Tree(vocabulary=3, horizon=1, rho=(0.5, 0.5), eos=0), whole=False
)
"""Small enough to list the rounds that hold both prompts; two of three completions are cut."""


@dataclass(frozen=True, kw_only=True)
class Bias:
    """One estimator against what it is meant to estimate."""

    name: str
    found: str
    """Of what the mean is taken."""
    wanted: str
    length: float
    """Of the found gradient along the wanted one, as a share of the latter; 1 is right."""
    cosine: float
    """Of the angle between the two; 1 is right."""


def biases() -> Iterator[Bias]:
    """Every bias that is known: of roads that are here, then of estimators for roads to come."""
    yield from _held_fixed()
    yield _cut_short()
    yield _second_epoch()
    yield _dropped_pairs()
    yield _batches_by_tokens()
    yield from _policy_gradients()
    yield _clipped_by_token()
    yield from estimator_biases()


def _held_fixed() -> Iterator[Bias]:
    for name, pick in (("online-dpo", "two of 2"), ("online-dpo-batch", "best and worst of 3")):
        this = _at(name, GROUNDS["own ends"])
        leaves = leaves_of(this)
        full = named_gradient(this, leaves, held_fixed=False)
        yield _bias(
            f"online DPO, {pick}",
            "the loss on samples that count as given",
            "the same loss, following how pi's samples change",
            named_gradient(this, leaves),
            full,
        )


def _cut_short() -> Bias:
    this = _at("rloo", GROUNDS["cut short"])
    leaves = leaves_of(this)
    assert leaves.label is not None
    lowest = torch.where(leaves.finished, leaves.label, torch.inf).min()
    fixed = replace(leaves, label=torch.where(leaves.finished, leaves.label, lowest - 1))
    return _bias(
        "rloo, completions cut at the limit",
        "a cut completion gets the round's lowest score less 1; rounds of one prompt",
        "a cut completion always gets the lowest score of all less 1",
        gradient(this),
        named_gradient(this, fixed),
    )


def _second_epoch() -> Bias:
    this = _at("rloo", GROUNDS["own ends"])
    source = this.stage.source.model_copy(update={"who": "sft"})
    stage = this.stage.model_copy(update={"source": source})
    this = problem(this.ground, this.road, stage)
    return _bias(
        "rloo, samples of another pi",
        "the KL term is that of the policy which wrote",
        "-(E_pi[score] - beta KL(pi, ref)) of the policy in training",
        gradient(this),
        named_gradient(this, leaves_of(this)),
    )


def _dropped_pairs() -> Bias:
    this = _at("online-dpo", ONE_TOKEN)
    return _bias(
        "online DPO, pairs that drop out",
        "rounds of two prompts, divided by the pairs that are left",
        "every prompt weighs the same, a dropped pair counts as zero",
        mean_over_rounds(this, joint_rounds(this)),
        named_gradient(this, leaves_of(this)),
    )


def _batches_by_tokens() -> Bias:
    this = _at("sft", GROUNDS["own ends"])
    units = gather(this.stage, this.supplies, None, 0, Cost()).units
    batches = [of_batch(this, list(pair)) for pair in combinations(units, 2)]
    return _bias(
        "sft, batches of 2",
        "each batch divided by its own tokens",
        "all demonstrations divided by all tokens",
        torch.stack(batches).mean(dim=0),
        named_gradient(this, leaves_of(this)),
    )


def _policy_gradients() -> Iterator[Bias]:
    """What the roads follow at their first update, against the objective of all of them."""
    best = _at("rloo", GROUNDS["own ends"])
    wanted = named_gradient(best, leaves_of(best))
    for name, found in (
        ("rebel", "exactly four times it (groups of 2, eta 1)"),
        ("grpo", "standardised scores, mean by answer, k3 as a loss"),
        ("dr-grpo", "scores less the group's mean, over the length limit, k3 as a loss"),
        ("ppo", "whitened, lambda 0.95 with the critic of another model, mean by token"),
    ):
        this = _at(name, GROUNDS["own ends"])
        # A critic's weights come behind the policy's.
        flat = named_gradient(this, leaves_of(this))[: len(wanted)]
        words = "-(E_pi[score] - beta KL(pi, ref))"
        yield _bias(f"{name}, first update", found, words, flat, wanted)


def _clipped_by_token() -> Bias:
    this = _at("grpo", GROUNDS["own ends"])
    source = this.stage.source.model_copy(update={"who": "sft"})
    stage = this.stage.model_copy(update={"source": source})
    this = problem(this.ground, this.road, stage)
    unlimited = stage.objective.model_copy(update={"clip": 1e9})
    free = replace(this, stage=stage.model_copy(update={"objective": unlimited}))
    return _bias(
        "grpo, clipped at 0.2 by token",
        "samples of another pi, ratio of single tokens",
        "the same without clipping",
        named_gradient(this, leaves_of(this)),
        named_gradient(free, leaves_of(free)),
    )


def estimator_biases() -> Iterator[Bias]:
    """Estimators of grad E[score] on groups, clipped ratios, and lambda-returns with a critic."""
    this = _at("rloo", GROUNDS["own ends"])
    leaves = leaves_of(this)
    assert leaves.logprob is not None
    assert leaves.label is not None
    log_pi, reward = leaves.logprob.detach().numpy(), leaves.label.numpy()
    best = e.policy_gradient_weights(log_pi, reward)
    for k in (2, 3, 4):
        for name, advantage in _ADVANTAGES.items():
            weights = e.group_weights(log_pi, reward, k, advantage)
            yield _of_weights(this, leaves, f"groups of {k}", name, weights, best)
    before = logprobs(this.ground, policy(this.ground, "writer")).detach().numpy()
    better = reward - expectation(log_pi, reward)[:, None]
    for clip in (0.2, 1.0):
        weights = e.clipped_weights(log_pi, before, better, clip=clip)
        name = "samples of another pi, ratio of whole completions"
        yield _of_weights(this, leaves, f"clipped at {clip}", name, weights, best)
    yield from _lambda_returns(this, log_pi, reward)


_ADVANTAGES = {
    "score less the mean of the others": e.leave_one_out,
    "score less the group's mean": e.less_group_mean,
    "the same over the group's deviation": e.standardised,
}
_WANTED = "grad E_pi[score]"


def _lambda_returns(this: Problem, log_pi: e.Array, reward: e.Array) -> Iterator[Bias]:
    tree = this.ground.tree
    pi = conditionals(tree, log_pi)
    critic = tuple(np.zeros((tree.prompts, tree.nodes(h))) for h in range(tree.horizon))
    assert isinstance(this.trainee, Policy)
    slot_PS = slot_logprobs(this.ground, this.trainee)
    rho = torch.tensor(tree.rho, dtype=torch.float64)[:, None]

    def gradient_at(decay: float) -> Tensor:
        returns = e.lambda_returns(tree, pi, reward, critic, decay=decay)
        weight_PS = torch.tensor(tree.flatten(e.lambda_weights(tree, pi, returns)))
        return flat_gradient((rho * weight_PS * slot_PS).sum(), this.trainee.model)

    wanted = gradient_at(1.0)
    for decay in (0.95, 0.5):
        name = "returns lean on a critic that says 0 everywhere"
        yield _bias(f"lambda {decay}", name, _WANTED, gradient_at(decay), wanted)


def weighted_score(this: Problem, leaves: Leaves, weight_PL: e.Array) -> Tensor:
    """Flat gradient sum of rho * weight * grad log pi: what an estimator's weights amount to."""
    assert leaves.logprob is not None
    value = (leaves.rho * torch.tensor(weight_PL) * leaves.logprob).sum()
    return flat_gradient(value, this.trainee.model)


def _of_weights(
    this: Problem, leaves: Leaves, name: str, found: str, weights: e.Array, best: e.Array
) -> Bias:
    return _bias(
        name,
        found,
        _WANTED,
        weighted_score(this, leaves, weights),
        weighted_score(this, leaves, best),
    )


def _at(name: str, ground: Ground) -> Problem:
    road = roads()[name]
    return problem(ground, road, road.last)


def _bias(name: str, found_words: str, wanted_words: str, found: Tensor, wanted: Tensor) -> Bias:
    length, cosine = e.length_and_direction(found.numpy(), wanted.numpy())
    return Bias(name=name, found=found_words, wanted=wanted_words, length=length, cosine=cosine)
