from __future__ import annotations

import math

import pytest

from allroads.lab.study.curves import crossing


def test_between_two_amounts_the_curve_is_straight_in_their_logarithm():
    # Half of the way from 0.8 to 1.0 is half of the way from 100 to 400 in the logarithm: 200.
    assert crossing([(100, 0.8), (400, 1.0)], 0.9) == pytest.approx(200)
    assert crossing([(10, 0.1), (100, 0.8), (400, 1.0)], 0.85) == pytest.approx(100 * math.sqrt(2))


def test_what_is_reached_at_once_needs_the_least_amount_and_what_never_is_none():
    assert crossing([(100, 0.95), (400, 0.99)], 0.9) == 100
    assert crossing([(100, 0.5), (400, 0.89)], 0.9) is None


def test_the_first_crossing_counts():
    assert crossing([(100, 0.8), (200, 0.9), (400, 0.7), (800, 0.9)], 0.9) == pytest.approx(200)
