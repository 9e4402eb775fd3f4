"""Draws and grades samples: of the start policy, and of the offline policy that is chosen."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from allroads import files
from allroads.evaluation.policies import rows_of
from allroads.judges import Labeller, LocalLabeller
from allroads.lab.diagnose.reading import ReadBefore, count, held_out, logprobs, some
from allroads.lab.jobs import Job
from allroads.lab.selection import preference
from allroads.lab.workshop import Workshop
from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads import checkpoint
from allroads.roads.loop import Keeping, Progress
from allroads.roads.stage import VERIFIER
from allroads.rollouts.sampler import sample
from allroads.types import Completion, Prompt

PREFIXES = (0.25, 0.5, 0.75)
"""Shares of a sample's tokens after which the reward model is asked."""
_CUT = 8
"""Samples of a prompt whose beginnings it is asked about."""


def draw_pool(shop: Workshop, job: Job, progress: Progress) -> dict[str, Any]:
    """Samples of the start policy on held-out prompts, and what every grader says of them."""
    spec = job.spec
    drawn = _Drawn.by(
        shop, job, shop.policy(spec["start"], job.seed), spec["start"], spec["samples"]
    )
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
    spec, moments = job.spec, job.spec["snapshots"]
    before = files.read_json(shop.folder / "evaluations" / f"{spec['pool']}.json")
    usual = float(np.mean(before["grades"]["independent"]))
    entropy = -float(np.mean(before["own_logprob"]))
    cost = Cost()
    trials: list[dict[str, Any]] = []
    ranks: list[tuple[bool, float]] = []
    for one in spec["policies"]:
        for index in range(1, moments + 1):
            policy = _at(shop, job, one["id"], index)
            drawn = _Drawn.by(shop, job, policy, one["id"], spec["tried_samples"])
            scores = drawn.grades(spec["graders"]["independent"])
            trial = {
                "rate": one["rate"],
                "beta": one["beta"],
                "fraction": index / moments,
                "kl": float(np.mean(np.subtract(drawn.own, drawn.of_start))),
                "score": float(np.mean(scores)) - usual,
                "chosen": False,
            }
            ranks.append(preference(trial["score"], trial["kl"], entropy))
            trials.append(trial)
            cost += drawn.cost
            progress(len(trials), moments * len(spec["policies"]) + 1)  # The chosen one comes last.
    at = max(range(len(trials)), key=ranks.__getitem__)
    trials[at]["chosen"] = True
    chosen = spec["policies"][at // moments]["id"]
    policy = _at(shop, job, chosen, at % moments + 1)
    drawn = _Drawn.by(shop, job, policy, chosen, spec["samples"])
    result = drawn.pool(spec["graders"])
    return result | {"trials": trials, "cost": (cost + drawn.cost).model_dump()}


def _at(shop: Workshop, job: Job, name: str, snapshot: int) -> Policy:
    """A policy as it was at a moment of its training."""
    policy = shop.fresh_policy(name, job.seed)
    keeping = Keeping(shop.folder / "checkpoints" / name)
    checkpoint.load_weights(policy.model, keeping.snapshot(snapshot))
    return policy


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
    def by(cls, shop: Workshop, job: Job, policy: Policy, name: str, samples: int) -> _Drawn:
        """Draw; every policy with the same random numbers."""
        spec, since = job.spec, time.monotonic()
        pairs = held_out(shop.dataset(job.needs, job.seed), job)
        of_prompt = {pair.prompt_id: at for at, pair in enumerate(pairs)}
        asked = some(sorted(of_prompt.values()), spec["prompts"], "prompts")
        groups = sample(
            policy,
            [Prompt(prompt_id=pairs[at].prompt_id, tokens=pairs[at].prompt) for at in asked],
            per_prompt=samples,
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
            of_start = logprobs(shop, start, rows, cost)
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
            self.job.spec["start"]: ReadBefore.told(rows, self.of_start, temperature),
            self.name: ReadBefore.told(rows, self.own, temperature),
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
        each = len(self.groups[0])
        return [list(values[at : at + each]) for at in range(0, len(values), each)]


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
    said: Mapping[str, ReadBefore] | None = None,
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
    count(cost, rows.tokens, scorer.forward_parameters)
    return scorer(rows)


def _cut(completions: Sequence[Completion], share: float) -> Rows:
    """The first part of each completion, at least one token."""
    ends = [max(1, math.ceil(share * len(one.tokens))) for one in completions]
    return Rows(
        [one.prompt.tokens for one in completions],
        [one.tokens[:end] for one, end in zip(completions, ends, strict=True)],
    )
