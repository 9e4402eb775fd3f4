"""How many more pairs the generator needs for what the verifier has learnt."""

from __future__ import annotations

import numpy as np

from allroads.diagnosis.laws import interval, laws
from allroads.diagnosis.lengths import learned, lengths
from allroads.evidence import Evidence
from allroads.records import Mean

FURTHEST = 64.0
"""Beyond this multiple a power law is not followed."""


def ratio(evidence: Evidence) -> Mean | None:
    """Pairs that the generator needs, as a multiple of all pairs; above 1: verifying is simpler.

    Needs, that is, to reach the held-out surprise that the verifier has on all pairs.
    Both sides are read off the power laws of the mean curves; the interval is that of paired draws
    (`laws`). Its ends lie in [1/64, 64]; an end of 64 means 64 or more, or never.

    Returns:
        None where the ratio itself is 64 or more, where a learner has not learned (`learned`), or
        where there are too few sizes for a law.
    """
    found = laws(evidence)
    if found is None or not all(map(learned, lengths(evidence).values())):
        return None
    verifier, generator = found["verifier"], found["generator"]
    needed_D = generator.needed(verifier.at(evidence.pairs)) / evidence.pairs
    multiple_D = np.clip(needed_D, 1 / FURTHEST, FURTHEST)
    if multiple_D[0] >= FURTHEST:
        return None
    low, high = interval(multiple_D)
    orders = {fit.order for fit in evidence.fits}
    return Mean(value=float(multiple_D[0]), low=low, high=high, seeds=len(orders))
