"""Power laws that are known, and noise around them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from exponents import Exponent, fitted, slope, verdict


def test_an_exact_power_law_has_no_interval():
    found = fitted([1, 2, 4, 8], [3, 12, 48, 192])
    for value in (found.value, found.low, found.high, found.last):
        assert value == pytest.approx(2)


def test_the_interval_by_hand():
    # Logarithms to base 2: x = 0, 1, 2 and y = 0, 2, 2. Slope 1, residuals -1/3, 2/3, -1/3:
    # their squares sum to 2/3 on one degree of freedom, spread of x is 2, so the standard error
    # is sqrt(1/3); Student's t for one degree is tan(pi (0.975 - 0.5)).
    found = fitted([1, 2, 4], [1, 4, 4])
    reach = math.tan(math.pi * 0.475) / math.sqrt(3)
    assert found.value == pytest.approx(1)
    assert found.low == pytest.approx(1 - reach)
    assert found.high == pytest.approx(1 + reach)
    assert found.last == pytest.approx(0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    # 2,000 draws: a coverage of 0.95 falls outside 0.93 to 0.97 once in 20,000 times.
    rng = np.random.default_rng(0)
    xs = np.array([8, 16, 32, 64, 128])
    hits = 0
    for _ in range(2000):
        found = fitted(xs.tolist(), (xs**0.7 * np.exp(0.1 * rng.standard_normal(5))).tolist())
        hits += found.low <= 0.7 <= found.high
    assert 0.93 < hits / 2000 < 0.97


@pytest.mark.parametrize(("xs", "ys"), [([1, 2], [1, 2]), ([1, 2, 3], [1, 0, 2]), ([1, 2, 3], [1])])
def test_points_that_carry_no_power_law_are_refused(xs: list[float], ys: list[float]):
    with pytest.raises(ValueError, match="three or more positive points"):
        fitted(xs, ys)


def test_a_slope():
    assert slope([10, 20, 40], [7, 27, 67]) == pytest.approx(2)


def test_a_verdict_needs_the_whole_interval():
    assert verdict(Exponent(1.0, 0.9, 1.05, 1.0), most=1) == "yes"
    assert verdict(Exponent(1.2, 1.15, 1.25, 1.2), most=1) == "no"
    assert verdict(Exponent(1.1, 0.9, 1.3, 1.1), most=1) == "unclear"
