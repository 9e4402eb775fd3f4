"""Whether the start policy writes such answers as are preferred."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from allroads import stats
from allroads.diagnoses import Coverage
from allroads.diagnosis.means import clustered, fraction
from allroads.diagnosis.pool import clusters, grader, table
from allroads.errors import InputError
from allroads.evidence import Evidence
from allroads.records import Mean
from allroads.stats import Floats

BEST = 0.1
"""Without a truth, the best tenth of all samples counts as good."""


def coverage(evidence: Evidence) -> Coverage:
    """How likely the start policy makes the preferred completions, and finds good ones.

    Likelihood is in nats a token, each completion's own average, so that length alone decides
    nothing; completions weigh equally. A policy that writes the preferred completions itself has
    `typical` 0.5 on average, whatever it writes, as each is then one more of its samples.

    `found` goes by doublings of k up to the whole pool, without bias (Chen et al. 2021,
    arXiv:2107.03374, eq. 1), and is empty where nobody graded. Graded by the independent
    scorer, one sample in ten is good by definition: what says something is how found grows with k
    (where prompts are alike as 1 - 0.9^k; slower where good answers sit in a few prompts).
    """
    start, held_out = evidence.start, evidence.held_out
    names = clusters(evidence, start)
    chosen_N = _a_token("chosen", held_out.chosen_logprob, held_out.chosen_tokens)
    own_PM = _a_token("own", table("logprob", start.logprob), table("tokens", start.tokens))
    preferred_P = chosen_N[list(start.pair)]
    less_likely_P = np.mean((1 + np.sign(preferred_P[:, None] - own_PM)) / 2, axis=1)
    return Coverage(
        chosen=clustered(chosen_N, held_out.prompts),
        own=clustered(own_PM.mean(axis=1), names),
        typical=fraction(less_likely_P, names),
        found=_found(evidence, names),
    )


def _a_token(name: str, logprobs: ArrayLike, tokens: ArrayLike) -> Floats:
    counts = np.asarray(tokens)
    if np.any(counts < 1):
        raise InputError(f"{name}: every completion must have a token (its end counts), got none")
    return np.asarray(logprobs, dtype=np.float64) / counts


def _found(evidence: Evidence, names: list[int]) -> tuple[tuple[int, Mean], ...]:
    judge = grader(evidence.start)
    if judge is None:
        return ()
    grades_PM = table(f"grades[{judge!r}]", evidence.start.grades[judge])
    least = 1.0 if judge == "truth" else float(np.quantile(grades_PM, 1 - BEST))
    good_PM = (grades_PM >= least).astype(np.float64)
    pool = good_PM.shape[1]
    # Best-of-k by "is it good" is good wherever one of the k is.
    return tuple(
        (k, fraction([stats.best_of_n_weights(row, k) @ row for row in good_PM], names))
        for k in [2**power for power in range(pool.bit_length())]
    )
