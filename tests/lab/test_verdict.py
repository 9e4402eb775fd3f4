"""The rule on hand-made differences: what is concluded, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from allroads import stats
from allroads.lab.selection import SHARE
from allroads.lab.verdict import RULE, compare_all, decide, to_mean
from allroads.records import Comparison, Verdict

MARGIN = 0.02
SHAPE = (4, 40)
"""Seeds and prompts."""


def noise(seed: int, scale: float) -> np.ndarray:
    """Differences that are pure noise: exactly none on average, over every prompt and seed."""
    values = np.random.default_rng(seed).normal(size=SHAPE)
    values -= values.mean(axis=0, keepdims=True)
    values -= values.mean(axis=1, keepdims=True)
    return scale * values


BASE = np.random.default_rng(0).uniform(size=SHAPE)
TRUTH = {
    "better": BASE + 0.1 + noise(1, 0.05),
    "worse": BASE - 0.1 + noise(2, 0.05),
    "same": BASE + noise(3, 0.01),
    "unclear": BASE + 0.03 + 0.15 * np.array([[1.0], [-1.0], [0.5], [-0.5]]) + noise(4, 0.1),
    "start": BASE - 0.4 + noise(5, 0.05),
}


def conclude(
    *roads: str,
    outside: tuple[str, ...] = (),
    none: tuple[str, ...] = (),
    refusals: tuple[str, ...] = (),
) -> tuple[tuple[Comparison, ...], Verdict]:
    metric = {"start": TRUTH["start"], "dpo": BASE, **{road: TRUTH[road] for road in roads}}
    origins = {
        road: "outside" if road in outside else "none" if road in none else "data"
        for road in metric
    }
    comparisons = compare_all(metric, origins, "dpo", MARGIN, refused=bool(refusals))
    return comparisons, decide(
        comparisons, "dpo", "start", MARGIN, metric="true reward", refusals=refusals
    )


def by_road(comparisons: tuple[Comparison, ...]) -> dict[str, Comparison]:
    return {c.road: c for c in comparisons}


def test_what_each_road_is_concluded_to_be():
    found = by_road(conclude("better", "worse", "same", "unclear")[0])
    assert {road: c.conclusion for road, c in found.items()} == {
        "start": "worse",
        "better": "better",
        "worse": "worse",
        "same": "equivalent",
        "unclear": "undecided",
    }
    assert found["better"].difference.value == pytest.approx(0.1)
    assert all(c.baseline == "dpo" and c.margin == MARGIN for c in found.values())


def test_p_values_are_paired_and_adjusted_for_all_comparisons_on_the_page():
    found = by_road(conclude("better", "worse", "same", "unclear")[0])
    plain = {road: stats.paired_difference(TRUTH[road], BASE).p_value for road in found}
    assert {road: c.p_value for road, c in found.items()} == plain
    adjusted = stats.holm(list(plain.values()))
    assert [c.p_holm for c in found.values()] == adjusted
    # Holm by hand: the smallest of five is multiplied by five.
    least = min(p for p in plain.values() if p is not None)
    assert min(p for p in adjusted if p is not None) == pytest.approx(5 * least)


def test_a_better_road_pays():
    _, verdict = conclude("better", "worse")
    assert verdict.decided
    interval = stats.paired_difference(TRUTH["better"], BASE).estimate
    assert verdict.headline == (
        f"better pays here: true reward 0.100 [{interval.low:.3f}, {interval.high:.3f}] above "
        "dpo's. No better: worse."
    )
    assert len(verdict.reasons) == 3
    assert verdict.reasons[1].startswith("better against dpo: +0.100 [")
    assert verdict.reasons[1].endswith(": better.")
    assert ", adjusted p = " in verdict.reasons[1]
    assert verdict.rule == RULE.format(baseline="dpo", margin=MARGIN, share=SHARE)


def test_the_best_of_several_is_named_first_and_the_others_after_it():
    metric = {
        "start": TRUTH["start"],
        "dpo": BASE,
        "a": TRUTH["better"],
        "b": TRUTH["better"] + 0.2,
        "c": TRUTH["better"] + 0.1,
    }
    comparisons = compare_all(metric, dict.fromkeys(metric, "data"), "dpo", MARGIN, refused=False)
    verdict = decide(comparisons, "dpo", "start", MARGIN, metric="true reward", refusals=())
    assert verdict.headline.startswith("b pays here: true reward 0.300 [")
    assert verdict.headline.endswith("] above dpo's. Better too: a and c.")


def test_what_is_better_does_not_hide_what_is_not():
    _, verdict = conclude("better", "worse", "same", "unclear")
    assert verdict.decided
    assert verdict.headline.endswith("above dpo's. Undecided: unclear. No better: same and worse.")


def test_all_worse():
    _, verdict = conclude("worse")
    assert verdict.headline == "dpo is the best of these roads: every other one is worse."
    assert verdict.decided


def test_equivalent_means_that_offline_is_enough():
    for roads in (("same",), ("same", "worse")):
        _, verdict = conclude(*roads)
        assert verdict.headline == (
            "dpo is enough here: no other road that learns from the data is better."
        )
        assert verdict.decided


def test_undecided_says_so_and_what_would_help():
    for roads in (("unclear",), ("unclear", "worse"), ("unclear", "same")):
        _, verdict = conclude(*roads)
        assert verdict.headline == (
            "Undecided: this run cannot tell whether a second stage beats dpo."
        )
        assert not verdict.decided
        assert verdict.reasons[-1].startswith("More seeds narrow the intervals most")


def test_undecided_is_not_equivalent():
    """An interval that is wider than the margin cannot show that there is no difference."""
    wide = by_road(conclude("unclear")[0])["unclear"]
    assert wide.difference.low is not None
    assert wide.difference.high is not None
    assert wide.difference.low < 0 < MARGIN < wide.difference.high


@pytest.mark.parametrize("kind", ["outside", "none"])
def test_what_was_not_learned_from_the_data_is_shown_but_never_counted(kind: str):
    comparisons, verdict = conclude("better", "same", **{kind: ("better",)})
    assert by_road(comparisons)["better"].conclusion == "better"
    assert verdict.headline.startswith("dpo is enough here")
    (line,) = [reason for reason in verdict.reasons if reason.startswith("better against")]
    assert ("(outside labeller: new information)" in line) == (kind == "outside")
    # Nor does it count as a road that is not decided, or as one that was compared at all.
    _, verdict = conclude("unclear", **{kind: ("unclear",)})
    assert verdict.headline == "Nothing to compare: only one road learns from the preferences."
    assert not verdict.decided


def test_the_start_policy_is_no_second_stage():
    comparisons, verdict = conclude()
    assert [c.road for c in comparisons] == ["start"]
    assert verdict.headline == "Nothing to compare: only one road learns from the preferences."


def test_one_seed_gives_no_verdict_and_no_interval():
    metric = {"dpo": BASE[:1], "better": TRUTH["better"][:1]}
    (comparison,) = compare_all(metric, dict.fromkeys(metric, "data"), "dpo", MARGIN, refused=False)
    assert (comparison.p_value, comparison.p_holm) == (None, None)
    assert (comparison.difference.low, comparison.difference.high) == (None, None)
    assert comparison.conclusion == "no verdict"
    reasons = ("one seed shows no difference between roads from luck; give --seeds 3.", "Further.")
    verdict = decide([comparison], "dpo", "start", MARGIN, metric="true reward", refusals=reasons)
    assert verdict.headline == "No verdict: " + reasons[0]
    assert verdict.reasons == ("Further.",)
    assert not verdict.decided


def test_a_grader_that_is_refused_leaves_no_conclusion_standing():
    comparisons, verdict = conclude("better", "same", refusals=("the grader is not good enough.",))
    assert {c.conclusion for c in comparisons} == {"no verdict"}
    assert by_road(comparisons)["better"].p_holm is not None, "the numbers are still shown"
    assert verdict.headline == "No verdict: the grader is not good enough."
    assert not verdict.decided


def test_a_mean_keeps_how_many_it_is_of():
    mean = to_mean(stats.two_way_mean(BASE))
    assert (mean.seeds, mean.prompts) == SHAPE
    assert mean.value == pytest.approx(BASE.mean())


def test_an_interval_ends_where_the_quantity_does():
    def estimate(value: float, low: float, high: float) -> stats.Estimate:
        return stats.Estimate(
            value=value, low=low, high=high, standard_error=0.02, df=5.0, seeds=3, prompts=10
        )

    share = estimate(0.98, 0.94, 1.02)
    assert (to_mean(share, least=0.0, most=1.0).low, to_mean(share, most=1.0).high) == (0.94, 1.0)
    below = estimate(-0.01, -0.2, 0.1)
    # The value stays as it came, inside its interval.
    assert (to_mean(below, least=0.0).value, to_mean(below, least=0.0).low) == (-0.01, -0.01)
