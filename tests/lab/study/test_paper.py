"""The paper's numbers: the same standard errors as by hand, and what of ours stands beside them."""

from __future__ import annotations

import pytest

from allroads.lab.study.beside import CONTRASTS, MAIN, beside
from allroads.lab.study.paper import difference, less, minus, reported
from allroads.lab.study.statistics import Interaction, Probability, Statistic
from allroads.records import Mean


def z(mean: Mean) -> float:
    assert mean.high is not None
    return mean.value / ((mean.high - mean.value) / 1.96)


@pytest.mark.parametrize(
    ("setting", "arm", "baseline", "value", "expected"),
    [
        # By hand for 49.7 and 56.1 %: sqrt(.497 x .503 / 600 + .561 x .439 / 600) = .0287.
        ("1.4B", "On(SFT)", "DPO", 6.4, 2.2),
        ("1.4B", "On(SFT)", "DPO 2x", 3.9, 1.4),
        ("1.4B", "On(DPO)", "DPO", 9.6, 3.3),
        ("2.8B", "On(SFT)", "DPO", 5.9, 2.1),
    ],
)
def test_differences_of_win_rates(
    setting: str, arm: str, baseline: str, value: float, expected: float
):
    found = difference(minus(setting, arm, baseline))
    assert found.value == pytest.approx(value)
    assert z(found) == pytest.approx(expected, abs=0.06)


def test_two_words_is_weak_evidence_of_no_gap():
    words = minus("two words", "On(DPO)", "DPO")
    found = difference(words)
    assert found.value == pytest.approx(1.3)
    assert found.high == pytest.approx(1.3 + 4.7, abs=0.05)
    both = less(minus("1.4B", "On(DPO)", "DPO"), words)
    assert difference(both).value == pytest.approx(8.3)
    assert z(difference(both)) == pytest.approx(2.2, abs=0.05)
    assert reported(both) == "59.3 against 49.7 %; 23.2 against 21.9 %"


def known(statistic: Statistic) -> Mean | None:
    return None if isinstance(statistic, Interaction) else Mean(value=0.1, seeds=5)


def test_ours_stands_beside_where_there_is_one():
    rows = beside(known)
    assert len(rows) == len(CONTRASTS) + 1 + 4
    for contrast, row in zip(CONTRASTS, rows, strict=False):
        like = contrast.ours is not None and known(contrast.ours) is not None
        assert (row.ours is not None) == like
        assert (row.our_gap is not None) == like
        assert row.ours_words == (contrast.ours.words if contrast.ours else "")
        assert row.paper_gap is not None
    assert rows[0].ours_words == MAIN.words


def test_what_has_no_spread_or_no_gap_of_its_unit_has_none():
    rouge, *likelihoods = beside(known)[len(CONTRASTS) :]
    assert rouge.paper.value == pytest.approx(-0.002)
    assert rouge.paper.low is None
    assert [row.paper.value for row in likelihoods] == pytest.approx([0.026, 0.041, 0.012, 0.053])
    assert [row.paper_gap for row in (rouge, *likelihoods)] == [None] * 5
    assert [row.our_gap for row in likelihoods] == [None] * 4


def test_nothing_of_ours_is_a_dash():
    for row in beside(lambda _: None):
        assert row.ours is None
        assert row.our_gap is None


def test_the_mean_probability_is_that_of_bradley_and_terry():
    # Margins of log 3 are probabilities of 3/4, margins of 0 of 1/2.
    import math

    class Cells:
        def margins(self, variant: str, arm: str, seeds, on: str = "test"):
            margin = math.log(3) if arm == "reward-model" else 0.0
            return [([margin, margin], ["a", "b"]) for _ in seeds]

    statistic = Probability("routes", "reward-model", "local-rm")
    found = statistic.estimate(Cells(), (1, 2))  # type: ignore[arg-type]
    assert found.value == pytest.approx(0.25)
