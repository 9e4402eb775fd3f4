"""A task whose optimum is known and whose every answer can be listed: copy the prompt, then end."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from allroads.judges import CallableLabeller
from allroads.models.critic import ActorCritic, Critic
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel, reward_model_on
from allroads.models.states import Rows
from allroads.roads.accumulate import Trainee
from allroads.roads.atlas import Recipe, atlas, every_road
from allroads.roads.choices import DATA, SELF, WRITER, Schedule
from allroads.roads.loop import Keeping, train
from allroads.roads.stage import Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Round, Unit
from allroads.seeding import child
from allroads.types import Demonstration, Pair, Prompt, Tokens
from tests.roads.problem import kinds_of, made_of

EOS, LENGTH, LETTERS = 0, 2, (1, 2, 3)
LEAVES: list[Tokens] = [(EOS,), *itertools.product(LETTERS, (EOS, *LETTERS))]
"""Every answer: end at once, or a letter and one more token, where the task ends."""
LEARNT = Schedule(learning_rate=6e-2, batch_size=16, epochs=2, warmup=0.0)
RECIPE = Recipe(
    sft=LEARNT,
    reward=LEARNT,
    policy=LEARNT,
    online=Schedule(learning_rate=5e-2, batch_size=12, rounds=6, warmup=0.0),
    batch_samples=4,
    group=4,
    reuse=2,
    iterations=2,
)
ROWS = 48
STAGES, _ = kinds_of(atlas("sft", RECIPE), beta=0.01)
CONTROLS, _ = kinds_of(every_road("sft", RECIPE), beta=0.01)


def truth(prompt: Tokens, completion: Tokens) -> float:
    """One for the copy, one for the end; the best answer has both."""
    return float(completion[0] == prompt[0]) + float(completion[-1] == EOS)


def start_policy(seed: int) -> Policy:
    """One layer, four tokens; close to uniform."""
    return Policy(copy.deepcopy(_start_model(seed)), EOS)


@cache
def _start_model(seed: int) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=4, n_positions=4, n_embd=8, n_layer=1, n_head=1, bos_token_id=None,
        eos_token_id=EOS, pad_token_id=EOS,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    return model


def supplies(stage: Stage, seed: int, *, even: bool = False) -> Supplies:
    """Preferences that follow Bradley-Terry on four times the truth; every other is of the best.

    With `even`, labels that no policy can please: each pair four times, once the other way round;
    and a labeller that hardly knows better than a coin.
    """
    rng = child(seed, "copying")
    prompts = [Prompt(prompt_id=str(i), tokens=(LETTERS[i % 3],)) for i in range(ROWS)]
    pairs = []
    for i in range(ROWS):
        prompt = prompts[i % 12]
        if even and i >= 12:
            a, b = pairs[i - 12].chosen, pairs[i - 12].rejected
            if i >= 36:
                a, b = b, a
        else:
            a, b = (LEAVES[j] for j in rng.choice(len(LEAVES), 2, replace=False))
            best = (prompt.tokens[0], EOS)
            if i % 2 and b != best:
                a = best
            lead = 4 * (truth(prompt.tokens, a) - truth(prompt.tokens, b))
            if rng.random() > 1 / (1 + np.exp(-lead)):
                a, b = b, a
        pairs.append(Pair(prompt_id=prompt.prompt_id, prompt=prompt.tokens, chosen=a, rejected=b))
    shown = [
        Demonstration(prompt_id=p.prompt_id, prompt=p.prompt, completion=(p.prompt[0], EOS))
        for p in pairs
    ]

    def score(asked: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
        known = [truth(p, c) for p, c in zip(asked, completions, strict=True)]
        if not even:
            return known
        # Differences of Gumbel noise are logistic: these are labels of Bradley and Terry.
        return [x / 2 + float(n) for x, n in zip(known, rng.gumbel(size=len(known)), strict=True)]

    return Supplies(
        dataset=made_of(pairs, shown, prompts),
        seed=seed,
        address="copying",
        reference=None
        if stage.objective.reference in (None, WRITER)
        else partial(start_policy, seed),
        writer=start_policy(seed) if stage.source.sampled and stage.source.who != SELF else None,
        labeller=None if stage.labeller in ("none", DATA) else CallableLabeller(score),
        temperature=1.0,
        max_new_tokens=LENGTH,
        token_budget=10**6,
        sample_batch=256,
        fixed_length=True,
        replayed=_round_of(pairs) if stage.source.replayed else None,
    )


def _round_of(pairs: Sequence[Pair]) -> Round:
    """Pairs as an earlier stage would have left them."""
    units = (Unit(i, pair.prompt, (pair.chosen, pair.rejected)) for i, pair in enumerate(pairs))
    return Round(tuple(units), len(pairs), {})


def trained(
    stage: Stage, seed: int, folder: Path, *, even: bool = False
) -> tuple[Trainee, Trainee]:
    """The model as it starts, and after the stage."""
    before, after = (_trainee(stage, seed) for _ in range(2))
    train(stage, after, supplies(stage, seed, even=even), Keeping(folder))
    return before, after


def _trainee(stage: Stage, seed: int) -> Trainee:
    policy = start_policy(seed)
    if stage.objective.critic is not None:
        return ActorCritic(policy, Critic(reward_model_on(policy, reading="sum", seed=seed)))
    if stage.makes == "reward model":
        return reward_model_on(policy, reading="sum", seed=seed)
    return policy


@torch.no_grad()
def table(model: Trainee) -> np.ndarray:
    """(prompts, leaves): probabilities of a policy, or scores of a reward model; exact."""
    rows = Rows([(p,) for p in LETTERS for _ in LEAVES], LEAVES * len(LETTERS))
    if isinstance(model, RewardModel):
        values = model.scores(rows)
    else:
        policy = model.policy if isinstance(model, ActorCritic) else model
        values = policy.sequence_logprobs(rows).exp()
    return values.double().view(len(LETTERS), len(LEAVES)).numpy()


TRUTH = np.array([[truth((p,), leaf) for leaf in LEAVES] for p in LETTERS])


def goodness(model: Trainee) -> float:
    """The exact expected truth of a policy's answers; the correlation of a scorer with it."""
    values = table(model)
    if isinstance(model, RewardModel):
        return float(np.mean([np.corrcoef(v, t)[0, 1] for v, t in zip(values, TRUTH, strict=True)]))
    return float((values * TRUTH).sum(axis=1).mean())


def divergence(policy: Trainee, reference: Trainee) -> float:
    """The exact KL(policy || reference) in nats, mean over prompts."""
    p, q = table(policy), table(reference)
    return float((p * np.log(p / q)).sum(axis=1).mean())
