"""What the jobs of a diagnosis do: read the pairs, fit a part, draw and grade samples."""

from __future__ import annotations

import math
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from allroads import files
from allroads.data.dataset import Dataset
from allroads.evaluation import graders
from allroads.evaluation.policies import rows_of
from allroads.evaluation.scorers import margins
from allroads.evidence import FULL
from allroads.judges import GlobalLabeller, Labeller, LocalLabeller
from allroads.lab.diagnose.blocks import Blocks
from allroads.lab.jobs import Job
from allroads.lab.selection import preference
from allroads.lab.stages import on_other_pairs, supplies_of, trainee_of
from allroads.lab.workshop import Workshop
from allroads.models import lora
from allroads.models.batches import by_tokens
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel, reward_model_on
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads import checkpoint
from allroads.roads.accumulate import Trainee
from allroads.roads.atlas.common import changed
from allroads.roads.loop import Keeping, Progress, train
from allroads.roads.stage import VERIFIER, Schedule, Stage
from allroads.rollouts.sampler import sample
from allroads.seeding import child
from allroads.types import Completion, Pair, Prompt, Tokens

PREFIXES = (0.25, 0.5, 0.75)
"""Shares of a sample's tokens after which the reward model is asked."""
_CUT = 8
"""Samples of a prompt whose beginnings it is asked about."""

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
    start = _ReadBefore.of(shop, job, dataset)
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
    names = _numbers(dataset)
    result = {
        "count": len(known),
        "following": _leads(scorer, following, cost),
        "following_prompts": [names[pair.cluster] for pair in following],
        "test": _leads(scorer, _held_out(dataset, job), cost),
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


@dataclass(frozen=True)
class _ReadBefore:
    """The start policy's log-probabilities of completions that it has read: nothing is read twice.

    It stands where a reference policy stands, and costs nothing.
    """

    known: dict[tuple[Tokens, Tokens], float]
    temperature: float
    parameters_count: int = 0

    @classmethod
    def of(cls, shop: Workshop, job: Job, dataset: Dataset) -> _ReadBefore:
        """All training pairs, and the held-out ones that are read."""
        found = files.read_json(shop.folder / "evaluations" / f"{job.spec['reading']}.json")
        pairs = [*dataset.pairs["train"], *_held_out(dataset, job)]
        chosen = found["train_chosen_logprob"] + found["chosen_logprob"]
        rejected = found["train_rejected_logprob"] + found["rejected_logprob"]
        known = {(p.prompt, p.chosen): one for p, one in zip(pairs, chosen, strict=True)}
        known |= {(p.prompt, p.rejected): one for p, one in zip(pairs, rejected, strict=True)}
        return cls(known, shop.config.temperature)

    @classmethod
    def told(cls, rows: Rows, values: Sequence[float], temperature: float) -> _ReadBefore:
        """Each completion with what was said of it."""
        both = zip(rows.prompts, rows.completions, strict=True)
        return cls(dict(zip(both, values, strict=True)), temperature)

    def sequence_logprobs(self, rows: Rows, *, temperature: float) -> torch.Tensor:
        """As `Policy.sequence_logprobs`, of completions that were read.

        Raises:
            KeyError: for any other.
        """
        assert temperature == self.temperature
        both = zip(rows.prompts, rows.completions, strict=True)
        return torch.tensor([self.known[prompt, answer] for prompt, answer in both])


def read_pairs(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    """The pairs as the start policy sees them, and the held-out ones as shallow scorers do."""
    dataset = shop.dataset(job.needs, job.seed)
    pairs, names, cost = _held_out(dataset, job), _numbers(dataset), Cost()
    start = shop.policy(job.spec["start"], job.seed)

    def read(some: Sequence[Pair]) -> tuple[list[float], list[float]]:
        prompts = [pair.prompt for pair in some]
        sides = [pair.chosen for pair in some], [pair.rejected for pair in some]
        chosen, rejected = (_logprobs(shop, start, Rows(prompts, one), cost) for one in sides)
        return chosen, rejected

    chosen, rejected = read(pairs)
    train_chosen, train_rejected = read(dataset.pairs["train"])
    own = graders.TextPairs.of(dataset.pairs["train"], shop.decode)
    held_out = graders.TextPairs.of(pairs, shop.decode)
    shallow = {"length": graders.fit_length(own), "words": graders.fit_tf_idf(own)}
    return {
        "places": _places(dataset, job),
        "train_chosen_logprob": train_chosen,
        "train_rejected_logprob": train_rejected,
        "prompts": [names[pair.cluster] for pair in pairs],
        "chosen_tokens": [len(pair.chosen) for pair in pairs],
        "rejected_tokens": [len(pair.rejected) for pair in pairs],
        "chosen_logprob": chosen,
        "rejected_logprob": rejected,
        "shortcuts": {
            name: graders.margins(scorer, held_out).tolist() for name, scorer in shallow.items()
        },
        "repeats": _repeats(dataset),
        "pairs": len(dataset.pairs["train"]),
        "other_labels": sum(len(rows) for name, rows in dataset.pairs.items() if name != "train"),
        "cost": cost.model_dump(),
    }


def draw_pool(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    """Samples of the start policy on held-out prompts, and what every grader says of them."""
    spec = job.spec
    drawn = _Drawn.by(shop, job, shop.policy(spec["start"], job.seed), spec["start"])
    result = drawn.pool(spec["graders"])
    cost, since = drawn.cost, time.monotonic()
    result["prefixes"] = {
        f"{share:g}": _beginnings(shop, spec, job.seed, drawn.groups, share, cost)
        for share in PREFIXES
    }
    result["prefixes"]["1"] = [row[:_CUT] for row in result["grades"]["verifier"]]
    cost.seconds += time.monotonic() - since
    return result | {"cost": cost.model_dump()}


def draw_offline(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    """Samples of offline DPO at the setting that a comparison would choose (`lab.selection`).

    Every setting answers the same held-out prompts; the independent scorer chooses. The truth,
    where there is one, is asked about the chosen setting alone.
    """
    spec, count = job.spec, job.spec["snapshots"]
    before = files.read_json(shop.folder / "evaluations" / f"{spec['pool']}.json")
    usual = float(np.mean(before["grades"]["independent"]))
    entropy = -float(np.mean(before["own_logprob"]))
    cost = Cost()
    trials: list[dict[str, Any]] = []
    best: tuple[tuple[bool, float], int, _Drawn] | None = None
    for one in spec["policies"]:
        policy = shop.fresh_policy(one["id"], job.seed)
        for index in range(1, count + 1):
            keeping = Keeping(shop.folder / "checkpoints" / one["id"])
            checkpoint.load_weights(policy.model, keeping.snapshot(index))
            drawn = _Drawn.by(shop, job, policy, one["id"])
            scores = drawn.grades(spec["graders"]["independent"])
            trial = {
                "beta": one["beta"],
                "fraction": index / count,
                "kl": float(np.mean(np.subtract(drawn.own, drawn.of_start))),
                "score": float(np.mean(scores)) - usual,
                "chosen": False,
            }
            rank = preference(trial["score"], trial["kl"], entropy)
            if best is None or rank > best[0]:
                best = rank, len(trials), drawn
            trials.append(trial)
            cost += drawn.cost
            progress(len(trials), count * len(spec["policies"]))
    assert best is not None
    _, at, chosen = best
    trials[at]["chosen"] = True
    chosen.cost = Cost()
    result = chosen.pool(spec["graders"])
    return result | {"trials": trials, "cost": (cost + chosen.cost).model_dump()}


@dataclass
class _Drawn:
    """Samples of a policy on held-out prompts.

    Attributes:
        pair: places of held-out pairs that have these prompts.
        groups: the samples of each prompt.
        own, of_start: log-probabilities of all samples, nats, by the policy and the start policy.
        name: the policy's job, where its log-probabilities may be read from `own`.
        cost: of what has been done here.
    """

    shop: Workshop
    job: Job
    name: str
    pair: list[int]
    groups: list[list[Completion]]
    own: list[float]
    of_start: list[float]
    cost: Cost

    @classmethod
    def by(cls, shop: Workshop, job: Job, policy: Policy, name: str) -> _Drawn:
        """Draw; every policy with the same random numbers."""
        spec, since = job.spec, time.monotonic()
        pairs = _held_out(shop.dataset(job.needs, job.seed), job)
        of_prompt = {pair.prompt_id: at for at, pair in enumerate(pairs)}
        asked = _some(sorted(of_prompt.values()), spec["prompts"], "prompts")
        groups = sample(
            policy,
            [Prompt(prompt_id=pairs[at].prompt_id, tokens=pairs[at].prompt) for at in asked],
            per_prompt=spec["samples"],
            temperature=shop.config.temperature,
            max_new_tokens=shop.settings.max_new_tokens,
            seed=(job.seed, "diagnosis-pool"),
            batch_size=shop.settings.sample_batch,
            fixed_length=shop.settings.fixed_length,
        )
        flat = [one for group in groups for one in group]
        rows = rows_of(flat)
        cost = Cost(
            tokens_sampled=sum(len(one.tokens) for one in flat),
            flops=2.0 * policy.parameters_count * rows.tokens,
        )
        own = of_start = [one.logprob for one in flat]
        if name != spec["start"]:
            start = shop.policy(spec["start"], job.seed)
            of_start = _logprobs(shop, start, rows, cost)
        cost.seconds += time.monotonic() - since
        return cls(shop, job, name, asked, groups, own, of_start, cost)

    @property
    def flat(self) -> list[Completion]:
        """All samples, prompt by prompt."""
        return [one for group in self.groups for one in group]

    def grades(self, grader: str) -> list[float]:
        """What a grader's job, or the verifier, says of all samples."""
        rows, since = rows_of(self.flat), time.monotonic()
        # What the sampler or the start policy has said of them is not computed again.
        temperature = self.shop.config.temperature
        said = {
            self.job.spec["start"]: _ReadBefore.told(rows, self.of_start, temperature),
            self.name: _ReadBefore.told(rows, self.own, temperature),
        }
        found = _grades(self.shop, grader, self.job.seed, rows, self.cost, said)
        self.cost.seconds += time.monotonic() - since
        return found

    def pool(self, graders: Mapping[str, str]) -> dict[str, Any]:
        """All that the samples' record holds, as plain values."""
        flat = self.flat
        return {
            "pair": self.pair,
            "tokens": self._table([len(one.tokens) for one in flat]),
            "finished": self._table([one.finished for one in flat]),
            "own_logprob": self._table(self.own),
            "entropy": self._table([-one.logprob / len(one.tokens) for one in flat]),
            "logprob": self._table(self.of_start),
            "grades": {role: self._table(self.grades(name)) for role, name in graders.items()},
        }

    def _table(self, values: Sequence[Any]) -> list[list[Any]]:
        each = self.job.spec["samples"]
        return [list(values[at : at + each]) for at in range(0, len(values), each)]


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
    _count(cost, tokens, scorer.forward_parameters)
    return margins(scorer, pairs)


def _beginnings(
    shop: Workshop,
    spec: dict[str, Any],
    seed: int,
    groups: Sequence[Sequence[Completion]],
    share: float,
    cost: Cost,
) -> list[list[float]]:
    """What the verifier says of the first part of each prompt's first samples."""
    flat = [one for group in groups for one in group[:_CUT]]
    scores = _grades(shop, spec["graders"]["verifier"], seed, _cut(flat, share), cost)
    each = len(groups[0][:_CUT])
    return [scores[at : at + each] for at in range(0, len(scores), each)]


def _grades(
    shop: Workshop,
    name: str,
    seed: int,
    rows: Rows,
    cost: Cost,
    said: Mapping[str, _ReadBefore] | None = None,
) -> list[float]:
    """Scores; of policies whose log-probabilities are there already, by their jobs, from those."""
    scorer: Labeller | None
    if name == VERIFIER:
        scorer = shop.labeller({"id": VERIFIER}, seed)
        assert scorer is not None
        cost.outside_queries += scorer.queries(rows)
    else:
        scorer = shop.scorer(name, seed)
        cost.scorer_queries += scorer.queries(rows)
    if isinstance(scorer, LocalLabeller) and said is not None:
        made = files.read_json(shop.folder / "checkpoints" / name / "stage.json")
        known = {"policy": said.get(name), "reference": said.get(made["reference"])}
        scorer = replace(scorer, **{role: one for role, one in known.items() if one is not None})
    _count(cost, rows.tokens, scorer.forward_parameters)
    return scorer(rows)


@torch.no_grad()
def _logprobs(shop: Workshop, policy: Policy, rows: Rows, cost: Cost) -> list[float]:
    _count(cost, rows.tokens, policy.parameters_count)

    def function(part: Rows) -> torch.Tensor:
        return policy.sequence_logprobs(part, temperature=shop.config.temperature)

    return by_tokens(rows, shop.config.token_budget, function)


def _count(cost: Cost, tokens: int, parameters: int) -> None:
    cost.tokens_scored += tokens if parameters else 0
    cost.flops += 2.0 * parameters * tokens


def _cut(completions: Sequence[Completion], share: float) -> Rows:
    """The first part of each completion, at least one token."""
    ends = [max(1, math.ceil(share * len(one.tokens))) for one in completions]
    return Rows(
        [one.prompt.tokens for one in completions],
        [one.tokens[:end] for one, end in zip(completions, ends, strict=True)],
    )


def _numbers(dataset: Dataset) -> dict[str, int]:
    """A number for every cluster of prompts."""
    names = sorted({pair.cluster for rows in dataset.pairs.values() for pair in rows})
    return {name: at for at, name in enumerate(names)}


def _repeats(dataset: Dataset) -> list[tuple[int, int]]:
    """How often each of two completions was preferred, of those that were compared again."""
    found: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for rows in dataset.pairs.values():
        for pair in rows:
            first = min(pair.chosen, pair.rejected)
            both = (pair.prompt, first, max(pair.chosen, pair.rejected))
            found[both][int(pair.chosen != first)] += 1
    return [(a, b) for a, b in found.values() if a + b > 1]


def _places(dataset: Dataset, job: Job) -> list[int]:
    """Of the held-out pairs that this diagnosis reads, among all."""
    return _some(range(len(dataset.pairs["test"])), job.spec["held_out"], "pairs")


def _held_out(dataset: Dataset, job: Job) -> list[Pair]:
    return [dataset.pairs["test"][at] for at in _places(dataset, job)]


def _some(places: Sequence[int], count: int, what: str) -> list[int]:
    """A fixed subset, the same for every job."""
    if len(places) <= count:
        return list(places)
    order = child(0, f"diagnosis-{what}", len(places)).permutation(len(places))[:count]
    return sorted(places[at] for at in order.tolist())
