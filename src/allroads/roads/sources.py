"""One round of training material: completions from the data or from a policy, labelled, picked.

Everything that is random here is a function of (seed, round), and a round is stored whole in the
checkpoint, so a resumed run trains on the same units.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from allroads.data.dataset import Dataset
from allroads.errors import TrainingError
from allroads.models.critic import Critic
from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads.known import about_data, about_samples
from allroads.roads.picks import MARGIN_MATCHED, PICKS, Scored, floored, lead, margin_matched
from allroads.roads.stage import DEMONSTRATIONS, Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Round, Unit
from allroads.rollouts.sampler import sample
from allroads.seeding import address, child
from allroads.types import Completion, Demonstration, Prompt, Tokens

_UNFINISHED_PENALTY = 1.0
T = TypeVar("T")


def planned_slots(stage: Stage, dataset: Dataset, replayed: Round | None = None) -> int:
    """Units that one round is planned to have; `replayed`: see `Supplies`."""
    if replayed is not None:
        return replayed.slots
    if stage.source.who == DEMONSTRATIONS:
        return len(dataset.demonstrations)
    if not stage.source.sampled:
        return len(dataset.pairs["train"])
    if stage.pick == "demonstrated":
        available = len(_demonstrations(dataset))
    else:
        available = len(answered(stage, dataset))
    if stage.source.refresh == "update":
        return min(stage.schedule.batch_size, available)
    if stage.source.refresh == "round":
        return max(1, available // stage.schedule.rounds)
    return available


def gather(
    stage: Stage,
    supplies: Supplies,
    policy: Policy | None,
    index: int,
    cost: Cost,
    critic: Critic | None = None,
) -> Round:
    """The training material of round `index`; what it took is added to `cost`.

    Args:
        stage: its choices.
        supplies: see `Supplies`.
        policy: the one in training, as it is now; None for a reward model.
        index: of the round.
        cost: the ledger.
        critic: the one in training, where the stage has one.

    Raises:
        TrainingError: when the data holds nothing for this stage.
    """
    supplies = supplies.opened_once()
    if not stage.source.sampled:
        relabelled = _relabelled if stage.pick == "two" else _offline
        make = _replayed if stage.source.replayed else relabelled
        return make(stage, supplies, cost)
    writer = policy if supplies.writer is None else supplies.writer
    assert writer is not None
    if stage.pick == "demonstrated":
        return _against_demonstrations(stage, supplies, writer, index, cost)
    prompts = _walk(stage, supplies, answered(stage, supplies.dataset), index)
    if not prompts:
        raise _nothing(stage, "prompts")
    groups = _drawn(stage, supplies, writer, prompts, index, cost)
    return labelled(stage, supplies, writer, groups, cost, critic, index)


def answered(stage: Stage, dataset: Dataset) -> Sequence[Prompt]:
    """The prompts of one lap of a stage that samples, each with a name of its own."""
    if stage.source.prompts == "all":
        return dataset.prompts["train"]
    met: Counter[str] = Counter()
    out = []
    for pair in dataset.pairs["train"]:
        again = f"/{met[pair.prompt_id]}" if met[pair.prompt_id] else ""
        met[pair.prompt_id] += 1
        # Samples are seeded by name: without one of its own a second answer would be the first.
        out.append(Prompt(prompt_id=pair.prompt_id + again, tokens=pair.prompt))
    return out


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
        raise _nothing(stage, stage.source.who)
    return Round(tuple(about_data(stage, supplies, units, cost)), len(units), {})


def _replayed(stage: Stage, supplies: Supplies, cost: Cost) -> Round:
    """An earlier stage's pairs, which its own ledger has paid for; what it dropped stays out."""
    before = supplies.replayed
    assert before is not None
    units = about_data(stage, supplies, list(before.units), cost)
    return Round(tuple(units), before.slots, {"dropped": float(before.slots - len(units))})


def with_leads(stage: Stage, supplies: Supplies, cost: Cost) -> Supplies:
    """The same, which knows how far apart its labeller sees the data's pairs, where that is needed.

    Pairs that it sees as equal are left out: no two samples of equal score make a pair. What
    scoring took is added to `cost`.

    Raises:
        TrainingError: when no pair of the data has a lead.
    """
    if stage.pick != MARGIN_MATCHED or supplies.leads is not None:
        return supplies
    pairs = supplies.dataset.pairs["train"]
    first, second = _both_sides(supplies, cost)
    apart = (abs(a - b) for a, b in zip(first, second, strict=True))
    leads = tuple(one for one in apart if one > 0)
    if not leads:
        raise TrainingError(
            f"stage {stage.name!r}: pick 'margin-matched' follows the leads that its labeller "
            f"gives the data's pairs, but it tells none of {len(pairs)} apart"
        )
    return replace(supplies, leads=leads)


def _both_sides(supplies: Supplies, cost: Cost) -> tuple[list[float], list[float]]:
    """The labeller's scores of the chosen and the rejected side of each pair of the data."""
    pairs = supplies.dataset.pairs["train"]
    if not pairs:
        return [], []
    flat = [c for pair in pairs for c in (pair.chosen, pair.rejected)]
    scores = _score(supplies, [pair.prompt for pair in pairs for _ in range(2)], flat, cost)
    return scores[::2], scores[1::2]


def _relabelled(stage: Stage, supplies: Supplies, cost: Cost) -> Round:
    """The data's pairs, ordered by the labeller instead of by their own labels."""
    pairs = supplies.dataset.pairs["train"]
    if not pairs:
        raise _nothing(stage, stage.source.who)
    scores = zip(*_both_sides(supplies, cost), strict=True)
    units, turned = [], 0
    for slot, (pair, (first, second)) in enumerate(zip(pairs, scores, strict=True)):
        # Also where a score failed: NaN is neither above nor below.
        if first == second or not (first > second or second > first):
            continue
        sides = (pair.chosen, pair.rejected) if first > second else (pair.rejected, pair.chosen)
        turned += second > first
        units.append(Unit(slot=slot, prompt=pair.prompt, completions=sides))
    facts = {"turned": turned / max(1, len(units)), "dropped": float(len(pairs) - len(units))}
    return Round(tuple(about_data(stage, supplies, units, cost)), len(pairs), facts)


def _against_demonstrations(
    stage: Stage, supplies: Supplies, writer: Policy, index: int, cost: Cost
) -> Round:
    """Each demonstration above a sample of the policy that meets the same prompt."""
    rows = _walk(stage, supplies, _demonstrations(supplies.dataset), index)
    if not rows:
        raise _nothing(stage, "demonstrations or chosen completions")
    prompts = [
        Prompt(prompt_id=f"{row.prompt_id}/{place}", tokens=row.prompt)
        for place, row in enumerate(rows)
    ]
    groups = _drawn(stage, supplies, writer, prompts, index, cost)
    cost.demonstrations = len(_demonstrations(supplies.dataset))
    return demonstrated(stage, supplies, writer, rows, groups, cost)


def demonstrated(
    stage: Stage,
    supplies: Supplies,
    writer: Policy,
    rows: Sequence[Demonstration],
    groups: list[list[Completion]],
    cost: Cost,
) -> Round:
    """The training material that demonstrations and `writer`'s answers to their prompts make."""
    units = [
        Unit(slot=slot, prompt=row.prompt, completions=(row.completion, group[0].tokens))
        for slot, (row, group) in enumerate(zip(rows, groups, strict=True))
        if row.completion != group[0].tokens
    ]
    flat = [one for group in groups for one in group]
    facts = {**_about(flat), "dropped": float(len(rows) - len(units))}
    return Round(tuple(about_data(stage, supplies, units, cost, writer)), len(rows), facts)


def labelled(
    stage: Stage,
    supplies: Supplies,
    writer: Policy,
    groups: list[list[Completion]],
    cost: Cost,
    critic: Critic | None = None,
    index: int = 0,
) -> Round:
    """The training material that completions of `writer` make: scored, picked, with advantages.

    Args:
        stage: whose labeller, pick and objective apply.
        supplies: see `Supplies`.
        writer: who wrote them.
        groups: `per_prompt` completions of each prompt of the round.
        cost: what it took is added.
        critic: the one in training, where the stage has one.
        index: of the round.
    """
    supplies = with_leads(stage, supplies, cost)
    per_prompt = len(groups[0])
    flat = [one for group in groups for one in group]
    scores = _score(
        supplies, [one.prompt.tokens for one in flat], [one.tokens for one in flat], cost
    )
    scored = [
        [Scored(one, scores[g * per_prompt + k]) for k, one in enumerate(group)]
        for g, group in enumerate(groups)
    ]
    good = [s for s in scores if not math.isnan(s)]
    ranked = floored(scored, penalty=_UNFINISHED_PENALTY)
    picked, about_picks = _picked(stage, supplies, ranked, index)
    units, more = about_samples(stage, supplies, writer, picked, cost, critic)
    facts = {
        "score": sum(good) / len(good) if good else math.nan,
        **_about(flat),
        "dropped": float(len(groups) - len(picked)),
        "failed": float(len(scores) - len(good)),
        **about_picks,
        **more,
    }
    return Round(tuple(units), len(groups), facts)


def _picked(
    stage: Stage, supplies: Supplies, groups: Sequence[Sequence[Scored]], index: int
) -> tuple[dict[int, Sequence[Scored]], dict[str, float]]:
    """What of each group reaches the loss, by slot, and facts about the choice."""
    if stage.pick != MARGIN_MATCHED:
        pick = PICKS[stage.pick]
        chosen = enumerate(map(pick, groups))
        return {slot: found for slot, found in chosen if found is not None}, {}
    assert supplies.leads is not None
    rng = child(supplies.seed, supplies.address, "leads", index)
    targets = rng.choice(supplies.leads, len(groups)).tolist()
    picked: dict[int, Sequence[Scored]] = {
        slot: found
        for slot, (group, target) in enumerate(zip(groups, targets, strict=True))
        if (found := margin_matched(group, target)) is not None
    }
    if not picked:
        return picked, {}
    return picked, {
        "target_lead": sum(targets[slot] for slot in picked) / len(picked),
        "picked_lead": sum(map(lead, picked.values())) / len(picked),
    }


def _about(flat: Sequence[Completion]) -> dict[str, float]:
    return {
        "unfinished": sum(not one.finished for one in flat) / len(flat),
        "length": sum(len(one.tokens) for one in flat) / len(flat),
    }


def _nothing(stage: Stage, what: str) -> TrainingError:
    return TrainingError(
        f"stage {stage.name!r} has no {what} to train on; the audit says where the rows went"
    )


def _demonstrations(dataset: Dataset) -> Sequence[Demonstration]:
    """The demonstrations, else the chosen completions."""
    return dataset.demonstrations or tuple(
        Demonstration(prompt_id=pair.prompt_id, prompt=pair.prompt, completion=pair.chosen)
        for pair in dataset.pairs["train"]
    )


def _walk(stage: Stage, supplies: Supplies, every: Sequence[T], index: int) -> list[T]:
    """A walk through seeded permutations of the rows, `planned_slots` of them a round."""
    count = planned_slots(stage, supplies.dataset) if every else 0
    out: list[T] = []
    for position in range(index * count, (index + 1) * count):
        lap, place = divmod(position, len(every))
        if not out or place == 0:
            order = child(supplies.seed, supplies.address, "prompts", lap).permutation(len(every))
        out.append(every[order[place]])
    return out


def _drawn(
    stage: Stage,
    supplies: Supplies,
    writer: Policy,
    prompts: Sequence[Prompt],
    index: int,
    cost: Cost,
) -> list[list[Completion]]:
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
    new = sum(len(one.tokens) for group in groups for one in group)
    cost.tokens_sampled += new
    cost.flops += (
        2.0 * writer.parameters_count * (new + sum(len(prompt.tokens) for prompt in prompts))
    )
    return groups


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
