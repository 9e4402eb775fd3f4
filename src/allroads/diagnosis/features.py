"""The numbers that the prediction rests on, each with its own error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allroads.diagnoses import Code, Coverage, Headroom, HeadroomPoint
from allroads.diagnosis.means import crossed
from allroads.evidence import FULL, Evidence
from allroads.records import Mean

N = 8
"""Of best-of-N: what it brings is about what online training brings at a nat or two of KL."""
MEANINGS: Mapping[str, str] = {
    "accuracy": "held-out accuracy, verifier's minus generator's, of the fits to half the pairs or "
    "more",
    "bits": "prequential bits a pair that the generator needs more than the verifier",
    "search": f"P(best of {N} by the verifier beats the offline policy) - 1/2, by the grader",
    "offline": "P(the offline policy beats the start policy) - 1/2, by the truth",
    "coverage": "share of the start policy's samples that have the highest true reward",
}


@dataclass(frozen=True)
class Measured:
    """A feature's value and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Standard error, as if the interval were a normal one."""
        return (self.high - self.low) / (2 * 1.96)


def features(
    evidence: Evidence, code: Code, headroom: Headroom | None, coverage: Coverage
) -> dict[str, Measured]:
    """Those of `MEANINGS` that the evidence has, with an interval.

    'search' is there only where its grader may be believed, 'offline' and 'coverage' where it is
    the truth.
    """
    out = {}
    accuracy = _accuracy(evidence)
    for name, mean in (
        ("accuracy", accuracy),
        ("bits", _scaled(code.difference, 1 / code.coded)),
        ("search", _search(headroom)),
        ("offline", _offline(headroom)),
        ("coverage", _covered(headroom, coverage)),
    ):
        if mean is not None and mean.low is not None and mean.high is not None:
            out[name] = Measured(mean.value, mean.low, mean.high)
    return out


def _accuracy(evidence: Evidence) -> Mean | None:
    """Over orders and prompts; both learners are fitted to the same pairs of each order."""
    found: dict[tuple[int, int], dict[str, tuple[float, ...]]] = {}
    for fit in evidence.fits:
        if fit.capacity == FULL and fit.count >= 0.4 * evidence.pairs:
            found.setdefault((fit.order, fit.count), {})[fit.learner] = fit.test
    rows = [
        _hits(both["verifier"]) - _hits(both["generator"])
        for both in found.values()
        if len(both) == 2
    ]
    return crossed(np.array(rows), evidence.held_out.prompts) if rows else None


def _hits(leads: tuple[float, ...]) -> np.ndarray:
    return np.heaviside(np.array(leads), 0.5)


def _search(headroom: Headroom | None) -> Mean | None:
    point = verifiers(headroom)
    return None if point is None or headroom is None or not headroom.trusted else point.over_offline


def _offline(headroom: Headroom | None) -> Mean | None:
    return None if headroom is None or headroom.grader != "truth" else headroom.offline


def verifiers(headroom: Headroom | None) -> HeadroomPoint | None:
    """Best of `N` by the verifier; None where nobody graded or the pool is too small."""
    points = () if headroom is None else headroom.points
    return next((p for p in points if p.by == "verifier" and p.n == N), None)


def _covered(headroom: Headroom | None, coverage: Coverage) -> Mean | None:
    if headroom is None or headroom.grader != "truth":
        return None
    return dict(coverage.found).get(1)


def _scaled(mean: Mean, factor: float) -> Mean:
    ends = {
        name: None if end is None else factor * end
        for name, end in (("low", mean.low), ("high", mean.high))
    }
    return mean.model_copy(update={"value": factor * mean.value, **ends})
