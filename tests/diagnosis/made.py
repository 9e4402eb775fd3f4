"""Evidence made by hand or by simulation; what a test does not look at is left plain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from allroads.evidence import Evidence, Fit, HeldOut, Learner, Pool
from allroads.records import Cost
from allroads.stats import Floats


def fit(learner: Learner, count: int, following: Iterable[float] = (), **more: Any) -> Fit:
    leads = tuple(map(float, following))
    parts = {"order": 0, "test": (1.0, -1.0), "following_prompts": tuple(range(len(leads)))}
    return Fit(learner=learner, count=count, following=leads, cost=Cost(), **{**parts, **more})


def held_out(pairs: int = 2, **more: Any) -> HeldOut:
    parts = {
        "prompts": tuple(range(pairs)),
        "chosen_tokens": (2,) * pairs,
        "rejected_tokens": (2,) * pairs,
        "chosen_logprob": (-1.0,) * pairs,
        "rejected_logprob": (-1.0,) * pairs,
        "shortcuts": {},
    }
    return HeldOut(**{**parts, **more})


def pool(prompts: int = 2, samples: int = 4, **more: Any) -> Pool:
    def all_of(value: float) -> tuple[tuple[float, ...], ...]:
        return ((value,) * samples,) * prompts

    parts = {
        "pair": tuple(range(prompts)),
        "tokens": all_of(2),
        "finished": all_of(1),
        "logprob": all_of(-1.0),
        "entropy": all_of(0.5),
        "grades": {},
    }
    return Pool(**{**parts, **more})


def evidence(fits: Sequence[Fit] = (), **more: Any) -> Evidence:
    parts = {
        "created": "",
        "version": "",
        "revision": "",
        "command": "",
        "data": "",
        "model": "",
        "pairs": max((one.count for one in fits), default=0),
        "other_labels": 0,
        "held_out": held_out(),
        "start": pool(),
        "offline": None,
        "beta": 0.1,
        "cost": Cost(),
        "start_cost": Cost(),
    }
    return Evidence(fits=tuple(fits), **{**parts, **more})


def maximum_likelihood(x_Nd: Floats) -> Floats:
    """Bradley-Terry weights: Newton's method; x is chosen minus rejected."""
    w_d = np.zeros(x_Nd.shape[1])
    for _ in range(8):
        wrong_N = 1 / (1 + np.exp(x_Nd @ w_d))
        curvature = (x_Nd.T * (wrong_N * (1 - wrong_N))) @ x_Nd
        w_d = w_d + np.linalg.solve(curvature + 1e-9 * np.eye(len(w_d)), x_Nd.T @ wrong_N)
    return w_d


def log_linear(
    truth_d: Floats,
    *,
    seen_by: dict[Learner, slice],
    counts: Sequence[int],
    orders: int,
    test: int,
    rng: np.random.Generator,
    fresh: bool,
    clusters: int = 1,
) -> Evidence:
    """Labels of a linear reward, and maximum-likelihood fits of some of its features.

    Args:
        truth_d: the reward's weights.
        seen_by: each learner's features.
        counts: sizes of the fits; the last one has nothing that follows.
        orders: of the same pairs; or independent draws of pairs, if `fresh`.
        test: held-out pairs.
        rng: draws.
        fresh: see `orders`.
        clusters: pairs of one prompt.
    """

    def draw(pairs: int) -> Floats:
        x_Nd = rng.standard_normal((pairs, len(truth_d)))
        right_N = rng.random(pairs) < 1 / (1 + np.exp(-x_Nd @ truth_d))
        return np.where(right_N, 1, -1)[:, None] * x_Nd

    x_Nd, test_Nd = draw(counts[-1]), draw(test)
    fits = []
    for order in range(orders):
        place_N = np.arange(counts[-1]) if fresh else rng.permutation(counts[-1])
        x_Nd = draw(counts[-1]) if fresh else x_Nd
        for learner, part in seen_by.items():
            for count, end in zip(counts, [*counts[1:], counts[-1]], strict=True):
                w_d = maximum_likelihood(x_Nd[place_N[:count], part])
                fits.append(
                    fit(
                        learner,
                        count,
                        x_Nd[place_N[count:end], part] @ w_d,
                        order=order,
                        test=tuple(test_Nd[:, part] @ w_d),
                        following_prompts=tuple(place_N[count:end] // clusters),
                    )
                )
    return evidence(fits, held_out=held_out(test))
