"""A small problem for every kind of stage: hand-made data, tiny models, named stages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from allroads.data.audit import audit_of
from allroads.data.dataset import Dataset
from allroads.data.split import SPLITS
from allroads.judges import CallableLabeller
from allroads.models.critic import ActorCritic, Critic
from allroads.models.policy import Policy
from allroads.models.reward_model import reward_model_on
from allroads.records import Cost
from allroads.roads import replay
from allroads.roads.accumulate import Trainee
from allroads.roads.atlas import Recipe, all_controls, atlas, every_road
from allroads.roads.choices import DATA, SELF, VERIFIER, WRITER, Schedule
from allroads.roads.loop import Keeping, Progress, steps_per_round, train
from allroads.roads.sources import gather, planned_slots
from allroads.roads.stage import Road, Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Round, Unit
from allroads.types import Demonstration, Pair, Prompt, Split, Tokens
from tests.conftest import EOS
from tests.conftest import tiny_policy as _tiny_policy

PROMPTS = [
    Prompt(prompt_id=f"prompt-{i}", tokens=tokens)
    for i, tokens in enumerate(
        [(3, 4, 5), (6, 7, 8, 9, 10, 11, 12), (2,), (13, 14, 15), (1, 1), (16, 17, 3, 2)]
    )
]

ANSWERS: list[tuple[Tokens, Tokens]] = [
    ((1, 2, 3, 0), (4, 4)),
    ((5, 0), (6, 7, 8, 9, 10, 0)),
    ((11, 0), (0,)),
    ((12, 13, 0), (13, 12, 0)),
    ((2, 3), (3, 2, 0)),
]
"""Chosen and rejected: of all lengths, some cut before end-of-sequence."""


def tiny_policy(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> Policy:
    """One layer will do: what is asked here is not the model's."""
    return _tiny_policy(seed=seed, dtype=dtype, layers=1)


def dataset(rows: int = 10) -> Dataset:
    """Pairs and demonstrations over six training prompts; two rows may share a prompt."""
    pairs = tuple(
        Pair(
            prompt_id=PROMPTS[i % 6].prompt_id,
            prompt=PROMPTS[i % 6].tokens,
            chosen=ANSWERS[i % 5][0],
            rejected=ANSWERS[i % 5][1],
        )
        for i in range(rows)
    )
    demonstrations = tuple(
        Demonstration(prompt_id=pair.prompt_id, prompt=pair.prompt, completion=pair.chosen)
        for pair in pairs
    )
    return made_of(pairs, demonstrations, PROMPTS)


def made_of(
    pairs: Sequence[Pair], demonstrations: Sequence[Demonstration], prompts: Sequence[Prompt]
) -> Dataset:
    """A dataset whose rows are all in the split "train"."""
    by_split: dict[Split, tuple[Pair, ...]] = {split: () for split in SPLITS}
    by_split["train"] = tuple(pairs)
    return Dataset(
        pairs=by_split,
        demonstrations=tuple(demonstrations),
        prompts={split: tuple(prompts) if split == "train" else () for split in SPLITS},
        audit=audit_of(
            pairs=by_split,
            demonstrations=demonstrations,
            sources=(),
            max_length=64,
            over_long="drop",
            eos_id=EOS,
        ),
    )


def token_sum(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
    """A made-up truth that tells nearly all completions apart: larger ids are better."""
    return [
        sum(c) / 10 - len(c) / 7 + p[0] / 100 for p, c in zip(prompts, completions, strict=True)
    ]


SCHEDULE = Schedule(learning_rate=1e-2, batch_size=4, epochs=2)
RECIPE = Recipe(
    sft=SCHEDULE,
    reward=SCHEDULE,
    policy=SCHEDULE,
    online=Schedule(learning_rate=1e-2, batch_size=4, rounds=4),
    batch_samples=3,
    group=3,
    reuse=2,
    iterations=2,
)
BETA = 0.5


def _kind(stage: Stage) -> str:
    """What a stage does, whatever beta, where earlier stages are all one start or one labeller."""
    reference = stage.objective.reference
    given = {
        "name": "",
        "start": "",
        "labeller": stage.labeller if stage.labeller in ("none", DATA) else VERIFIER,
        "objective": stage.objective.model_copy(
            update={
                "reference": reference if reference in (None, WRITER) else "start",
                "beta": None,
            }
        ),
    }
    return stage.model_copy(update=given).model_dump_json()


def kinds_of(
    table: Mapping[str, Road], *, beta: float = BETA
) -> tuple[dict[str, Stage], dict[tuple[str, str], str]]:
    """Every stage of the table that trains, each kind once, by the shortest road that ends in it.

    Also (road, stage) -> that name, for every one of them: no row of the table is left out.
    """
    known: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    where: dict[tuple[str, str], str] = {}
    rows = [
        (road, stage)
        for road in (
            road.at({"beta": beta, "N": 2, "": None}[road.knob]) for road in table.values()
        )
        for stage in road.stages
        if stage.trains
    ]
    for road, stage in sorted(rows, key=lambda row: (row[1] != row[0].last, len(row[0].name))):
        last = stage == road.last
        name = known.setdefault(_kind(stage), road.name if last else f"{road.name}/{stage.name}")
        stages.setdefault(name, stage.model_copy(update={"name": name}))
        where[road.name, stage.name] = name
    return stages, where


STAGES, WHERE = kinds_of(atlas("sft", RECIPE))
"""Every stage of the atlas that trains, each kind once; each takes four to eight steps."""

CONTROLS = {
    name: stage
    for name, stage in kinds_of(every_road("sft", RECIPE))[0].items()
    if _kind(stage) not in set(map(_kind, STAGES.values()))
}
"""What the controls bring that no row of the atlas does."""
NEIGHBOUR = {name: control.neighbour for name, control in all_controls("sft", RECIPE).items()}
ONLINE = [name for name, stage in STAGES.items() if stage.source.sampled]
OFFLINE = [name for name, stage in STAGES.items() if not stage.source.sampled]


def supplies(stage: Stage, start: Policy, **changes: object) -> Supplies:
    """What the stage needs, its reference being a frozen copy of where it starts."""
    out = Supplies(
        dataset=dataset(),
        seed=12,
        address=f"test/{stage.name}",
        reference=(lambda: start) if stage.objective.reference not in (None, WRITER) else None,
        writer=start if stage.source.sampled and stage.source.who != SELF else None,
        labeller=None if stage.labeller in ("none", DATA) else CallableLabeller(token_sum),
        temperature=1.0,
        max_new_tokens=8,
        token_budget=10**6,
        sample_batch=64,
        replayed=met_online() if stage.source.replayed else None,
    )
    return replace(out, **changes)  # type: ignore[arg-type]


@cache
def met_online() -> Round:
    """The pairs of online DPO, as they would be if its policy stayed where it starts."""
    stage, start = STAGES["online-dpo"], tiny_policy()
    with TemporaryDirectory() as folder:
        for index in range(stage.schedule.rounds):
            met = round_of(stage, supplies(stage, start), start, index)
            replay.keep(met, index, Path(folder))
        return replay.kept(Path(folder), stage.schedule.rounds)


def trainee(stage: Stage, dtype: torch.dtype = torch.float32) -> Trainee:
    """A fresh model of the kind that the stage trains, always with the same weights."""
    policy = tiny_policy(dtype=dtype)
    if stage.objective.critic is not None:
        return ActorCritic(policy, Critic(reward_model_on(policy, reading="sum", seed=3)))
    if stage.makes == "policy":
        return policy
    reading = stage.objective.score.removeprefix("head-")
    return reward_model_on(policy, reading=reading, seed=3)  # type: ignore[arg-type]


def policy_of(model: Trainee) -> Policy:
    """The policy in training."""
    made = model.policy if isinstance(model, ActorCritic) else model
    assert isinstance(made, Policy)
    return made


def round_of(
    stage: Stage, given: Supplies, writer: Policy, index: int = 0, cost: Cost | None = None
) -> Round:
    """A round as the loop would gather it, with a fresh critic where the stage has one."""
    critic = None
    if stage.objective.critic is not None:
        critic = Critic(reward_model_on(writer, reading="sum", seed=3))
    return gather(stage, given, writer, index, cost or Cost(), critic)


def run(
    stage: Stage,
    folder: Path,
    *,
    progress: Progress = lambda done, total: None,
    checkpoint_seconds: float = 1e9,
    **changes: object,
) -> tuple[Trainee, Cost]:
    """Train a fresh model through a stage, from the folder's checkpoint where there is one."""
    model = trainee(stage)
    keeping = Keeping(folder, checkpoint_seconds=checkpoint_seconds)
    cost = train(stage, model, supplies(stage, tiny_policy(), **changes), keeping, progress)
    return model, cost


def weights_of(model: Trainee) -> dict[str, Tensor]:
    """Every parameter by name."""
    return {name: value.detach().clone() for name, value in model.model.named_parameters()}


def same_weights(a: Trainee, b: Trainee) -> bool:
    """Bit for bit."""
    left, right = weights_of(a), weights_of(b)
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)


def changed(name: str, **changes: object) -> Stage:
    """The stage with other choices."""
    return Stage.model_validate({**dict(STAGES[name]), **changes})


def rescheduled(name: str, **changes: object) -> Stage:
    """The stage with another schedule."""
    return changed(name, schedule=STAGES[name].schedule.model_copy(update=changes))


def lines_of(folder: Path) -> list[dict[str, float]]:
    """The metrics that a run left, a step each."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def counters(cost: Cost) -> dict[str, float]:
    """What a run must cost however often it was killed."""
    return cost.model_dump(exclude={"seconds", "peak_memory_mb"})


def first_batch(
    name: str, dtype: torch.dtype = torch.float64, **changes: Any
) -> tuple[Stage, Trainee, list[Unit], Supplies]:
    """A stage at step 0: its model, the first round's units, and its supplies."""
    stage = STAGES[name]
    model = trainee(stage, dtype)
    start = tiny_policy(dtype=dtype)
    given = supplies(stage, start, **changes)
    units = list(round_of(stage, given, start).units)
    assert len(units) >= 2
    return stage, model, units, given


def nudge(model: Trainee) -> None:
    """Away from the reference, where a lead of exactly zero would count by its rounding."""
    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if name.endswith("ln_f.weight"):
                parameter.mul_(0.8)


def gradient(model: Trainee) -> dict[str, Tensor]:
    """What every weight was given."""
    return {
        name: p.grad.clone() for name, p in model.model.named_parameters() if p.grad is not None
    }


def total_steps(stage: Stage) -> int:
    """Optimiser steps of the whole stage."""
    replayed = met_online() if stage.source.replayed else None
    slots = planned_slots(stage, dataset(), replayed)
    return stage.schedule.rounds * steps_per_round(stage, slots)


class Killed(Exception):
    """The process died here."""


def die_at(step: int) -> Progress:
    """Lets a stage come to the end of this step, and no further."""

    def progress(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


@dataclass(frozen=True)
class Finished:
    """A stage that was trained in one go, without a checkpoint."""

    model: Trainee
    metrics: str
    cost: dict[str, float]

    @property
    def lines(self) -> list[dict[str, float]]:
        """What was logged, a step each."""
        return [json.loads(line) for line in self.metrics.splitlines()]

    def check(self, model: Trainee, cost: Cost, folder: Path) -> None:
        """Another run came to the very same end."""
        assert same_weights(model, self.model)
        assert (folder / "metrics.jsonl").read_text() == self.metrics
        assert counters(cost) == self.cost


Straight = Callable[[str], Finished]
