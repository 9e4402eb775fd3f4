"""Reads the pairs as the start policy sees them; what was read is kept, and not read again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from allroads import files
from allroads.data.dataset import Dataset
from allroads.evaluation import graders
from allroads.lab.jobs import Job
from allroads.lab.workshop import Workshop
from allroads.models.batches import by_tokens
from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads.loop import Progress
from allroads.seeding import child
from allroads.types import Pair, Tokens


@dataclass(frozen=True)
class ReadBefore:
    """The start policy's log-probabilities of completions that it has read: nothing is read twice.

    It stands where a reference policy stands, and costs nothing.
    """

    known: dict[tuple[Tokens, Tokens], float]
    temperature: float
    parameters_count: int = 0

    @classmethod
    def of(cls, shop: Workshop, job: Job, dataset: Dataset) -> ReadBefore:
        """All training pairs, and the held-out ones that are read."""
        found = files.read_json(shop.folder / "evaluations" / f"{job.spec['reading']}.json")
        pairs = [*dataset.pairs["train"], *held_out(dataset, job)]
        chosen = found["train_chosen_logprob"] + found["chosen_logprob"]
        rejected = found["train_rejected_logprob"] + found["rejected_logprob"]
        known = {(p.prompt, p.chosen): one for p, one in zip(pairs, chosen, strict=True)}
        known |= {(p.prompt, p.rejected): one for p, one in zip(pairs, rejected, strict=True)}
        return cls(known, shop.config.temperature)

    @classmethod
    def told(cls, rows: Rows, values: Sequence[float], temperature: float) -> ReadBefore:
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
    pairs, names, cost = held_out(dataset, job), numbers_of(dataset), Cost()
    start = shop.policy(job.spec["start"], job.seed)

    def read(some: Sequence[Pair]) -> tuple[list[float], list[float]]:
        prompts = [pair.prompt for pair in some]
        sides = [pair.chosen for pair in some], [pair.rejected for pair in some]
        chosen, rejected = (logprobs(shop, start, Rows(prompts, one), cost) for one in sides)
        return chosen, rejected

    chosen, rejected = read(pairs)
    train_chosen, train_rejected = read(dataset.pairs["train"])
    own = graders.TextPairs.of(dataset.pairs["train"], shop.decode)
    shown = graders.TextPairs.of(pairs, shop.decode)
    shallow = {"length": graders.fit_length(own), "words": graders.fit_tf_idf(own)}
    return {
        "places": places(dataset, job),
        "train_chosen_logprob": train_chosen,
        "train_rejected_logprob": train_rejected,
        "prompts": [names[pair.cluster] for pair in pairs],
        "chosen_tokens": [len(pair.chosen) for pair in pairs],
        "rejected_tokens": [len(pair.rejected) for pair in pairs],
        "chosen_logprob": chosen,
        "rejected_logprob": rejected,
        "shortcuts": {
            name: graders.margins(scorer, shown).tolist() for name, scorer in shallow.items()
        },
        "repeats": _repeats(dataset),
        "pairs": len(dataset.pairs["train"]),
        "other_labels": sum(len(rows) for name, rows in dataset.pairs.items() if name != "train"),
        "cost": cost.model_dump(),
    }


@torch.no_grad()
def logprobs(shop: Workshop, policy: Policy, rows: Rows, cost: Cost) -> list[float]:
    """Log-probabilities of completions, nats, summed over each."""
    count(cost, rows.tokens, policy.parameters_count)

    def function(part: Rows) -> torch.Tensor:
        return policy.sequence_logprobs(part, temperature=shop.config.temperature)

    return by_tokens(rows, shop.config.token_budget, function)


def count(cost: Cost, tokens: int, parameters: int) -> None:
    """Add what reading tokens costs; nothing for a scorer without weights."""
    cost.tokens_scored += tokens if parameters else 0
    cost.flops += 2.0 * parameters * tokens


def numbers_of(dataset: Dataset) -> dict[str, int]:
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


def places(dataset: Dataset, job: Job) -> list[int]:
    """Of the held-out pairs that this diagnosis reads, among all."""
    return some(range(len(dataset.pairs["test"])), job.spec["held_out"], "pairs")


def held_out(dataset: Dataset, job: Job) -> list[Pair]:
    """The held-out pairs that this diagnosis reads."""
    return [dataset.pairs["test"][at] for at in places(dataset, job)]


def some(places: Sequence[int], count: int, what: str) -> list[int]:
    """A fixed subset, the same for every job."""
    if len(places) <= count:
        return list(places)
    order = child(0, f"diagnosis-{what}", len(places)).permutation(len(places))[:count]
    return sorted(places[at] for at in order.tolist())
