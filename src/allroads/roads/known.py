"""What a round's units need to be known before training on them: once, at its start.

Log-probabilities under the reference and under the writer, rewards less what the KL costs,
advantages, the critic's values. None of it carries a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from allroads import files, objectives
from allroads.errors import TrainingError
from allroads.models.batches import by_tokens, each_token
from allroads.models.critic import Critic
from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads.choices import WRITER, Objective
from allroads.roads.losses import LOSSES
from allroads.roads.picks import Scored
from allroads.roads.stage import Stage
from allroads.roads.supplies import Opener, Supplies
from allroads.roads.units import Unit, UnitTokens
from allroads.types import Tokens

Whole = tuple[tuple[float, ...], ...]
"""One tuple a unit, one number a completion."""


def about_data(
    stage: Stage,
    supplies: Supplies,
    units: list[Unit],
    cost: Cost,
    writer: Policy | None = None,
) -> list[Unit]:
    """Units of given completions, with what their loss needs.

    The reference's log-probabilities are kept in a file where the rows come from the data alone.
    """
    reference = _reference(stage, supplies, writer)
    of_data = writer is None and stage.pick != "two" and not stage.source.replayed
    cache = supplies.reference_cache if of_data else None
    asked = [(u.prompt, u.completions) for u in units]
    values = _whole(stage, reference, asked, supplies, cost, cache)
    if values is not None:
        units = [replace(u, reference=v) for u, v in zip(units, values, strict=True)]
    return _with_mismatched(stage, supplies, units, cost)


def about_samples(
    stage: Stage,
    supplies: Supplies,
    writer: Policy,
    picked: Mapping[int, Sequence[Scored]],
    cost: Cost,
    critic: Critic | None,
) -> tuple[list[Unit], dict[str, float]]:
    """Units of sampled and picked completions by slot, with what their loss needs, and facts.

    Where a round serves one update, that policy wrote it and the sampler's log-probabilities do, if
    they are at the run's temperature; otherwise they are taken again as the trainer takes them, so
    that the first ratio is 1.
    """
    if not picked:
        return [], {}
    groups = list(picked.values())
    rows = Rows(
        [one.completion.prompt.tokens for group in groups for one in group],
        [one.completion.tokens for group in groups for one in group],
    )
    k = len(groups[0])
    drawn = [one.completion.token_logprobs for group in groups for one in group]
    facts: dict[str, float] = {}
    behaviour = drawn
    loss = LOSSES[stage.objective.loss]
    same = stage.source.temperature == supplies.temperature
    if loss.takes == "group" and not (stage.on_policy and same):
        behaviour = _logprobs(stage, writer, rows, supplies, cost)
    if behaviour is not drawn and same:
        gaps = [
            abs(a - b)
            for x, y in zip(drawn, behaviour, strict=True)
            for a, b in zip(x, y, strict=True)
        ]
        facts["mismatch"] = sum(gaps) / len(gaps)
    frozen = _reference(stage, supplies, writer)
    reference = None if frozen is None else _logprobs(stage, frozen(), rows, supplies, cost)
    tokens = _per_unit(k, behaviour=behaviour, reference=reference)
    units = [
        Unit(
            slot=slot,
            prompt=group[0].completion.prompt.tokens,
            completions=tuple(one.completion.tokens for one in group),
            behaviour=_sums(known.behaviour),
            reference=None if known.reference is None else _sums(known.reference),
        )
        for (slot, group), known in zip(picked.items(), tokens, strict=True)
    ]
    if loss.takes != "group":
        return _with_mismatched(stage, supplies, units, cost), facts
    score_UK = torch.tensor([[one.score for one in group] for group in groups], dtype=torch.float64)
    if stage.objective.advantage == "lambda":
        assert critic is not None
        tokens = _led_by_critic(stage, supplies, critic, rows, score_UK, behaviour, reference, cost)
    else:
        units = _with_advantages(stage.objective, units, score_UK)
    if loss.by_token:
        units = [replace(unit, tokens=known) for unit, known in zip(units, tokens, strict=True)]
    return units, facts


def _reference(stage: Stage, supplies: Supplies, writer: Policy | None) -> Opener | None:
    if stage.objective.reference != WRITER:
        return supplies.reference
    return None if writer is None else lambda: writer


def _per_unit(k: int, **columns: Sequence[tuple[float, ...]] | None) -> list[UnitTokens]:
    """Columns of `UnitTokens` with a row for each completion, `k` of them to a unit."""
    rows = len(columns["behaviour"] or ())
    return [
        UnitTokens(**{n: None if c is None else tuple(c[i : i + k]) for n, c in columns.items()})  # type: ignore[arg-type]
        for i in range(0, rows, k)
    ]


def _sums(values: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(math.fsum(one) for one in values)


def _ledger(cost: Cost, parameters: int, rows: Rows) -> None:
    cost.tokens_scored += rows.tokens
    cost.flops += 2.0 * parameters * rows.tokens


@torch.no_grad()
def _logprobs(
    stage: Stage, policy: Policy, rows: Rows, supplies: Supplies, cost: Cost
) -> list[tuple[float, ...]]:
    _ledger(cost, policy.parameters_count, rows)
    temperature = stage.objective.at(supplies.temperature)
    return each_token(
        rows,
        supplies.token_budget,
        lambda part: policy.token_logprobs(part, temperature=temperature)[0],
    )


@torch.no_grad()
def _whole(
    stage: Stage,
    opener: Opener | None,
    units: Sequence[tuple[Tokens, Sequence[Tokens]]],
    supplies: Supplies,
    cost: Cost,
    cache: Path | None,
) -> Whole | None:
    """Log-probabilities of whole completions; None without a policy, which a cache need not open.

    Counted also where another stage computed them: the ledger says what a road costs alone.
    """
    if opener is None or not units:
        return None
    k = len(units[0][1])
    rows = Rows([p for p, _ in units for _ in range(k)], [c for _, cs in units for c in cs])
    if cache is not None and cache.is_file():
        known = files.read_json(cache)
    else:
        policy = opener()
        temperature = stage.objective.at(supplies.temperature)
        values = by_tokens(
            rows,
            supplies.token_budget,
            lambda part: policy.sequence_logprobs(part, temperature=temperature),
        )
        known = {"parameters": policy.parameters_count, "logprobs": values}
        if cache is not None:
            files.write_json(cache, known)
    _ledger(cost, known["parameters"], rows)
    values = known["logprobs"]
    return tuple(tuple(values[i * k : (i + 1) * k]) for i in range(len(units)))


def _with_mismatched(stage: Stage, supplies: Supplies, units: list[Unit], cost: Cost) -> list[Unit]:
    """Where the loss asks for it, each unit with the completions of the next other prompt.

    Raises:
        TrainingError: when all units have one prompt.
    """
    if not LOSSES[stage.objective.loss].mismatched or not units:
        return units
    if len({unit.prompt for unit in units}) == 1:
        raise TrainingError(
            f"stage {stage.name!r}: loss {stage.objective.loss!r} measures the KL on completions "
            "of other prompts, but all of this round have the same prompt; give more prompts"
        )
    out = []
    for i, unit in enumerate(units):
        j = i + 1
        while units[j % len(units)].prompt == unit.prompt:
            j += 1
        out.append(replace(unit, mismatched=units[j % len(units)].completions))
    asked = [(u.prompt, u.mismatched or ()) for u in out]
    values = _whole(stage, supplies.reference, asked, supplies, cost, None)
    if values is None:
        return out
    return [replace(u, mismatched_reference=v) for u, v in zip(out, values, strict=True)]


def _with_advantages(objective: Objective, units: list[Unit], score_UK: Tensor) -> list[Unit]:
    reward_UK = score_UK
    if objective.kl == "reward":
        reward_UK = objectives.penalised_rewards(
            score_UK,
            torch.tensor([u.behaviour for u in units], dtype=torch.float64),
            torch.tensor([u.reference for u in units], dtype=torch.float64),
            beta=objective.price,
        )
    advantage_UK = {
        "none": lambda: None,
        "leave-one-out": lambda: objectives.leave_one_out(reward_UK),
        "centred": lambda: objectives.centred(reward_UK),
        "standardised": lambda: objectives.standardised(reward_UK),
        "others": lambda: objectives.less_others_of_round(reward_UK),
    }[objective.advantage]()
    advantages = [None] * len(units) if advantage_UK is None else advantage_UK.tolist()
    return [
        replace(u, reward=tuple(r), advantage=None if a is None else tuple(a))
        for u, r, a in zip(units, reward_UK.tolist(), advantages, strict=True)
    ]


@torch.no_grad()
def _led_by_critic(
    stage: Stage,
    supplies: Supplies,
    critic: Critic,
    rows: Rows,
    score_UK: Tensor,
    behaviour: list[tuple[float, ...]],
    reference: list[tuple[float, ...]] | None,
    cost: Cost,
) -> list[UnitTokens]:
    """Every token's advantage and return, the score given at the last token."""
    chosen = stage.objective.critic
    assert chosen is not None
    value = each_token(rows, supplies.token_budget, critic.values)
    _ledger(cost, sum(p.numel() for p in critic.model.parameters()), rows)
    value_BT, mask_BT = padded(value)
    reward_BT = torch.zeros_like(value_BT)
    if stage.objective.kl == "reward":
        assert reference is not None
        reward_BT -= stage.objective.price * (padded(behaviour)[0] - padded(reference)[0])
    last = mask_BT.sum(dim=1) - 1
    reward_BT[torch.arange(len(rows)), last] += score_UK.flatten()
    advantage_BT = objectives.generalised_advantages(
        reward_BT, value_BT, mask_BT, decay=chosen.decay
    )
    returns = _ragged(advantage_BT + value_BT, mask_BT)
    if chosen.whiten:
        advantage_BT = objectives.whitened(advantage_BT, mask_BT)
    advantage = _ragged(advantage_BT, mask_BT)
    return _per_unit(
        score_UK.shape[1],
        behaviour=behaviour,
        reference=reference,
        advantage=advantage,
        value=value,
        returns=returns,
    )


def padded(values: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    """(B, T) numbers with zeros behind the shorter rows, and the mask."""
    longest = max(map(len, values))
    rows = [[*row, *[0.0] * (longest - len(row))] for row in values]
    out = torch.tensor(rows, dtype=torch.float64)
    lengths = torch.tensor([len(row) for row in values])
    return out, torch.arange(longest)[None] < lengths[:, None]


def _ragged(values_BT: Tensor, mask_BT: Tensor) -> list[tuple[float, ...]]:
    lengths = mask_BT.sum(dim=1).tolist()
    return [tuple(row[:n]) for row, n in zip(values_BT.tolist(), lengths, strict=True)]
