"""A policy on held-out prompts: the metric, KL, length, and what the scorers say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from allroads import stats
from allroads.errors import TrainingError
from allroads.judges import Labeller
from allroads.models.batches import by_tokens
from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.rollouts.engine import Engine
from allroads.rollouts.sampler import sample
from allroads.types import Completion, Prompt

Metric = Callable[[Sequence[Completion]], Sequence[float]]
"""The metric of each completion: a true reward, or a win (1), tie (1/2) or loss (0)."""


@dataclass(frozen=True)
class Bench:
    """What every policy of one seed is measured with.

    Attributes:
        test, train, selection: the prompts answered.
        metric: the grade of a completion.
        start: the policy that KL is measured from.
        selection_scorer: what chooses settings; it never saw the roads' pairs.
        samples: completions per prompt.
        temperature: of sampling and of every log-probability.
        max_new_tokens: length limit.
        seed: root seed; every policy draws from the same addresses (common random numbers).
        token_budget: padded tokens per forward pass.
        sample_batch: completions decoded together.
        fixed_length: whether the task ends at `max_new_tokens`.
        check: the second opinion, where there is one: recorded, and used for nothing.
        engine: what draws the completions.
    """

    test: Sequence[Prompt]
    train: Sequence[Prompt]
    selection: Sequence[Prompt]
    metric: Metric
    start: Policy
    selection_scorer: Labeller
    samples: int
    temperature: float
    max_new_tokens: int
    seed: int
    token_budget: int
    sample_batch: int
    fixed_length: bool = False
    check: Metric | None = None
    engine: Engine = sample

    def answers(
        self, policy: Policy, prompts: Sequence[Prompt], place: str, count: int | None = None
    ) -> list[list[Completion]]:
        """Completions of `policy`, the same streams of random numbers for every policy."""
        return self.engine(
            policy,
            prompts,
            per_prompt=count or self.samples,
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
            seed=(self.seed, f"evaluate-{place}"),
            batch_size=self.sample_batch,
            fixed_length=self.fixed_length,
        )

    def log_ratio(self, completions: Sequence[Completion]) -> list[float]:
        """k1 of each completion: its log-probability under its writer minus under the start."""
        rows = rows_of(completions)
        with torch.no_grad():
            start = by_tokens(
                rows,
                self.token_budget,
                lambda part: self.start.sequence_logprobs(part, temperature=self.temperature),
            )
        return [one.logprob - s for one, s in zip(completions, start, strict=True)]


def rows_of(completions: Sequence[Completion]) -> Rows:
    """The completions as rows."""
    return Rows([one.prompt.tokens for one in completions], [one.tokens for one in completions])


def measure_policy(
    bench: Bench, policy: Policy, proxy: Labeller | None
) -> tuple[dict[str, object], list[Completion]]:
    """Everything about one policy; lists are per test prompt, means over its samples.

    Returns:
        A plain record, and the first completion of each test prompt.
    """
    groups = bench.answers(policy, bench.test, "test")
    flat = [one for group in groups for one in group]
    train = [one for group in bench.answers(policy, bench.train, "train") for one in group]
    selection = [
        one for group in bench.answers(policy, bench.selection, "selection") for one in group
    ]

    def per_prompt(values: Sequence[float]) -> list[float]:
        return np.asarray(values, dtype=float).reshape(len(groups), -1).mean(axis=1).tolist()

    record: dict[str, object] = {
        "metric": per_prompt(bench.metric(flat)),
        "metric_train": float(np.mean(bench.metric(train))) if train else None,
        "kl": per_prompt(bench.log_ratio(flat)),
        "entropy": per_prompt([-one.logprob for one in flat]),
        "proxy": None if proxy is None else _known(_mean(proxy(rows_of(flat)))),
        "selection": _mean(bench.selection_scorer(rows_of(selection))),
        "length": per_prompt([len(one.tokens) for one in flat]),
        "no_eos": per_prompt([float(not one.finished) for one in flat]),
    }
    if bench.check is not None:
        record["check"] = per_prompt(bench.check(flat))
    return record, [group[0] for group in groups]


def measure_best_of_n(
    bench: Bench, policy: Policy, labeller: Labeller, ns: Sequence[int], pool: int
) -> dict[int, tuple[dict[str, object], list[Completion]]]:
    """Best-of-N for every N from one pool of samples per prompt.

    Means are unbiased order-statistics estimates over subsets of the pool; KL counts ties. A
    completion cut at the length limit ranks below every finished one.

    Returns:
        For each N a record as of `measure_policy`, and for each test prompt the best of the first
        N samples.
    """
    test = bench.answers(policy, bench.test, "test-pool", pool)
    train = bench.answers(policy, bench.train, "train-pool", max(ns))
    selection = bench.answers(policy, bench.selection, "selection-pool", max(ns))
    ranked = [_Pools(groups, labeller) for groups in (test, train, selection)]
    flat = [one for group in test for one in group]
    facts: dict[str, Sequence[float] | NDArray[np.float64]] = {
        "metric": bench.metric(flat),
        "length": [len(one.tokens) for one in flat],
        "no_eos": [float(not one.finished) for one in flat],
        "proxy": ranked[0].scores.ravel(),
    }
    if bench.check is not None:
        facts["check"] = bench.check(flat)
    train_metric = bench.metric([one for group in train for one in group]) if train else None
    selection_scores = bench.selection_scorer(
        rows_of([one for group in selection for one in group])
    )
    out: dict[int, tuple[dict[str, object], list[Completion]]] = {}
    for n in ns:
        means = {name: ranked[0].best(values, n) for name, values in facts.items()}
        record: dict[str, object] = {
            **{name: values.tolist() for name, values in means.items()},
            "proxy": float(means["proxy"].mean()),
            "metric_train": None
            if train_metric is None
            else float(ranked[1].best(train_metric, n).mean()),
            "selection": float(ranked[2].best(selection_scores, n).mean()),
            "kl": ranked[0].kl(n),
        }
        best = [
            group[int(np.argmax(ranks[:n]))]
            for group, ranks in zip(test, ranked[0].ranks, strict=True)
        ]
        out[n] = (record, best)
    return out


class _Pools:
    """Pools of completions, one a prompt, ranked by a labeller."""

    def __init__(self, groups: list[list[Completion]], labeller: Labeller) -> None:
        flat = [one for group in groups for one in group]
        scores = np.array(labeller(rows_of(flat)), dtype=float)
        if np.isnan(scores).any():
            raise TrainingError(
                f"best-of-N: the labeller gave no score for {int(np.isnan(scores).sum())} of "
                f"{len(scores)} completions; it must score all of them"
            )
        finished = np.array([one.finished for one in flat])
        floor = scores.min() - 1.0
        self.scores = scores.reshape(len(groups), -1)
        self.ranks = np.where(finished, scores, floor).reshape(len(groups), -1)

    def best(self, values: Sequence[float] | NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """(prompts,) expected value of the best of n."""
        table = np.asarray(values, dtype=float).reshape(self.ranks.shape)
        return np.array(
            [
                float(stats.best_of_n_weights(ranks, n) @ row)
                for ranks, row in zip(self.ranks, table, strict=True)
            ]
        )

    def kl(self, n: int) -> list[float]:
        """Nats per prompt."""
        return [stats.best_of_n_kl(ranks, n) for ranks in self.ranks]


def _mean(scores: Sequence[float]) -> float:
    good = [s for s in scores if not math.isnan(s)]
    return sum(good) / len(good) if good else math.nan


def _known(value: float) -> float | None:
    """Where every score failed there is no mean, and no number that is none."""
    return None if math.isnan(value) else value
