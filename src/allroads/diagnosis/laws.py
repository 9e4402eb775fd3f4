"""Both learners' power laws, with what orders and held-out prompts leave open.

The draws perturb the two mean curves together, so that differences and ratios of the learners keep
what they share: the orders and the held-out prompts. Axes: D the mean curve and then one draw
each, K sizes, O orders, G held-out prompts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allroads import stats
from allroads.diagnosis import power_law
from allroads.diagnosis.fits import sizes
from allroads.diagnosis.lengths import LEARNERS, temperatures
from allroads.diagnosis.mixture import surprise
from allroads.diagnosis.power_law import PowerLaw
from allroads.evidence import Evidence, Learner
from allroads.seeding import child
from allroads.stats import Floats

DRAWS = 2000
LEAST_SIZES = 3
"""A law of three numbers needs three sizes."""


class Measured(NamedTuple):
    """One learner's held-out surprise at each size."""

    counts_K: Floats
    mean_K: Floats
    """Bits a pair, mean over orders and held-out pairs."""
    by_order_KO: Floats
    """NaN where an order has no fit of that size."""
    orders: tuple[int, ...]
    """Their numbers."""
    by_prompt_KG: Floats
    """Means over orders; the mean over prompts is `mean_K`."""


def laws(evidence: Evidence) -> dict[Learner, PowerLaw] | None:
    """The law of each learner's mean curve, then those of `DRAWS` perturbed curves.

    A draw adds to the mean curve, with standard normal z and u that both learners share,

        s sum_o z_o (curve_o - mean) / sqrt(O (O - 1))
          + sum_g u_g (curve_g - mean) / sqrt(G (G - 1))

    so that at each size it scatters as t with O - 1 degrees of freedom over orders (s makes the
    normal a t) and as a normal over held-out prompts. A size with one order borrows the spread of
    the nearest smaller size that has more. To this comes, independent at each size, what the law
    misses of the mean curve: its mean squared residual, K / (K - 3) times.

    A size weighs by the square root of its count over its variance across orders; the law is meant
    for the large counts. Each variance is averaged with their mean, as a handful of orders give it
    poorly.

    Returns:
        None where a learner has fewer than three sizes. Laws without draws where no size has two
        orders.
    """
    found: dict[Learner, Measured] = {learner: measured(evidence, learner) for learner in LEARNERS}
    if min(len(curve.counts_K) for curve in found.values()) < LEAST_SIZES:
        return None
    return {learner: _perturbed(curve, learner) for learner, curve in found.items()}


def measured(evidence: Evidence, learner: Learner) -> Measured:
    """The held-out curve, each fit at the temperature that its training labels taught."""
    factors, held_out = temperatures(evidence, learner), evidence.held_out.prompts
    steps = sizes(evidence, learner)
    orders = tuple(sorted({order for step in steps for order in step}))
    by_order_KO = np.full((len(steps), len(orders)), np.nan)
    by_prompt = []
    for k, step in enumerate(steps):
        bits_OP = np.array(
            [surprise(fit.test, factors[order, fit.count]) for order, fit in step.items()]
        )
        by_order_KO[k, [orders.index(order) for order in step]] = bits_OP.mean(axis=1)
        by_prompt.append(stats.by_cluster(bits_OP.mean(axis=0, keepdims=True), held_out)[0])
    counts_K = np.array([float(np.mean([fit.count for fit in step.values()])) for step in steps])
    mean_K = np.nanmean(by_order_KO, axis=1)
    return Measured(counts_K, mean_K, by_order_KO, orders, np.array(by_prompt))


def interval(values_D: Floats) -> tuple[float | None, float | None]:
    """The middle 95 % of the draws and the plain value; None without draws."""
    if len(values_D) == 1:
        return None, None
    low, high = np.quantile(values_D[1:], (0.025, 0.975))
    return min(float(low), float(values_D[0])), max(float(high), float(values_D[0]))


def _perturbed(curve: Measured, learner: Learner) -> PowerLaw:
    counts_K, mean_K = curve.counts_K, curve.mean_K
    sizes_K = np.sum(~np.isnan(curve.by_order_KO), axis=1)
    alone_K = sizes_K < 2
    away_KO = np.nan_to_num(curve.by_order_KO - mean_K[:, None])
    away_KO /= np.sqrt(np.maximum(sizes_K * (sizes_K - 1), 1))[:, None]
    error_K = np.sqrt(np.sum(away_KO**2, axis=1))
    for k in np.flatnonzero(alone_K):
        error_K[k] = error_K[k - 1] * np.sqrt(max(sizes_K[k - 1], 1)) if k else 0.0
    variance_K = (error_K**2 + np.mean(error_K**2)) / 2
    weights_K = np.sqrt(counts_K) / np.where(variance_K > 0, variance_K, 1.0)
    plain = power_law.fit(counts_K, mean_K[None], weights_K)
    if alone_K.all():
        return plain
    missed_K = mean_K - np.array([plain.at(count)[0] for count in counts_K])
    freedom = max(len(counts_K) - LEAST_SIZES, 1)
    missed = np.sqrt(np.sum(missed_K**2) / freedom)

    def normal(size: int, *path: str | int) -> Floats:
        return child(0, "diagnosis", *path).standard_normal((DRAWS, size))

    df, prompts = int(sizes_K.max()) - 1, curve.by_prompt_KG.shape[1]
    scale_D1 = np.sqrt(df / child(0, "diagnosis", "scale").chisquare(df, (DRAWS, 1)))
    u_DG = normal(prompts, "prompts")
    z_DO = np.concatenate([normal(1, "order", order) for order in curve.orders], axis=1)
    prompt_KG = (curve.by_prompt_KG - mean_K[:, None]) / np.sqrt(prompts * max(prompts - 1, 1))
    lone_DK = normal(len(counts_K), "lone", learner) * np.where(alone_K, error_K, 0.0)
    noise_DK = normal(len(counts_K), "missed", learner) * missed
    moved_DK = scale_D1 * (z_DO @ away_KO.T + lone_DK) + u_DG @ prompt_KG.T + noise_DK
    return power_law.fit(counts_K, np.concatenate([mean_K[None], mean_K + moved_DK]), weights_K)
