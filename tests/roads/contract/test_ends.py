"""Every road that scores samples: zero is a score, ends count, and order never decides."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from allroads.judges import CallableLabeller
from allroads.models.critic import Critic
from allroads.models.reward_model import reward_model_on
from allroads.records import Cost
from allroads.roads.sources import labelled
from allroads.roads.units import Round
from allroads.types import Completion, Prompt, Tokens
from tests.roads.problem import PROMPTS, STAGES, supplies, tiny_policy

NAMES = sorted(
    name
    for name, stage in STAGES.items()
    if stage.source.sampled and stage.labeller not in ("none", "data")
)

SCORES = {(5, 0): 0.0, (6, 7, 0): -1.0, (8, 0): 0.0, (9, 9): 5.0, (4, 0): -1.0}
"""Zero is the best that a finished one gets; two tie with it, and the highest one was cut."""


def one(prompt: Prompt, tokens: Tokens) -> Completion:
    return Completion(
        prompt=prompt,
        tokens=tokens,
        token_logprobs=tuple(-1.0 - 0.1 * t for t in tokens),
        stop="eos" if tokens[-1] == 0 else "length",
    )


def made(name: str, groups: Sequence[Sequence[Tokens]]) -> Round:
    """The round that these completions make, of the first prompts."""
    stage, start = STAGES[name], tiny_policy()
    labeller = CallableLabeller(lambda _, completions: [SCORES[c] for c in completions])
    given = supplies(stage, start, labeller=labeller, leads=(0.5, 1.5))
    critic = None
    if stage.objective.critic is not None:
        critic = Critic(reward_model_on(start, reading="sum", seed=3))
    completions = [
        [one(prompt, tokens) for tokens in group]
        for prompt, group in zip(PROMPTS, groups, strict=False)
    ]
    return labelled(stage, given, start, completions, Cost(), critic)


def by_text(round_: Round, *, ordered: bool) -> dict[str, tuple[float, ...]]:
    """What is known of each completion of each unit; in a pair the place says who is better."""
    out = {}
    for unit in round_.units:
        for i, text in enumerate(unit.completions):
            known = [v[i] for v in (unit.reward, unit.advantage) if v is not None]
            if unit.tokens is not None and unit.tokens.advantage is not None:
                known += unit.tokens.advantage[i]
            out[f"{unit.slot} {i if ordered else ''} {text}"] = tuple(known)
    return out


GROUPS = [
    [(5, 0), (6, 7, 0), (8, 0)],
    [(9, 9), (5, 0), (4, 0)],
    [(9, 9), (9, 9), (6, 7, 0)],
    [(6, 7, 0), (4, 0), (4, 0)],
]
"""A tie for the best; a cut one with the highest score; two cut ones; a tie for the worst."""


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_arrival_never_decides(name: str):
    stage = STAGES[name]
    k = stage.source.per_prompt
    assert k is not None
    groups = [group[:k] for group in GROUPS]
    ordered = stage.yields == "pair"
    first = by_text(made(name, groups), ordered=ordered)
    for order in itertools.permutations(range(k)):
        again = made(name, [[group[i] for i in order] for group in groups])
        facts = by_text(again, ordered=ordered)
        assert facts.keys() == first.keys()
        for text, known in facts.items():
            assert known == pytest.approx(first[text], abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_of_zero_is_a_score(name: str):
    """It beats -1, and nothing that has it is dropped."""
    stage = STAGES[name]
    group = [(5, 0), (6, 7, 0), (4, 0)][: stage.source.per_prompt]
    round_ = made(name, [group] * 2)
    assert len(round_.units) == 2
    assert (round_.facts["failed"], round_.facts["dropped"]) == (0, 0)
    for unit in round_.units:
        if stage.yields != "group":
            assert unit.completions[0] == (5, 0)
        elif stage.objective.critic is None:
            reward = unit.reward
            assert reward is not None
            if stage.objective.kl == "reward":
                reward = tuple(  # less what the sampler's made-up log-probabilities cost
                    r + stage.objective.price * (b - f)
                    for r, b, f in zip(
                        reward, unit.behaviour or (), unit.reference or (), strict=True
                    )
                )
            assert reward == pytest.approx([SCORES[c] for c in unit.completions], abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_completion_never_wins(name: str):
    stage = STAGES[name]
    round_ = made(name, [[(9, 9), (5, 0), (4, 0)][: stage.source.per_prompt]] * 2)
    assert len(round_.units) == 2
    for unit in round_.units:
        if stage.yields != "group":
            assert unit.completions[0] == (5, 0)
        elif unit.advantage is not None and stage.objective.kl != "reward":
            assert min(unit.advantage) == unit.advantage[unit.completions.index((9, 9))]


def test_a_task_of_fixed_length_cuts_nothing():
    """The same texts, but the task ends there: the highest score wins."""
    stage, start = STAGES["online-dpo"], tiny_policy()
    labeller = CallableLabeller(lambda _, completions: [SCORES[c] for c in completions])
    whole = [
        [replace(one(PROMPTS[0], (9, 9)), stop="task"), replace(one(PROMPTS[0], (5, 0)))],
    ]
    round_ = labelled(stage, supplies(stage, start, labeller=labeller), start, whole, Cost())
    assert round_.units[0].completions == ((9, 9), (5, 0))
