"""The table of roads: each is a row of stages; none has a trainer of its own.

`atlas()` is written for a start policy (the stage every road descends from) and the recipe's
schedules, so that all roads share both.
"""

from __future__ import annotations

from allroads.errors import ConfigError, nearest
from allroads.roads.stage import (
    BASE,
    DATA,
    DEMONSTRATIONS,
    PAIRS,
    SELF,
    VERIFIER,
    Choice,
    Objective,
    Road,
    Schedule,
    Score,
    Source,
    Stage,
)

DPO_PAPER = "Rafailov et al. 2023, arXiv:2305.18290"
OAIF_PAPER = "Guo et al. 2024, arXiv:2402.04792"
ROADS_PAPER = "Swamy et al. 2025, arXiv:2503.01067"


class Recipe(Choice):
    """Schedules and sizes that all roads share.

    Rounds belong to the online stages only; for the rest one round holds all the data.
    """

    sft: Schedule = Schedule(epochs=8)
    reward: Schedule = Schedule(epochs=4)
    policy: Schedule = Schedule(epochs=2)
    online: Schedule = Schedule(rounds=100)
    """Fully on-policy stages: `rounds` updates of `batch_size` fresh prompts."""
    reading: Score = "head-sum"
    """Where the global reward model's head reads."""
    batch_samples: int = 8
    """Samples per prompt of the paper's one-batch online DPO (the paper draws 25)."""
    group: int = 4
    """Completions per prompt of group losses."""


def atlas(start: str = "sft", recipe: Recipe | None = None) -> dict[str, Road]:
    """Every named road.

    Args:
        start: what the roads descend from: 'sft', 'sft-chosen' or 'base'.
        recipe: schedules; the default suits the built-in world.

    Raises:
        ConfigError: for an unknown start.
    """
    recipe = recipe or Recipe()
    sft = Stage(
        name="sft",
        source=Source(who=DEMONSTRATIONS),
        objective=Objective(loss="likelihood"),
        schedule=recipe.sft,
    )
    sft_chosen = Stage(
        name="sft-chosen",
        source=Source(who=PAIRS),
        labeller=DATA,
        pick="winners",
        objective=Objective(loss="likelihood"),
        schedule=recipe.sft,
    )
    starts = {"sft": (sft,), "sft-chosen": (sft_chosen,), BASE: ()}
    if start not in starts:
        raise ConfigError(f"start {start!r} is unknown: {nearest(start, starts)}")
    first = starts[start]
    reward_model = Stage(
        name="reward-model",
        start=start,
        source=Source(who=PAIRS),
        labeller=DATA,
        objective=Objective(loss="bradley-terry", score=recipe.reading),
        schedule=recipe.reward,
    )
    implicit = Objective(loss="bradley-terry", score="implicit", reference=start)
    local_rm = _with(reward_model, name="local-rm", objective=implicit)
    dpo = _with(local_rm, name="dpo", schedule=recipe.policy)
    online_dpo = Stage(
        name="online-dpo",
        start=start,
        source=Source(who=SELF, per_prompt=2, refresh="update"),
        labeller="reward-model",
        pick="two",
        objective=implicit,
        schedule=recipe.online,
    )
    one_batch = _with(
        online_dpo,
        source=Source(who=SELF, per_prompt=recipe.batch_samples, refresh="once"),
        pick="best-worst",
        schedule=recipe.policy,
    )
    rloo = _with(
        online_dpo,
        name="rloo",
        source=Source(who=SELF, per_prompt=recipe.group, refresh="update"),
        pick="group",
        objective=Objective(loss="rloo", score="log-prob", reference=start),
    )
    best_of_n = Stage(
        name="best-of-n",
        start=start,
        source=Source(who=start, per_prompt=None),
        labeller="reward-model",
        pick="winners",
        objective=Objective(loss="none"),
    )
    from_dpo = {"start": "dpo", "objective": _with_reference(implicit, "dpo")}
    rows = [
        Road(name="sft", stages=(sft,), summary="likelihood of the demonstrations"),
        Road(
            name="sft-chosen",
            stages=(sft_chosen,) if start != "sft" else (sft, _with(sft_chosen, start="sft")),
            summary="likelihood of the chosen completions",
        ),
        Road(
            name="reward-model",
            stages=(*first, reward_model),
            summary="the global reward model: a scalar head over the whole completion",
            purpose="scorer",
            source="Bradley and Terry 1952",
        ),
        Road(
            name="local-rm",
            stages=(*first, local_rm),
            summary="the local reward model: a policy's own log-ratio, fitted like the global one",
            purpose="scorer",
            source=ROADS_PAPER,
        ),
        Road(
            name="dpo",
            stages=(*first, dpo),
            summary="offline: Bradley-Terry on the policy's implicit reward",
            source=DPO_PAPER,
        ),
        Road(
            name="best-of-n",
            stages=(*first, reward_model, best_of_n),
            summary="no second training: serve the best of N samples by the reward model",
        ),
        Road(
            name="online-dpo",
            stages=(*first, reward_model, online_dpo),
            summary="two fresh samples a prompt, the reward model picks, DPO's loss",
            source=OAIF_PAPER,
        ),
        Road(
            name="online-dpo-from-dpo",
            stages=(*first, reward_model, dpo, _with(online_dpo, **from_dpo)),
            summary="the same, started from (and held near) offline DPO",
            source=ROADS_PAPER,
        ),
        Road(
            name="online-dpo-batch",
            stages=(*first, reward_model, one_batch),
            summary="the paper's form: one batch of N samples a prompt, best against worst",
            source=ROADS_PAPER,
        ),
        Road(
            name="online-dpo-batch-from-dpo",
            stages=(*first, reward_model, dpo, _with(one_batch, **from_dpo)),
            summary="the paper's form, started from offline DPO",
            source=ROADS_PAPER,
        ),
        Road(
            name="online-dpo-local",
            stages=(*first, local_rm, _with(online_dpo, labeller="local-rm")),
            summary="online DPO labelled by the local reward model",
            source=ROADS_PAPER,
        ),
        Road(
            name="online-dpo-verifier",
            stages=(*first, _with(online_dpo, labeller=VERIFIER)),
            summary="online DPO labelled by the truth: an outside labeller, new information",
        ),
        Road(
            name="best-of-n-local",
            stages=(
                *first,
                _with(local_rm, objective=implicit.model_copy(update={"beta": 0.5})),
                _with(best_of_n, labeller="local-rm"),
            ),
            summary="best-of-N by the local reward model (fitted at beta 0.5)",
            source=ROADS_PAPER,
        ),
        Road(
            name="rloo",
            stages=(*first, reward_model, rloo),
            summary="policy gradient on groups, each reward against the mean of the others",
            source="Ahmadian et al. 2024, arXiv:2402.14740",
        ),
    ]
    return {road.name: road for road in rows if not (road.name == "sft" and start != "sft")}


def _with(stage: Stage, **changes: object) -> Stage:
    return Stage.model_validate({**dict(stage), **changes})


def _with_reference(objective: Objective, reference: str) -> Objective:
    return objective.model_copy(update={"reference": reference})
