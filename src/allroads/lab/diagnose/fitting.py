"""Fits a learner to a part of the pairs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from allroads.evaluation.scorers import margins
from allroads.evidence import FULL
from allroads.judges import GlobalLabeller, Labeller, LocalLabeller
from allroads.lab.diagnose.blocks import Blocks
from allroads.lab.diagnose.reading import ReadBefore, count, held_out, numbers_of
from allroads.lab.jobs import Job
from allroads.lab.stages import on_other_pairs, supplies_of, trainee_of
from allroads.lab.workshop import Workshop
from allroads.models import lora
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel, reward_model_on
from allroads.records import Cost
from allroads.roads.accumulate import Trainee
from allroads.roads.atlas.common import changed
from allroads.roads.loop import Keeping, Progress, train
from allroads.roads.stage import Schedule, Stage
from allroads.types import Pair

_STEPS = 16
"""Least optimiser steps of a pass over a block, where batches of at least `_LEAST` allow it."""
_LEAST = 8
_ADAPTED = 10.0
"""How much faster an adapter learns than all weights; see `lab.config`."""


def fit_part(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    """Fit a learner to the first blocks of an order; its leads on the next and on held-out pairs.

    Raises:
        TrainingError: when it diverges.
    """
    spec, dataset = job.spec, shop.dataset(job.needs, job.seed)
    blocks = Blocks.of(dataset.pairs["train"], spec["blocks"], order=spec["order"], seed=job.seed)
    known, following = blocks.before(spec["block"]), blocks.after(spec["block"])
    stage = fitted_stage(Stage.model_validate(spec["stage"]), len(known), spec["capacity"])
    supplies = supplies_of(
        shop, stage, spec["links"], on_other_pairs(dataset, known, "train"), job.seed
    )
    start = ReadBefore.of(shop, job, dataset)
    if spec["links"]["reference"]:
        assert spec["links"]["reference"] == spec["links"]["start"]
        supplies = replace(supplies, reference=lambda: cast(Policy, start))
    folder = shop.folder / "checkpoints" / job.id
    trainee = _learner(shop, stage, spec["links"], spec["capacity"], job.seed)
    keeping = Keeping(folder, snapshots=0, checkpoint_seconds=shop.config.checkpoint_seconds)
    cost = train(stage, trainee, supplies, keeping, progress)
    scorer: Labeller
    if isinstance(trainee, RewardModel):
        scorer = GlobalLabeller(trainee, shop.config.token_budget)
    else:
        assert isinstance(trainee, Policy)
        scorer = LocalLabeller(
            trainee,
            cast(Policy, start),
            stage.objective.price,
            shop.config.temperature,
            shop.config.token_budget,
        )
    names = numbers_of(dataset)
    result = {
        "count": len(known),
        "following": _leads(scorer, following, cost),
        "following_prompts": [names[pair.cluster] for pair in following],
        "test": _leads(scorer, held_out(dataset, job), cost),
        "cost": cost.model_dump(),
    }
    shutil.rmtree(folder, ignore_errors=True)
    return result


def fitted_stage(stage: Stage, pairs: int, capacity: str) -> Stage:
    """A stage as it is fitted to a part of the data: the same rule for every size and learner.

    Half the recipe's passes in batches half as large: as many steps for half the arithmetic, and as
    good (LOG.md, 2026-11-23). Batches shrink with the part, so that a pass takes at least 16 steps
    where batches of 8 allow it; the learning rate stays. Adapters and heads alone learn ten times
    as fast.
    """
    schedule: Schedule = stage.schedule
    halved = schedule.epochs > 1
    whole = max(1, schedule.batch_size // 2) if halved else schedule.batch_size
    changes = {
        "epochs": math.ceil(schedule.epochs / 2) if halved else schedule.epochs,
        "batch_size": min(whole, max(_LEAST, pairs // _STEPS)),
        "learning_rate": schedule.learning_rate * (1.0 if capacity == FULL else _ADAPTED),
    }
    return changed(stage, schedule=schedule.model_copy(update=changes))


def _learner(
    shop: Workshop, stage: Stage, links: dict[str, Any], capacity: str, seed: int
) -> Trainee:
    """What is trained: all weights, the head alone, or an adapter."""
    if capacity == FULL:
        return trainee_of(shop, stage, links, seed)
    if capacity == "head":
        made = trainee_of(shop, stage, links, seed)
        assert isinstance(made, RewardModel)
        made.model.base_model.requires_grad_(requires_grad=False)
        return made
    adapter = lora.Lora(rank=int(capacity.removeprefix("rank ")))
    if stage.makes == "reward model":
        reading: Any = stage.objective.score.removeprefix("head-")
        frozen = shop.policy(links["start"], seed)
        return reward_model_on(frozen, reading=reading, seed=seed, adapter=adapter)
    policy = shop.policy(links["start"], seed).twin()
    lora.add_adapter(policy.model, adapter, seed)
    return policy


def _leads(scorer: Labeller, pairs: Sequence[Pair], cost: Cost) -> list[float]:
    """Chosen minus rejected, in the scorer's units."""
    if not pairs:
        return []
    tokens = sum(2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in pairs)
    count(cost, tokens, scorer.forward_parameters)
    return margins(scorer, pairs)
