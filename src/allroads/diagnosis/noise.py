"""What the labels themselves allow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from allroads.diagnoses import Curve, Noise
from allroads.diagnosis.means import share
from allroads.errors import InputError
from allroads.evidence import Evidence
from allroads.records import Mean


def noise(evidence: Evidence, curves: Sequence[Curve]) -> Noise:
    """Agreement of repeated labels, the ceiling that it implies, and what was reached anyway.

    Args:
        evidence: its `repeats` and its held-out shortcuts.
        curves: the learners' curves; the better accuracy at the last measured size is `at_least`
            (picked as the better of two, so a little too high where both are alike).
    """
    reached = [[p for p in curve.points if not p.extrapolated][-1].accuracy for curve in curves]
    agreed = agreement(evidence.repeats)
    return Noise(
        agreement=agreed,
        repeats=len(evidence.repeats),
        ceiling=None if agreed is None else ceiling(agreed),
        at_least=max(reached, key=lambda accuracy: accuracy.value),
        shortcuts={
            name: share((1 + np.sign(leads)) / 2, evidence.held_out.prompts)
            for name, leads in evidence.held_out.shortcuts.items()
        },
    )


def agreement(repeats: Sequence[tuple[int, int]]) -> Mean | None:
    """Probability that two judgements of the same two completions agree; None without repeats.

    With a of m judgements for the first, a (a - 1) + (m - a) (m - a - 1) of the m (m - 1) ordered
    pairs of judgements agree: unbiased for each two completions, which then weigh equally.
    """
    shares = []
    for first, second in repeats:
        if first + second < 2:
            raise InputError(
                f"repeats must hold at least two judgements of each two completions, got "
                f"{(first, second)}"
            )
        together = first * (first - 1) + second * (second - 1)
        shares.append(together / ((first + second) * (first + second - 1)))
    return share(shares, range(len(shares))) if shares else None


def ceiling(agreement: Mean) -> Mean:
    """The highest accuracy on single labels that any scorer can have.

    Let q be the probability that a label of a pair says what most labels would, 1/2 to 1. No scorer
    is right on that pair more often than q, so the ceiling is E[q], while the agreement is
    A = E[q^2 + (1 - q)^2] = 1/2 + 2 E[(q - 1/2)^2]. How q differs between pairs is not known. As
    (q - 1/2)^2 lies between (q - 1/2)'s square and half of q - 1/2 itself,

        A <= ceiling <= (1 + sqrt(2 A - 1)) / 2,

    the left where each pair is either certain or a coin, the right where all pairs are equally
    noisy (labels flipped at one rate). The value is the right bound, which nobody can pass; the
    interval goes from the left bound at the agreement's lower end to the right bound at its upper
    end. An agreement below 1/2, which only chance can give, counts as 1/2.

    It is the ceiling of the repeated pairs. Where those are repeated because they were hard, that
    of all pairs is higher.
    """

    def most(agreed: float) -> float:
        return (1 + math.sqrt(max(0.0, 2 * agreed - 1))) / 2

    low, high = agreement.low, agreement.high
    return agreement.model_copy(
        update={
            "value": most(agreement.value),
            "low": None if low is None else max(0.5, low),
            "high": None if high is None else most(high),
        }
    )
