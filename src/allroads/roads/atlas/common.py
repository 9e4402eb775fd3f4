"""Stages that several roads share, written for one start policy and one recipe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from allroads.errors import ConfigError, nearest
from allroads.roads.atlas.recipe import Recipe
from allroads.roads.choices import BASE, DATA, DEMONSTRATIONS, PAIRS, SELF, Objective, Source
from allroads.roads.stage import Road, Stage

ROADS_PAPER = "Swamy et al. 2025, arXiv:2503.01067"
MEAN_FACTOR = 20.0
"""Beta's factor where an implicit reward is a mean over tokens: the length of a short answer. Beta
0.1 becomes SimPO's usual 2."""


@dataclass(frozen=True)
class Common:
    """The stages that every family of roads builds on."""

    start: str
    recipe: Recipe

    @cached_property
    def sft(self) -> Stage:
        """Likelihood of the demonstrations."""
        return Stage(
            name="sft",
            source=Source(who=DEMONSTRATIONS),
            objective=Objective(loss="likelihood"),
            schedule=self.recipe.sft,
        )

    @cached_property
    def sft_chosen(self) -> Stage:
        """Likelihood of the chosen completions."""
        return Stage(
            name="sft-chosen",
            source=Source(who=PAIRS),
            labeller=DATA,
            pick="winners",
            objective=Objective(loss="likelihood"),
            schedule=self.recipe.sft,
        )

    @property
    def first(self) -> tuple[Stage, ...]:
        """The stages that make the start policy.

        Raises:
            ConfigError: for an unknown start.
        """
        starts = {"sft": (self.sft,), "sft-chosen": (self.sft_chosen,), BASE: ()}
        if self.start not in starts:
            raise ConfigError(f"start {self.start!r} is unknown: {nearest(self.start, starts)}")
        return starts[self.start]

    @cached_property
    def reward_model(self) -> Stage:
        """The global reward model."""
        return Stage(
            name="reward-model",
            start=self.start,
            source=Source(who=PAIRS),
            labeller=DATA,
            objective=Objective(loss="bradley-terry", score=self.recipe.reading),
            schedule=self.recipe.reward,
        )

    @cached_property
    def implicit(self) -> Objective:
        """DPO's objective."""
        return Objective(loss="bradley-terry", score="implicit", reference=self.start)

    @cached_property
    def local_rm(self) -> Stage:
        """The local reward model: DPO's objective at the reward model's schedule."""
        return changed(self.reward_model, name="local-rm", objective=self.implicit)

    @cached_property
    def dpo(self) -> Stage:
        """Offline DPO."""
        return changed(self.local_rm, name="dpo", schedule=self.recipe.policy)

    @cached_property
    def online_dpo(self) -> Stage:
        """Two fresh samples a prompt, ordered by the reward model."""
        return Stage(
            name="online-dpo",
            start=self.start,
            source=Source(who=SELF, per_prompt=2, refresh="update"),
            labeller="reward-model",
            pick="two",
            objective=self.implicit,
            schedule=self.recipe.online,
        )

    @cached_property
    def averaged(self) -> Objective:
        """DPO's objective on the mean log-ratio over tokens."""
        return altered(self.implicit, over_tokens="mean", beta_factor=MEAN_FACTOR)

    def offline(self, name: str, summary: str, source: str, objective: Objective) -> Road:
        """A road that differs from DPO in its objective alone."""
        stage = changed(self.dpo, name=name, objective=objective)
        return Road(name=name, stages=(*self.first, stage), summary=summary, source=source)

    def online(self, name: str, summary: str, source: str, stage: Stage) -> Road:
        """A road by way of the reward model."""
        stages = (*self.first, self.reward_model, changed(stage, name=name))
        return Road(name=name, stages=stages, summary=summary, source=source)


def changed(stage: Stage, **changes: Any) -> Stage:
    """The stage with other choices, checked again."""
    return Stage.model_validate({**dict(stage), **changes})


def altered(objective: Objective, **changes: Any) -> Objective:
    """The objective with other choices, checked again."""
    return Objective.model_validate({**dict(objective), **changes})
