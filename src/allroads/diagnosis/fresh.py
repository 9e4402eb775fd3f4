"""Best-of-N against a sample that it did not choose from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from allroads.errors import InputError
from allroads.stats import Floats


def against_fresh(scores: ArrayLike, n: int) -> Floats:
    """Who is chosen and who is met, when best-of-n meets a further sample of the same pool.

    n of M samples are drawn without replacement, the best by `scores` is chosen (equal ones share
    equally), and one of the M - n others is drawn. So `sum(matrix * wins)` is an unbiased estimate
    of how often best-of-n beats a fresh sample. Against the whole pool it is not: the choice would
    meet the samples that it was chosen from.

    With C(k, n) ways to draw n of k samples: n samples other than j have i's score as their best in
    C(up to i's score, n) - C(below it, n) ways, both counted without j.

    Args:
        scores: (M,), higher is better.
        n: samples per answer, 1 to M - 1.

    Returns:
        (M, M), [i, j] the probability that i is chosen and meets j; it sums to one.
    """
    scores_M = np.asarray(scores, dtype=np.float64)
    pool = len(scores_M)
    if not 1 <= n < pool:
        raise InputError(f"n must lie between 1 and {pool - 1}, a sample fewer than the pool: {n}")
    # [i, j]: what is left of the pool up to i's score, and below it, when j is out.
    up_to, below = scores_M <= scores_M[:, None], scores_M < scores_M[:, None]
    up_to_MM = up_to.sum(axis=1)[:, None] - up_to
    below_MM = below.sum(axis=1)[:, None] - below
    ways_K: Floats = np.asarray(special.comb(np.arange(pool + 1), n))
    shared_MM = np.maximum(up_to_MM - below_MM, 1)
    chosen_MM = (ways_K[up_to_MM] - ways_K[below_MM]) / shared_MM / ways_K[pool - 1]
    np.fill_diagonal(chosen_MM, 0.0)
    return chosen_MM / pool
