"""One round of training material: completions from the data or from a policy, labelled, picked.

Everything that is random here is a function of (seed, round), and a round is stored whole in the
checkpoint, so a resumed run trains on the same units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from allroads import files, objectives
from allroads.data.dataset import Dataset
from allroads.errors import TrainingError
from allroads.judges import Labeller
from allroads.models.batches import by_tokens
from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads.picks import PICKS, Scored, floored
from allroads.roads.stage import DEMONSTRATIONS, Stage
from allroads.rollouts.sampler import sample
from allroads.seeding import address, child
from allroads.types import Completion, Prompt, Tokens

_UNFINISHED_PENALTY = 1.0


@dataclass(frozen=True)
class Unit:
    """What one loss term needs: K completions of one prompt, and what is known about them.

    Log-probabilities are in nats per completion at the run's temperature. `slot` is the unit's
    planned place in the round: minibatches are cut over slots, so a dropped unit shifts no other.
    """

    slot: int
    prompt: Tokens
    completions: tuple[Tokens, ...]
    reference: tuple[float, ...] | None = None
    behaviour: tuple[float, ...] | None = None
    advantage: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Round:
    """The units of one round, out of `slots` planned ones, and what is logged about them."""

    units: tuple[Unit, ...]
    slots: int
    facts: dict[str, float]


@dataclass(frozen=True)
class Supplies:
    """What a stage needs beside its own choices.

    Attributes:
        dataset: where pairs, demonstrations and training prompts come from.
        seed: the run's seed; every draw hangs on it and on `address`.
        address: the stage's own place in the seed tree.
        reference: the frozen reference, where the objective has one.
        writer: the frozen policy that writes, where the source is another stage.
        labeller: who scores sampled completions.
        temperature: at which every log-probability is taken.
        max_new_tokens: length limit of sampled completions.
        token_budget: padded tokens per forward pass.
        sample_batch: completions decoded together.
        fixed_length: whether the task ends at `max_new_tokens`.
        reference_cache: file for the reference's log-probabilities of the offline units, which
            stages with the same reference and data (another beta, say) share; None: not kept.
    """

    dataset: Dataset
    seed: int
    address: str
    reference: Policy | None
    writer: Policy | None
    labeller: Labeller | None
    temperature: float
    max_new_tokens: int
    token_budget: int
    sample_batch: int
    fixed_length: bool = False
    reference_cache: Path | None = None


def planned_slots(stage: Stage, dataset: Dataset) -> int:
    """Units that one round is planned to have."""
    if stage.source.who == DEMONSTRATIONS:
        return len(dataset.demonstrations)
    if not stage.source.sampled:
        return len(dataset.pairs["train"])
    prompts = len(dataset.prompts["train"])
    if stage.source.refresh == "update":
        return min(stage.schedule.batch_size, prompts)
    if stage.source.refresh == "round":
        return max(1, prompts // stage.schedule.rounds)
    return prompts


def gather(
    stage: Stage, supplies: Supplies, policy: Policy | None, index: int, cost: Cost
) -> Round:
    """The training material of round `index`; what it took is added to `cost`.

    Raises:
        TrainingError: when the data holds nothing for this stage.
    """
    if stage.source.sampled:
        writer = policy if supplies.writer is None else supplies.writer
        assert writer is not None
        return _sampled(stage, supplies, writer, index, cost)
    return _offline(stage, supplies, cost)


def _offline(stage: Stage, supplies: Supplies, cost: Cost) -> Round:
    if stage.source.who == DEMONSTRATIONS:
        units = [
            Unit(slot=i, prompt=row.prompt, completions=(row.completion,))
            for i, row in enumerate(supplies.dataset.demonstrations)
        ]
        cost.demonstrations = len(units)
    else:
        pairs = supplies.dataset.pairs["train"]
        winners = stage.pick == "winners"
        units = [
            Unit(
                slot=i,
                prompt=pair.prompt,
                completions=(pair.chosen,) if winners else (pair.chosen, pair.rejected),
            )
            for i, pair in enumerate(pairs)
        ]
        cost.labels = len(units)
    if not units:
        raise TrainingError(
            f"stage {stage.name!r} has no {stage.source.who} to train on; the audit says where "
            "the rows went"
        )
    return Round(tuple(_with_reference(units, supplies, cost, offline=True)), len(units), {})


def _sampled(stage: Stage, supplies: Supplies, writer: Policy, index: int, cost: Cost) -> Round:
    prompts = _prompts_of_round(stage, supplies, index)
    per_prompt = stage.source.per_prompt
    assert per_prompt is not None
    groups = sample(
        writer,
        prompts,
        per_prompt=per_prompt,
        temperature=stage.source.temperature,
        max_new_tokens=supplies.max_new_tokens,
        seed=(address(supplies.seed, supplies.address, "samples", index), "round"),
        batch_size=supplies.sample_batch,
        fixed_length=supplies.fixed_length,
    )
    return labelled(stage, supplies, writer, groups, cost)


def labelled(
    stage: Stage,
    supplies: Supplies,
    writer: Policy,
    groups: list[list[Completion]],
    cost: Cost,
) -> Round:
    """The training material that completions of `writer` make: scored, picked, with advantages.

    Args:
        stage: whose labeller, pick and objective apply.
        supplies: see `Supplies`.
        writer: who wrote them.
        groups: `per_prompt` completions of each prompt of the round.
        cost: what it took is added.
    """
    per_prompt = len(groups[0])
    flat = [one for group in groups for one in group]
    cost.tokens_sampled += sum(len(one.tokens) for one in flat)
    cost.flops += (
        2.0
        * writer.parameters_count
        * sum(len(one.tokens) + len(one.prompt.tokens) / per_prompt for one in flat)
    )
    scores = _score(
        supplies, [one.prompt.tokens for one in flat], [one.tokens for one in flat], cost
    )
    scored = [
        [Scored(one, scores[g * per_prompt + k]) for k, one in enumerate(group)]
        for g, group in enumerate(groups)
    ]
    good = [s for s in scores if not math.isnan(s)]
    facts = {
        "score": sum(good) / len(good) if good else math.nan,
        "unfinished": sum(not one.finished for one in flat) / len(flat),
        "length": sum(len(one.tokens) for one in flat) / len(flat),
    }
    units, advantages = [], []
    for slot, group in enumerate(floored(scored, penalty=_UNFINISHED_PENALTY)):
        picked = PICKS[stage.pick](group)
        if picked is None:
            continue
        units.append(
            Unit(
                slot=slot,
                prompt=group[0].completion.prompt.tokens,
                completions=tuple(one.completion.tokens for one in picked),
                behaviour=tuple(one.completion.logprob for one in picked),
            )
        )
        advantages.append([one.score for one in picked])
    facts["dropped"] = float(len(groups) - len(units))
    facts["failed"] = float(len(scores) - len(good))
    units = _with_reference(units, supplies, cost, offline=False)
    if stage.pick == "group" and units:
        units = _with_advantages(units, advantages, stage)
    return Round(tuple(units), len(groups), facts)


def _prompts_of_round(stage: Stage, supplies: Supplies, index: int) -> list[Prompt]:
    """A walk through seeded permutations of the training prompts, `slots` of them a round."""
    every = supplies.dataset.prompts["train"]
    count = planned_slots(stage, supplies.dataset)
    out: list[Prompt] = []
    for position in range(index * count, (index + 1) * count):
        lap, place = divmod(position, len(every))
        if not out or place == 0:
            order = child(supplies.seed, supplies.address, "prompts", lap).permutation(len(every))
        out.append(every[order[place]])
    return out


def _score(
    supplies: Supplies, prompts: list[Tokens], completions: list[Tokens], cost: Cost
) -> list[float]:
    labeller = supplies.labeller
    assert labeller is not None
    rows = Rows(prompts, completions)
    scores = labeller(rows)
    if labeller.origin == "outside":
        cost.outside_queries += labeller.queries(rows)
    else:
        cost.scorer_queries += labeller.queries(rows)
    tokens = sum(map(len, prompts)) + sum(map(len, completions))
    if labeller.forward_parameters:
        cost.tokens_scored += tokens
        cost.flops += 2.0 * labeller.forward_parameters * tokens
    return scores


def _with_reference(
    units: list[Unit], supplies: Supplies, cost: Cost, *, offline: bool
) -> list[Unit]:
    """The units with their log-probabilities under the reference, computed once."""
    if supplies.reference is None or not units:
        return units
    k = len(units[0].completions)
    rows = Rows(
        [u.prompt for u in units for _ in range(k)], [c for u in units for c in u.completions]
    )
    cache = supplies.reference_cache if offline else None
    if cache is not None and cache.is_file():
        values = files.read_json(cache)
    else:
        values = _reference_logprobs(supplies.reference, rows, supplies)
        if cache is not None:
            files.write_json(cache, values)
    # Counted also where another stage computed them: the ledger says what a road costs alone.
    cost.tokens_scored += rows.tokens
    cost.flops += 2.0 * supplies.reference.parameters_count * rows.tokens
    return [
        _replace(unit, reference=tuple(values[i * k : (i + 1) * k])) for i, unit in enumerate(units)
    ]


@torch.no_grad()
def _reference_logprobs(reference: Policy, rows: Rows, supplies: Supplies) -> list[float]:
    return by_tokens(
        rows,
        supplies.token_budget,
        lambda part: reference.sequence_logprobs(part, temperature=supplies.temperature),
    )


def _with_advantages(units: list[Unit], scores: list[list[float]], stage: Stage) -> list[Unit]:
    score_UK = torch.tensor(scores, dtype=torch.float64)
    if stage.objective.beta:
        score_UK = objectives.penalised_rewards(
            score_UK,
            torch.tensor([u.behaviour for u in units], dtype=torch.float64),
            torch.tensor([u.reference for u in units], dtype=torch.float64),
            beta=stage.objective.beta,
        )
    advantage_UK = objectives.leave_one_out(score_UK).tolist()
    return [_replace(u, advantage=tuple(a)) for u, a in zip(units, advantage_UK, strict=True)]


def _replace(unit: Unit, **changes: tuple[float, ...]) -> Unit:
    return Unit(**{**unit.__dict__, **changes})  # type: ignore[arg-type]
