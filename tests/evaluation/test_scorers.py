"""Margins of a scorer on held-out pairs, and what follows from them, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allroads.evaluation.scorers import calibration, hits, margins, nll
from allroads.judges import CallableLabeller
from allroads.types import Pair

LOG3 = math.log(3)
"""A margin of log 3 is a probability of 3/4."""


def test_margins_are_chosen_minus_rejected_in_the_order_of_the_pairs():
    pairs = [
        Pair(prompt_id="a", prompt=(1,), chosen=(2, 3), rejected=(4,)),
        Pair(prompt_id="b", prompt=(5, 6), chosen=(7,), rejected=(8, 9, 10)),
    ]
    asked = []

    def score(prompts, completions):
        asked.extend(zip(prompts, completions, strict=True))
        return [sum(p) + 10.0 * sum(c) for p, c in zip(prompts, completions, strict=True)]

    assert margins(CallableLabeller(score), pairs) == [50 - 40, 70 - 270]
    assert sorted(asked) == sorted(
        [((1,), (2, 3)), ((1,), (4,)), ((5, 6), (7,)), ((5, 6), (8, 9, 10))]
    )


def test_a_tie_is_half_a_hit():
    np.testing.assert_array_equal(hits([2.0, -0.1, 0.0, -0.0, 1e-300]), [1, 0, 0.5, 0.5, 1])


def test_surprise_in_nats():
    # -log(1/2), -log(3/4), -log(1/4); and far out no overflow.
    np.testing.assert_allclose(
        nll([0.0, LOG3, -LOG3, 1000.0, -1000.0]),
        [math.log(2), math.log(4 / 3), math.log(4), 0.0, 1000.0],
        atol=1e-12,
    )


def test_calibration_by_hand():
    # Says 3/4 four times and is right three times: as good as its word.
    error, bins = calibration([LOG3, LOG3, LOG3, -LOG3])
    assert error == pytest.approx(0.0, abs=1e-12)
    assert [(b.predicted, b.observed, b.count) for b in bins] == [
        (pytest.approx(0.25), pytest.approx(0.25), 4),
        (pytest.approx(0.75), pytest.approx(0.75), 4),
    ]
    # Says 3/4 and is always right: too modest by 1/4, in both directions.
    error, _ = calibration([LOG3] * 4)
    assert error == pytest.approx(0.25)
    # A coin that says it is one.
    assert calibration([0.0, 0.0])[0] == pytest.approx(0.0)
    # Certain, and wrong.
    assert calibration([-1000.0])[0] == pytest.approx(1.0)
