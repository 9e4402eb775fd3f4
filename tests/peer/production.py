"""Our side of a comparison: a stage's choices, through the code that training itself calls."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from allroads.data.audit import audit_of
from allroads.data.dataset import Dataset
from allroads.data.split import SPLITS
from allroads.models.critic import Critic
from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads.accumulate import Trainee, accumulate
from allroads.roads.known import about_data, about_samples
from allroads.roads.picks import Scored
from allroads.roads.stage import Objective, Schedule, Source, Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Unit
from allroads.types import Completion, Prompt
from tests.conftest import EOS

LONGEST = 6
"""Tokens of a sampled completion, at most."""


def supplies(reference: Policy | None, temperature: float = 1.0) -> Supplies:
    nothing = {split: () for split in SPLITS}
    audit = audit_of(
        pairs=nothing,
        demonstrations=(),
        sources=(),
        max_length=64,
        over_long="drop",
        eos_id=EOS,
    )
    return Supplies(
        dataset=Dataset(pairs=nothing, demonstrations=(), prompts=nothing, audit=audit),
        seed=0,
        address="peer",
        reference=None if reference is None else lambda: reference,
        writer=None,
        labeller=None,
        temperature=temperature,
        max_new_tokens=LONGEST,
        # So few that a batch is cut into pieces: how must not matter.
        token_budget=60,
        sample_batch=64,
    )


def on_pairs(objective: Objective) -> Stage:
    return Stage(name="peer", source=Source(who="pairs"), labeller="data", objective=objective)


def on_groups(objective: Objective, k: int) -> Stage:
    """Several updates a round, so that the writer is not the policy."""
    return Stage(
        name="peer",
        source=Source(who="self", per_prompt=k, refresh="update"),
        labeller="verifier",
        pick="group",
        objective=objective,
        schedule=Schedule(epochs=2),
    )


def pairs(stage: Stage, reference: Policy | None, better: Rows, worse: Rows) -> list[Unit]:
    """Units of the pairs, with all that the stage's loss asks for."""
    assert better.prompts == worse.prompts
    rows = zip(better.prompts, better.completions, worse.completions, strict=True)
    units = [Unit(slot=i, prompt=p, completions=(b, w)) for i, (p, b, w) in enumerate(rows)]
    return about_data(stage, supplies(reference), units, Cost())


def groups(
    stage: Stage,
    writer: Policy,
    reference: Policy,
    rows: Rows,
    rewards: Sequence[float],
    temperature: float = 1.0,
    critic: Critic | None = None,
) -> list[Unit]:
    """Units of sampled completions, k to a prompt, as their round begins."""
    with torch.no_grad():
        logprob_BT, mask_BT = writer.token_logprobs(rows, temperature=temperature)
    each = [row[own].tolist() for row, own in zip(logprob_BT, mask_BT, strict=True)]
    every = [
        Scored(
            Completion(
                prompt=Prompt(prompt_id=str(prompt), tokens=prompt),
                tokens=tokens,
                stop="eos" if tokens[-1] == EOS else "length",
                token_logprobs=tuple(logprobs),
            ),
            reward,
        )
        for prompt, tokens, logprobs, reward in zip(
            rows.prompts, rows.completions, each, rewards, strict=True
        )
    ]
    k = stage.source.per_prompt or 1
    picked = {i: every[i * k : (i + 1) * k] for i in range(len(every) // k)}
    given = supplies(reference, temperature)
    return about_samples(stage, given, writer, picked, Cost(), critic)[0]


def loss_and_gradient(
    stage: Stage,
    trainee: Trainee,
    reference: Policy | None,
    units: list[Unit],
    temperature: float = 1.0,
) -> tuple[Tensor, list[Tensor]]:
    """What the training loop would hand to its optimiser."""
    trainee.model.zero_grad()
    loss, _ = accumulate(stage, trainee, supplies(reference, temperature), units, Cost())
    parameters = list(trainee.model.parameters())
    slopes = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    trainee.model.zero_grad()
    return torch.tensor(loss, dtype=slopes[0].dtype), slopes
