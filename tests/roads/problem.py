"""A small problem for every kind of stage: hand-made data, tiny models, named stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from allroads.data.audit import audit_of
from allroads.data.dataset import Dataset
from allroads.data.split import SPLITS
from allroads.judges import CallableLabeller
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel, reward_model_on
from allroads.records import Cost
from allroads.roads.loop import Keeping, Progress, train
from allroads.roads.stage import Objective, Schedule, Source, Stage
from allroads.roads.supplies import Supplies
from allroads.types import Demonstration, Pair, Prompt, Split, Tokens
from tests.conftest import EOS, tiny_policy

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


IMPLICIT = Objective(loss="bradley-terry", score="implicit", reference="start", beta=0.5)
SCHEDULE = Schedule(learning_rate=1e-2, batch_size=4, epochs=2)
SELF = Source(who="self", per_prompt=2, refresh="update")

STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            name="sft",
            source=Source(who="demonstrations"),
            objective=Objective(loss="likelihood"),
            schedule=SCHEDULE,
        ),
        Stage(
            name="sft-chosen",
            source=Source(who="pairs"),
            labeller="data",
            pick="winners",
            objective=Objective(loss="likelihood"),
            schedule=SCHEDULE,
        ),
        Stage(
            name="dpo",
            source=Source(who="pairs"),
            labeller="data",
            objective=IMPLICIT,
            schedule=SCHEDULE,
        ),
        Stage(
            name="reward-model",
            source=Source(who="pairs"),
            labeller="data",
            objective=Objective(loss="bradley-terry", score="head-sum"),
            schedule=SCHEDULE,
        ),
        Stage(
            name="online-dpo",
            source=SELF,
            labeller="verifier",
            pick="two",
            objective=IMPLICIT,
            schedule=Schedule(learning_rate=1e-2, batch_size=4, rounds=5),
        ),
        Stage(
            # Several epochs over each round of samples: a checkpoint falls inside a round.
            name="online-dpo-batch",
            source=Source(who="self", per_prompt=3, refresh="round"),
            labeller="verifier",
            pick="best-worst",
            objective=IMPLICIT,
            schedule=Schedule(learning_rate=1e-2, batch_size=2, rounds=2, epochs=2),
        ),
        Stage(
            name="rloo",
            source=Source(who="self", per_prompt=3, refresh="update"),
            labeller="verifier",
            pick="group",
            objective=Objective(loss="rloo", reference="start", beta=0.1),
            schedule=Schedule(learning_rate=1e-2, batch_size=3, rounds=2, epochs=3),
        ),
    )
}
"""One stage of every kind that trains; each takes four to eight steps."""

ONLINE = [name for name, stage in STAGES.items() if stage.source.sampled]
OFFLINE = [name for name, stage in STAGES.items() if not stage.source.sampled]


def supplies(stage: Stage, start: Policy, **changes: object) -> Supplies:
    """What the stage needs, its reference being a frozen copy of where it starts."""
    out = Supplies(
        dataset=dataset(),
        seed=7,
        address=f"test/{stage.name}",
        reference=start if stage.objective.reference else None,
        writer=None,
        labeller=CallableLabeller(token_sum) if stage.source.sampled else None,
        temperature=1.0,
        max_new_tokens=12,
        token_budget=10**6,
        sample_batch=64,
    )
    return replace(out, **changes)  # type: ignore[arg-type]


def trainee(stage: Stage, dtype: torch.dtype = torch.float32) -> Policy | RewardModel:
    """A fresh model of the kind that the stage trains, always with the same weights."""
    policy = tiny_policy(dtype=dtype)
    if stage.makes == "policy":
        return policy
    reading = stage.objective.score.removeprefix("head-")
    return reward_model_on(policy, reading=reading, seed=3)  # type: ignore[arg-type]


def run(
    stage: Stage,
    folder: Path,
    *,
    progress: Progress = lambda done, total: None,
    checkpoint_seconds: float = 1e9,
    **changes: object,
) -> tuple[Policy | RewardModel, Cost]:
    """Train a fresh model through a stage, from the folder's checkpoint where there is one."""
    model = trainee(stage)
    keeping = Keeping(folder, checkpoint_seconds=checkpoint_seconds)
    cost = train(stage, model, supplies(stage, tiny_policy(), **changes), keeping, progress)
    return model, cost


def weights_of(model: Policy | RewardModel) -> dict[str, torch.Tensor]:
    """Every parameter by name."""
    return {name: value.detach().clone() for name, value in model.model.named_parameters()}


def same_weights(a: Policy | RewardModel, b: Policy | RewardModel) -> bool:
    """Bit for bit."""
    left, right = weights_of(a), weights_of(b)
    return left.keys() == right.keys() and all(torch.equal(left[n], right[n]) for n in left)
