"""The gradient of one minibatch, a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from allroads.models.accumulation import accumulating
from allroads.models.batches import pieces
from allroads.models.critic import ActorCritic
from allroads.models.policy import Policy
from allroads.models.recompute import prepared, recomputing
from allroads.models.reward_model import RewardModel
from allroads.models.states import Rows
from allroads.objectives import implicit_reward
from allroads.records import Cost
from allroads.roads.losses import LOSSES
from allroads.roads.scored import Scored, ScoredTokens
from allroads.roads.stage import Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import PerToken, Unit

Trainee = Policy | RewardModel | ActorCritic


def accumulate(
    stage: Stage,
    trainee: Trainee,
    supplies: Supplies,
    units: list[Unit],
    cost: Cost,
    collect: Callable[[], None] = lambda: None,
) -> tuple[float, dict[str, float]]:
    """Add the gradient of the minibatch's loss to the weights' gradients.

    `collect` is called after each piece, before the next one adds its gradient.

    The loss is a sum over units divided once by the minibatch's units (or tokens), and what it
    needs of the whole minibatch is measured before, so how it is cut into pieces under the token
    budget changes nothing but rounding.

    Returns:
        The loss and the metrics that the loss declares, each a mean over the units.
    """
    loss_row = LOSSES[stage.objective.loss]
    tokens = sum(len(c) for u in units for c in u.completions)
    divisor = tokens if loss_row.divides_by_tokens(stage.objective) else len(units)
    flops = _flops_per_token(trainee.model)
    baseline = _kl_baseline(stage, trainee, supplies, units, cost) if loss_row.mismatched else None
    loss_sum = 0.0
    sums: dict[str, float] = {}
    for part in _pieces(units, supplies.token_budget):
        rows = _rows([(u.prompt, u.completions) for u in part])
        with accumulating():
            with recomputing(trainee.model):
                scored = _scored(stage, trainee, supplies, part, rows, baseline)
            loss_U, metrics_U = loss_row.function(scored, stage.objective)
            loss = loss_U.sum() / divisor
            loss.backward()
        collect()
        loss_sum += float(loss.detach())
        for name, values in metrics_U.items():
            sums[name] = sums.get(name, 0.0) + float(values.sum())
        cost.tokens_trained += rows.tokens
        cost.flops += flops * rows.tokens
    return loss_sum, {name: value / len(units) for name, value in sums.items()}


def _pieces(units: list[Unit], budget: int) -> list[list[Unit]]:
    longest = [len(u.completions) * (len(u.prompt) + max(map(len, u.completions))) for u in units]
    return [[units[i] for i in piece] for piece in pieces(longest, budget)]


def _rows(units: Sequence[tuple[tuple[int, ...], Sequence[tuple[int, ...]]]]) -> Rows:
    return Rows(
        [prompt for prompt, completions in units for _ in completions],
        [one for _, completions in units for one in completions],
    )


def _flops_per_token(model: nn.Module) -> float:
    """Per weight: 2 forward, 2 for the gradient that passes through, 2 for the weight's own.

    A frozen weight has no gradient of its own; recomputing runs forward twice.
    """
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    weights = sum(size for size, _ in sizes)
    trained = sum(size for size, moves in sizes if moves)
    return (6.0 if prepared(model) else 4.0) * weights + 2.0 * trained


@torch.no_grad()
def _kl_baseline(
    stage: Stage, trainee: Trainee, supplies: Supplies, units: list[Unit], cost: Cost
) -> float:
    """Beta times the KL that completions of other prompts show, over the minibatch, at least 0."""
    policy = cast(Policy, trainee)
    total, count = 0.0, 0
    for part in _pieces(units, supplies.token_budget):
        rows = _rows([(u.prompt, u.mismatched or ()) for u in part])
        logprob = policy.sequence_logprobs(
            rows, temperature=stage.objective.at(supplies.temperature)
        )
        total += float(logprob.double().sum())
        total -= sum(value for u in part for value in u.mismatched_reference or ())
        count += len(rows)
        cost.tokens_scored += rows.tokens
        cost.flops += 2.0 * policy.parameters_count * rows.tokens
    return stage.objective.price * max(0.0, total / count)


def _scored(
    stage: Stage,
    trainee: Trainee,
    supplies: Supplies,
    units: list[Unit],
    rows: Rows,
    baseline: float | None,
) -> Scored:
    k = len(units[0].completions)
    lengths = torch.tensor([len(c) for c in rows.completions])
    if isinstance(trainee, RewardModel):
        scores = trainee.scores(rows)
        return Scored(score=scores.view(-1, k), lengths=lengths.view(-1, k).to(scores.device))
    policy = trainee.policy if isinstance(trainee, ActorCritic) else trainee
    temperature = stage.objective.at(supplies.temperature)
    token_BT, mask_BT = policy.token_logprobs(rows, temperature=temperature)
    logprob = token_BT.sum(dim=1)
    lengths = lengths.to(logprob.device)

    def known(name: str) -> Tensor | None:
        values = [getattr(unit, name) for unit in units]
        if values[0] is None:
            return None
        return torch.tensor(values, dtype=logprob.dtype, device=logprob.device)

    reference, objective = known("reference"), stage.objective
    score = logprob
    if objective.score == "implicit":
        flat = torch.zeros_like(logprob) if reference is None else reference.flatten()
        score = implicit_reward(logprob, flat, beta=objective.price)
        if objective.over_tokens == "mean":
            score = score / lengths
    # The current policy wrote these samples: its own values make the ratio exactly 1.
    anchor = None if stage.on_policy else known("behaviour")
    scored = Scored(
        score=score.view(-1, k),
        lengths=lengths.view(-1, k),
        logprob=logprob.detach().view(-1, k),
        reference=reference,
        behaviour=anchor,
        reward=known("reward"),
        advantage=known("advantage"),
        baseline=None if baseline is None else logprob.new_tensor(baseline),
        limit=supplies.max_new_tokens,
    )
    if not LOSSES[objective.loss].by_token:
        return scored
    return replace(scored, tokens=_scored_tokens(stage, trainee, units, rows, token_BT, mask_BT, k))


def _scored_tokens(
    stage: Stage,
    trainee: Policy | ActorCritic,
    units: list[Unit],
    rows: Rows,
    token_BT: Tensor,
    mask_BT: Tensor,
    k: int,
) -> ScoredTokens:
    shape = (len(units), k, token_BT.shape[1])

    def known(name: str) -> Tensor | None:
        per_unit: list[PerToken | None] = [getattr(u.tokens, name) for u in units]
        if per_unit[0] is None:
            return None
        out = torch.zeros(len(rows), shape[2], dtype=token_BT.dtype, device=token_BT.device)
        flat = [x for values in per_unit for one in values or () for x in one]
        return out.masked_scatter(mask_BT, out.new_tensor(flat)).view(shape)

    advantage = known("advantage")
    if advantage is None:
        each = token_BT.new_tensor([unit.advantage for unit in units])
        advantage = each[:, :, None].expand(shape)
    behaviour = token_BT.detach().view(shape) if stage.on_policy else known("behaviour")
    assert behaviour is not None
    value = trainee.critic.values(rows).view(shape) if isinstance(trainee, ActorCritic) else None
    return ScoredTokens(
        logprob=token_BT.view(shape),
        mask=mask_BT.view(shape),
        behaviour=behaviour,
        reference=known("reference"),
        advantage=advantage,
        value=value,
        before=known("value"),
        returns=known("returns"),
    )
