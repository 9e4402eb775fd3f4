"""How long answers are, and when they are decided."""

from __future__ import annotations

import numpy as np
from scipy import stats as scipy_stats

from allroads.diagnoses import Horizon
from allroads.diagnosis.means import clustered, share
from allroads.diagnosis.pool import clusters, table
from allroads.evidence import Evidence, Pool
from allroads.records import Mean
from allroads.stats import Floats

WHOLE = "1"
"""The prefix that is the whole answer."""


def horizon(evidence: Evidence) -> Horizon:
    """Of the start policy's own samples; intervals are over prompts."""
    start, names = evidence.start, clusters(evidence, evidence.start)
    ended_PM = table("finished", start.finished)
    return Horizon(
        tokens=clustered(table("tokens", start.tokens).mean(axis=1), names),
        finished=share(ended_PM.ravel(), np.repeat(names, ended_PM.shape[1]).tolist()),
        entropy=clustered(table("entropy", start.entropy).mean(axis=1), names),
        decided=_decided(start, names),
    )


def explained(parts_PM: Floats, wholes_PM: Floats) -> Floats:
    """How much of the variance of whole answers' ranks a part's ranks explain, within each prompt.

    The squared Spearman correlation r^2 of M samples, less what chance alone gives: that is
    1 / (M - 1) on average, so 1 - (1 - r^2) (M - 1) / (M - 2) is 0 on average where parts say
    nothing, and 1 where they say all. Parts that are all equal explain nothing (0).

    Args:
        parts_PM: scores of the parts, M of at least 3.
        wholes_PM: scores of the whole answers.

    Returns:
        (P,), NaN where whole answers are all equal: there is nothing to explain.
    """
    samples = parts_PM.shape[1]
    ranks = [scipy_stats.rankdata(scores, axis=1) for scores in (parts_PM, wholes_PM)]
    part_PM, whole_PM = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    part_P, whole_P = np.sum(part_PM**2, axis=1), np.sum(whole_PM**2, axis=1)
    both_P = np.sum(part_PM * whole_PM, axis=1) ** 2
    square_P = both_P / np.where(part_P * whole_P > 0, part_P * whole_P, 1.0)
    adjusted_P = 1 - (1 - square_P) * (samples - 1) / (samples - 2)
    return np.where(whole_P > 0, np.where(part_P > 0, adjusted_P, 0.0), np.nan)


def _decided(start: Pool, names: list[int]) -> tuple[tuple[float, Mean], ...]:
    """Empty without scored prefixes, with fewer than 3 samples, or with nothing to explain."""
    if WHOLE not in start.prefixes or len(start.prefixes[WHOLE][0]) < 3:
        return ()
    wholes_PM = table("prefixes['1']", start.prefixes[WHOLE])
    kept = np.flatnonzero(np.ptp(wholes_PM, axis=1) > 0)
    if len(kept) == 0:
        return ()
    return tuple(
        (
            float(part),
            clustered(
                explained(table(f"prefixes[{part!r}]", scores)[kept], wholes_PM[kept]),
                [names[k] for k in kept],
            ),
        )
        for part, scores in sorted(start.prefixes.items(), key=lambda item: float(item[0]))
    )
