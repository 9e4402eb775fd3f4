"""What a user may expect of the predictions, counted by hand."""

from __future__ import annotations

import math

import pytest

from allroads.diagnoses import Prediction
from allroads.diagnosis.calibration import Held, calibration, leave_one_family_out, regrets
from allroads.errors import InputError
from tests.diagnosis.test_model import drawn, world


def held(gain: float, predicted: float, positive: float, *, longest: float = 8.0) -> Held:
    prediction = Prediction(
        gain=predicted,
        low=predicted - 0.1,
        high=predicted + 0.1,
        positive=positive,
        features=(),
        model="",
    )
    return Held(world("w", 0, 0, gain, longest=longest), prediction)


ROWS = (
    held(0.3, 0.25, 0.9),
    held(0.1, -0.05, 0.4),
    held(-0.2, -0.3, 0.1),
    held(-0.1, 0.2, 0.95, longest=2.0),
)


def test_shares_are_counted():
    found = calibration(ROWS)
    assert (found.positive, found.negative) == (0.5, 0.5)
    # Said on the first, the third and the fourth; the fourth is wrong.
    assert (found.decided, found.signs) == (0.75, pytest.approx(2 / 3))
    # 0.3 in 0.15..0.35 and -0.2 in -0.4..-0.2; 0.1 is not in -0.15..0.05, -0.1 not in 0.1..0.3.
    assert found.covered == 0.5
    # Ranks of gains 4 3 1 2, of predictions 4 2 1 3: 1 - 6 x (0 + 1 + 0 + 1) / (4 x 15).
    assert found.spearman == pytest.approx(0.8)


def test_regret_is_what_the_better_road_would_have_won_more():
    found = calibration(ROWS).regret
    # The better road wins 0.3, 0.1, 0, 0: 0.4 in all.
    assert found["always offline"] == pytest.approx(0.4 / 4)
    assert found["always this road"] == pytest.approx((0.4 - 0.1) / 4)
    # Advice: online on the first and the last, which loses 0.1.
    assert found["advice"] == pytest.approx((0.4 - (0.3 - 0.1)) / 4)
    # Rule of thumb: online on all but the last, whose answers are short.
    assert found["rule of thumb"] == pytest.approx((0.4 - (0.3 + 0.1 - 0.2)) / 4)


def test_regret_among_several_roads():
    other = (
        held(0.2, 0.3, 0.9),
        held(0.3, 0.2, 0.9),
        held(-0.3, -0.1, 0.4),
        held(0.1, -0.1, 0.4, longest=2.0),
    )
    found = regrets({"search": ROWS, "rloo": other}, "rloo")
    # The best of offline, search and rloo wins 0.3, 0.3, 0, 0.1.
    assert found["always offline"] == pytest.approx(0.7 / 4)
    assert found["always search"] == pytest.approx((0.7 - 0.1) / 4)
    assert found["always rloo"] == pytest.approx((0.7 - 0.3) / 4)
    # Advice: rloo, rloo, offline, search: 0.2 + 0.3 + 0 - 0.1.
    assert found["advice"] == pytest.approx((0.7 - 0.4) / 4)
    # The thumb: rloo on all but the last.
    assert found["rule of thumb"] == pytest.approx((0.7 - 0.2) / 4)
    with pytest.raises(InputError, match="same worlds"):
        regrets({"search": ROWS, "rloo": other[:3]}, "rloo")


def test_reliability_is_the_variance_that_is_no_error():
    rows = [Held(one.world.model_copy(update={"error": 0.1}), one.prediction) for one in ROWS]
    # Gains 0.3, 0.1, -0.2, -0.1: mean 0.025, variance (sum of squares 0.1475) / 3.
    assert calibration(rows).reliability == pytest.approx(1 - 0.01 / (0.1475 / 3))
    assert math.isclose(calibration(ROWS).reliability, 1.0)


def test_a_family_is_predicted_from_the_others_alone():
    worlds = drawn(70, 0.01, 0.0, 0)
    # One family follows another law; what is predicted of it must not know that.
    odd = [one.model_copy(update={"gain": 5.0}) for one in worlds if one.family == "3"]
    rest = [one for one in worlds if one.family != "3"]
    found = leave_one_family_out([*rest, *odd], ("accuracy", "bits"))
    assert len(found) == 70
    assert all(one.prediction.gain < 1 for one in found if one.world.family == "3")


def test_one_family_cannot_be_left_out():
    with pytest.raises(InputError, match="at least two families"):
        leave_one_family_out([world("a", 0, 0, 0)] * 9, ("accuracy",))
