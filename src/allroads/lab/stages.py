"""Trains one stage: finds what it needs in the run folder, and leaves its model there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from allroads import files
from allroads.data.dataset import Dataset
from allroads.judges import GlobalLabeller
from allroads.lab.jobs import Job, fingerprint
from allroads.lab.tracking import about_stage, tracked
from allroads.lab.workshop import Workshop
from allroads.models.critic import ActorCritic
from allroads.models.reward_model import RewardModel
from allroads.models.states import Rows
from allroads.roads import replay
from allroads.roads.accumulate import Trainee
from allroads.roads.loop import Keeping, Progress, clear_checkpoints, train
from allroads.roads.stage import Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Round
from allroads.types import Pair, Split


def train_stage(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    """Train the stage of a job; its result is what it cost.

    Raises:
        TrainingError: when it finds nothing to learn from, or diverges.
    """
    stage, links, split = job.stage, job.spec["links"], job.spec["split"]
    dataset = shop.dataset(job.needs, job.seed)
    if split != "train":
        dataset = on_other_pairs(dataset, dataset.pairs[split], split)
    cache = _reference_cache(shop, job, stage)
    supplies = supplies_of(shop, stage, links, dataset, job.seed, cache)
    folder = shop.folder / "checkpoints" / job.id
    keeping = Keeping(folder, job.spec.get("snapshots", 1), shop.config.checkpoint_seconds)
    trainee = trainee_of(shop, stage, links, job.seed)
    with tracked(shop.folder, shop.config, job.id, about_stage(job, shop.settings)) as tell:
        cost = train(stage, trainee, supplies, keeping, progress, tell)
    if isinstance(trainee, RewardModel):
        centre(trainee, supplies)
    made = trainee.policy if isinstance(trainee, ActorCritic) else trainee

    def fill(path: Path) -> None:
        made.save(path)
        shop.save_tokenizer(path)

    files.write_folder(folder / "model", fill)
    objective = stage.objective
    files.write_json(
        folder / "stage.json",
        {
            "stage": job.spec["stage"],
            "makes": stage.makes,
            "reference": links["reference"],
            "beta": None if objective.beta is None else objective.price,
            "over_tokens": objective.over_tokens,
            "temperature": objective.at(shop.config.temperature),
        },
    )
    clear_checkpoints(keeping)
    return {"cost": cost.model_dump(), "seed": job.seed}


def on_other_pairs(dataset: Dataset, pairs: Sequence[Pair], split: Split) -> Dataset:
    """The dataset whose training pairs are others, of the prompts of a split."""
    return type(dataset)(
        pairs={**dataset.pairs, "train": tuple(pairs)},
        demonstrations=(),
        prompts={**dataset.prompts, "train": dataset.prompts[split]},
        audit=dataset.audit,
    )


def supplies_of(
    shop: Workshop,
    stage: Stage,
    links: dict[str, Any],
    dataset: Dataset,
    seed: int,
    reference_cache: Path | None = None,
) -> Supplies:
    """What a stage needs, its names found in the run folder."""
    reference = partial(shop.policy, links["reference"], seed) if links["reference"] else None
    return Supplies(
        dataset=dataset,
        seed=seed,
        address=stage.name,
        reference=reference,
        writer=shop.policy(links["writer"], seed) if links["writer"] else None,
        labeller=shop.labeller(links["labeller"], seed),
        temperature=shop.config.temperature,
        max_new_tokens=shop.settings.max_new_tokens,
        token_budget=shop.config.token_budget,
        sample_batch=shop.settings.sample_batch,
        fixed_length=shop.settings.fixed_length,
        replayed=_replayed(shop, links["replayed"]),
        reference_cache=reference_cache,
    )


def _replayed(shop: Workshop, name: str) -> Round | None:
    """The pairs that the stage of this job was trained on."""
    if not name:
        return None
    folder = shop.folder / "checkpoints" / name
    stage = Stage.model_validate(files.read_json(folder / "stage.json")["stage"])
    return replay.kept(folder, stage.schedule.rounds)


def _reference_cache(shop: Workshop, job: Job, stage: Stage) -> Path:
    """One file for all stages that read the same completions under the same reference."""
    same = [job.spec["links"]["reference"], job.seed, job.spec["split"], stage.source.who]
    same += [stage.pick, shop.settings.data_fingerprint, shop.settings.model_fingerprint]
    same += [need for need in job.needs if shop.pairs_path(need).is_file()]
    same += [stage.objective.at(shop.config.temperature), shop.config.dtype]
    same += [shop.config.token_budget]
    return shop.folder / "cache" / f"reference-logprobs-{fingerprint(same)}.json"


def trainee_of(shop: Workshop, stage: Stage, links: dict[str, Any], seed: int) -> Trainee:
    """The model that a stage trains, as it starts."""
    start = links["start"]
    if stage.objective.score.startswith("head-"):
        reading = stage.objective.score.removeprefix("head-")
        return shop.new_reward_model(start, seed, reading)  # type: ignore[arg-type]
    policy = shop.fresh_policy(start, seed)
    if stage.objective.critic is None:
        return policy
    return ActorCritic(policy, shop.new_critic(links["critic"], start, seed))


@torch.no_grad()
def centre(model: RewardModel, supplies: Supplies) -> None:
    """Set the offset so that demonstrations (else chosen completions) score 0 on average.

    Source: Huang et al. 2024, arXiv:2403.17031.
    """
    dataset = supplies.dataset
    rows = [(d.prompt, d.completion) for d in dataset.demonstrations[:512]]
    rows = rows or [(p.prompt, p.chosen) for p in dataset.pairs["train"][:512]]
    labeller = GlobalLabeller(model, supplies.token_budget)
    scores = labeller(Rows([p for p, _ in rows], [c for _, c in rows]))
    model.offset += float(np.mean(scores))
