"""How each learner's held-out surprise falls with pairs, and where it leads."""

from __future__ import annotations

import numpy as np

from allroads import stats
from allroads.diagnoses import Capacity, Curve, CurvePoint
from allroads.diagnosis.fits import sizes
from allroads.diagnosis.laws import interval, laws
from allroads.diagnosis.lengths import (
    LEARNERS,
    coding_temperature,
    learned,
    lengths,
    temperatures,
)
from allroads.diagnosis.means import crossed, to_mean
from allroads.diagnosis.mixture import surprise
from allroads.diagnosis.power_law import PowerLaw
from allroads.evidence import FULL, Evidence, Fit, Learner
from allroads.records import Mean
from allroads.stats import Floats

MULTIPLES = (2, 4, 8)
"""Of all pairs, where the curves are extrapolated."""
WHOLE = 0.9
"""A size is 'all pairs' from this share of them on."""


def curves(evidence: Evidence) -> tuple[Curve, ...]:
    """The verifier's and the generator's curve.

    Surprise and accuracy have two-way intervals over orders and held-out prompts (clusters of
    pairs); calibration over orders only. The limit and the extrapolated points come from `laws`.
    With fewer than three sizes there is no law: nothing is extrapolated and the limit is the last
    point, with an interval down to 0.
    """
    found, codes = laws(evidence), lengths(evidence)
    return tuple(
        _curve(evidence, who, found[who] if found else None, is_learned=learned(codes[who]))
        for who in LEARNERS
    )


def capacities(evidence: Evidence) -> tuple[Capacity, ...]:
    """Learners of every capacity fitted to the same pairs, 'full' included; none without others.

    The pairs are those that the largest fits of another capacity have seen. Full learners are
    judged at their own temperature, others at that of the full ones.
    """
    others = [fit for fit in evidence.fits if fit.capacity != FULL]
    if not others:
        return ()
    most = max(others, key=lambda fit: fit.count)
    groups: dict[tuple[Learner, str], list[Fit]] = {}
    for fit in (*others, *(fit for fit in evidence.fits if fit.capacity == FULL)):
        if (fit.order, fit.count) == (most.order, most.count):
            groups.setdefault((fit.learner, fit.capacity), []).append(fit)
    rows = []
    for (learner, capacity), fits in groups.items():
        point = _point(evidence, learner, fits)
        rows.append(
            Capacity(
                learner=learner,
                capacity=capacity,
                count=most.count,
                nll=point.nll,
                accuracy=point.accuracy,
            )
        )
    return tuple(rows)


def _curve(
    evidence: Evidence, learner: Learner, law: PowerLaw | None, *, is_learned: bool
) -> Curve:
    points = [_point(evidence, learner, [*step.values()]) for step in sizes(evidence, learner)]
    last = points[-1]
    high = last.nll.value if last.nll.high is None else last.nll.high
    limit = Mean(value=last.nll.value, low=0.0, high=high, seeds=last.nll.seeds)
    if law is not None:
        widest = max((point.nll for point in points), key=lambda mean: mean.seeds)
        limit = _drawn(law.limit, like=widest)
        ahead = [m * evidence.pairs for m in MULTIPLES]
        if last.count < WHOLE * evidence.pairs:
            ahead = [evidence.pairs, *ahead]
        points += [
            CurvePoint(
                count=count,
                nll=_drawn(law.at(count), like=widest),
                accuracy=_bare(last.accuracy),
                calibration=_bare(last.calibration),
                extrapolated=True,
            )
            for count in ahead
        ]
    return Curve(learner=learner, points=tuple(points), limit=limit, learned=is_learned)


def _point(evidence: Evidence, learner: Learner, fits: list[Fit]) -> CurvePoint:
    own, prompts = temperatures(evidence, learner), evidence.held_out.prompts
    common = coding_temperature(evidence, learner)
    leads_OP = np.array([fit.test for fit in fits])
    factor_O1 = np.array(
        [[own[fit.order, fit.count] if fit.capacity == FULL else common] for fit in fits]
    )
    bits_OP = surprise(leads_OP, factor_O1)
    return CurvePoint(
        count=round(np.mean([fit.count for fit in fits])),
        nll=crossed(bits_OP, prompts),
        accuracy=crossed((1 + np.sign(leads_OP)) / 2, prompts),
        calibration=to_mean(stats.seed_mean([_calibration(row) for row in bits_OP])),
    )


def _calibration(bits_P: Floats) -> float:
    """Each pair is read in both directions, as `stats.reliability` asks."""
    p_P, ones_P = np.exp2(-bits_P), np.ones(len(bits_P))
    return stats.expected_calibration_error(
        np.concatenate([p_P, 1 - p_P]), np.concatenate([ones_P, 0 * ones_P])
    )


def _drawn(values_D: Floats, *, like: Mean) -> Mean:
    low, high = interval(values_D)
    return Mean(
        value=float(values_D[0]), low=low, high=high, seeds=like.seeds, prompts=like.prompts
    )


def _bare(mean: Mean) -> Mean:
    return mean.model_copy(update={"low": None, "high": None})
