"""Small worlds on which a stage can be followed through every sample that could be drawn.

A transformer in double precision over a token tree, two prompts of different lengths, and hand-made
data. No two models are alike: a trainee that were its own reference would hide what the reference
does. Axis letters are those of `exact.tree`: P prompts, L completions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import cast

import torch

from allroads.data.audit import audit_of
from allroads.data.dataset import Dataset
from allroads.data.split import SPLITS
from allroads.exact import Tree
from allroads.judges import CallableLabeller, GlobalLabeller, Labeller, LocalLabeller
from allroads.models.builtin import small_transformer
from allroads.models.critic import ActorCritic, Critic
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel, reward_model_on
from allroads.roads.accumulate import Trainee
from allroads.roads.stage import DATA, SELF, VERIFIER, WRITER, Road, Stage
from allroads.roads.supplies import Supplies
from allroads.seeding import child
from allroads.types import Demonstration, Pair, Prompt, Split, Tokens

PROMPTS = (
    Prompt(prompt_id="first", tokens=(1, 2)),
    Prompt(prompt_id="second", tokens=(2, 1, 1)),
)
_ROWS = 7
"""Demonstrations, and pairs; not a multiple of the prompts, so that those weigh differently."""
_SPREAD = 20.0
"""Factor on fresh weights that makes policies far from uniform and unlike each other."""
_UNLIMITED = 10**6


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A token tree, and whether the task itself ends at its horizon."""

    name: str
    tree: Tree
    whole: bool
    """True: a completion of full length is finished. False: without end-of-sequence it was cut."""
    temperature: float = 1.0
    """At which completions are drawn and every log-probability is taken."""

    @property
    def finished(self) -> tuple[bool, ...]:
        """Which completions are finished, in the tree's order."""
        return tuple(self.whole or bool(end) for end in self.tree.finished_L)


_HALVES = (0.5, 0.5)
GROUNDS = {
    ground.name: ground
    for ground in (
        Ground(name="equal lengths", tree=Tree(vocabulary=3, horizon=2, rho=_HALVES), whole=True),
        Ground(name="own ends", tree=Tree(vocabulary=3, horizon=2, rho=_HALVES, eos=0), whole=True),
        Ground(
            name="cut short", tree=Tree(vocabulary=3, horizon=2, rho=_HALVES, eos=0), whole=False
        ),
    )
}
"""All completions of one length; of the lengths that end-of-sequence gives them; and some cut."""


@dataclass(frozen=True)
class Problem:
    """One stage of a road on one ground, with models for every role that it names."""

    ground: Ground
    road: Road
    stage: Stage
    trainee: Trainee
    supplies: Supplies


def problem(ground: Ground, road: Road, stage: Stage) -> Problem:
    """Set the stage up with fresh models, always the same ones for the same ground."""
    at = stage.source.model_copy(update={"temperature": ground.temperature})
    stage = stage.model_copy(update={"source": at})
    return Problem(
        ground=ground,
        road=road,
        stage=stage,
        trainee=_trainee(ground, road, stage),
        supplies=Supplies(
            dataset=_dataset(ground),
            seed=0,
            address="oracle",
            reference=partial(policy, ground, "reference") if _apart(stage) else None,
            writer=policy(ground, "writer") if _written_by_another(stage) else None,
            labeller=None if stage.labeller in ("none", DATA) else _labeller(ground, road, stage),
            temperature=ground.temperature,
            max_new_tokens=ground.tree.horizon,
            token_budget=_UNLIMITED,
            sample_batch=64,
            fixed_length=ground.whole,
        ),
    )


def policy(ground: Ground, role: str) -> Policy:
    """The policy that plays this role: one layer, width 8, double precision."""
    return _drawn(ground, role).twin()


@cache
def _drawn(ground: Ground, role: str) -> Policy:
    """Drawn once: a copy takes a third of the time."""
    tree = ground.tree
    made = small_transformer(
        vocabulary=tree.vocabulary,
        context=max(len(p.tokens) for p in PROMPTS) + tree.horizon,
        eos_id=1,
        width=8,
        layers=1,
        heads=2,
        seed=sum(map(ord, role)),
    )
    model = made.model.double()
    # All ids are real tokens here, and transformers warns of rows that begin or end with padding.
    model.config.pad_token_id = None
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(_SPREAD)
    # Where nothing ends a completion, an id that never comes.
    return Policy(model, tree.vocabulary if tree.eos is None else tree.eos)


def truth(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
    """A verifier of few grades, so that it ties often: how many different tokens there are."""
    return [
        float(len(set(completion)) + (completion[0] == prompt[-1]))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _apart(stage: Stage) -> bool:
    """Whether the reference is a model of its own."""
    return stage.objective.reference not in (None, WRITER)


def _trainee(ground: Ground, road: Road, stage: Stage) -> Trainee:
    model = _model(ground, stage, "trainee")
    if not stage.critic:
        return model
    assert isinstance(model, Policy)
    named = next(one for one in road.stages if one.name == stage.critic)
    return ActorCritic(model, Critic(cast(RewardModel, _model(ground, named, "critic"))))


def _written_by_another(stage: Stage) -> bool:
    return stage.source.sampled and stage.source.who != SELF


def _model(ground: Ground, stage: Stage, role: str) -> Policy | RewardModel:
    backbone = policy(ground, role)
    if stage.makes == "policy":
        return backbone
    reading = stage.objective.score.removeprefix("head-")
    return reward_model_on(backbone, reading=reading, seed=1)  # type: ignore[arg-type]


def _labeller(ground: Ground, road: Road, stage: Stage) -> Labeller:
    if stage.labeller == VERIFIER:
        return CallableLabeller(truth)
    named = next(one for one in road.stages if one.name == stage.labeller)
    model = _model(ground, named, "labeller")
    if isinstance(model, RewardModel):
        return GlobalLabeller(model, _UNLIMITED)
    reference = policy(ground, "reference of the labeller") if named.objective.reference else None
    assert named.objective.beta is not None
    return LocalLabeller(model, reference, named.objective.beta, ground.temperature, _UNLIMITED)


def _dataset(ground: Ground) -> Dataset:
    """Rows drawn from the tree; completions and pairs may come twice, and contradict each other."""
    rng, tree = child(0, "oracle", ground.name), ground.tree
    demonstrations, pairs = [], []
    for row in range(_ROWS):
        prompt = PROMPTS[row % len(PROMPTS)]
        same = {"prompt_id": prompt.prompt_id, "prompt": prompt.tokens}
        shown, chosen = (tree.completions[i] for i in rng.integers(tree.leaves, size=2))
        rejected = tree.completions[
            (tree.leaf(chosen) + int(rng.integers(1, tree.leaves))) % tree.leaves
        ]
        demonstrations.append(Demonstration(**same, completion=shown))  # type: ignore[arg-type]
        pairs.append(Pair(**same, chosen=chosen, rejected=rejected))  # type: ignore[arg-type]
    by_split: dict[Split, tuple[Pair, ...]] = {split: () for split in SPLITS}
    by_split["train"] = tuple(pairs)
    return Dataset(
        pairs=by_split,
        demonstrations=tuple(demonstrations),
        prompts={split: PROMPTS if split == "train" else () for split in SPLITS},
        audit=audit_of(
            pairs=by_split,
            demonstrations=demonstrations,
            sources=(),
            max_length=_UNLIMITED,
            over_long="drop",
            eos_id=tree.eos,
        ),
    )
