"""The rule: a coin, length and tf-idf, each beaten with the whole interval, or no verdict."""

from __future__ import annotations

import numpy as np
import pytest

from allroads.evaluation.graders import Grade, grade
from allroads.stats import Estimate

IDS = tuple(str(i) for i in range(60))
RIGHT = np.ones(60)
CHANCE = np.tile([1.0, -1.0], 30)
GOOD = np.where(np.arange(60) % 6 == 0, -1.0, 1.0)
"""Right in 5 of 6."""


def judged(grader: np.ndarray, length: np.ndarray = CHANCE, tf_idf: np.ndarray = CHANCE) -> Grade:
    return grade({"grader": grader, "length": length, "tf-idf": tf_idf}, IDS)


def test_a_grader_that_beats_all_three_is_believed():
    found = judged(GOOD)
    assert found.believed
    assert found.not_beaten == ()
    assert (found.pairs, found.clusters) == (60, 60)
    assert found.accuracy["grader"].value == pytest.approx(5 / 6)
    assert {name: e.value for name, e in found.over.items()} == pytest.approx(
        {"a coin": 1 / 3, "length": 1 / 3, "tf-idf": 1 / 3}
    )


@pytest.mark.parametrize("rival", ["length", "tf-idf"])
def test_each_baseline_alone_can_refuse(rival: str):
    margins = {"grader": GOOD, "length": CHANCE, "tf-idf": CHANCE, rival: -np.roll(-GOOD, 1)}
    found = grade(margins, IDS)
    assert found.over["a coin"].low is not None
    assert found.over["a coin"].low > 0
    assert found.not_beaten == (rival,)
    assert not found.believed


def test_a_coin_alone_can_refuse():
    """55 % against baselines that are always wrong."""
    slightly = np.where(np.arange(60) < 33, 1.0, -1.0)
    found = judged(slightly, -RIGHT, -RIGHT)
    assert found.not_beaten == ("a coin",)


def test_tf_idf_never_beats_itself():
    for margins in (GOOD, RIGHT, 3 * GOOD):
        found = judged(GOOD, tf_idf=GOOD) if margins is GOOD else judged(margins, tf_idf=margins)
        assert "tf-idf" in found.not_beaten
        assert found.over["tf-idf"].value == 0


def test_random_graders_are_refused():
    """A coin against three rivals: the nominal false alarm is below 2.5 %; seeds are fixed."""
    rng = np.random.default_rng(0)
    believed = [judged(*rng.normal(size=(3, 60))).believed for _ in range(400)]
    assert np.mean(believed) < 0.025


def test_pairs_of_few_prompts_are_never_enough():
    margins = {"grader": GOOD, "length": CHANCE, "tf-idf": CHANCE}
    one_prompt = grade(margins, ["p"] * 60)
    assert one_prompt.accuracy["grader"].low is None
    assert not one_prompt.believed
    assert one_prompt.not_beaten == ("a coin", "length", "tf-idf")
    nine = grade({**margins, "grader": RIGHT}, [str(i % 9) for i in range(60)])
    assert nine.clusters == 9
    assert not nine.believed
    assert nine.not_beaten == ()


def test_accuracies_are_shares_and_never_without_width():
    def bounds(estimate: Estimate) -> tuple[float, float]:
        assert estimate.low is not None
        assert estimate.high is not None
        return estimate.low, estimate.high

    found = judged(RIGHT)
    low, high = bounds(found.accuracy["grader"])
    # Wilson by hand, 60 of 60: n / (n + z^2) = 60 / 63.8415.
    assert low == pytest.approx(60 / (60 + 1.959964**2), abs=1e-6)
    assert high == 1
    assert bounds(found.over["a coin"]) == (0.5, 0.5)
    nearly = judged(np.where(np.arange(60) == 0, -1.0, 1.0))
    assert bounds(nearly.accuracy["grader"])[1] == 1
