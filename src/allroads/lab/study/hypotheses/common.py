"""What several hypotheses share: the effect that counts, and the gap they are about."""

from __future__ import annotations

from allroads.lab.study.claims import above, at_least, within
from allroads.lab.study.held_out import Accuracy
from allroads.lab.study.hypothesis import Case
from allroads.lab.study.rules import Test
from allroads.lab.study.statistics import Difference
from allroads.lab.study.variants import VARIANTS

RIGHT = 0.02
"""Share of held-out pairs: likewise for scorers."""
MAIN = "routes"
ROADS_PAPER = "Swamy et al. 2025, arXiv:2503.01067"


def counts(variant: str) -> float:
    """The difference of true reward below which there is none, on this world."""
    return VARIANTS[variant].counts


def gap(variant: str) -> Difference:
    """The advantage of two stages: online DPO against offline DPO."""
    return Difference(variant, "online-dpo", "dpo")


GAP = Test(gap(MAIN), above(counts(MAIN)))
"""The premise of whoever explains the gap: that there is one."""


def is_above(variant: str, arm: str, baseline: str) -> Test:
    """One arm is better than another by what counts."""
    return Test(Difference(variant, arm, baseline), above(counts(variant)))


def same(variant: str, arm: str, baseline: str) -> Test:
    """Two arms are equal up to what counts."""
    return Test(Difference(variant, arm, baseline), within(counts(variant)))


def closed(variant: str, paper: str = "") -> Case:
    """The advantage is gone on this world, where there would have been room for it.

    Premises: it is there on the main world; on this one preferences teach offline DPO something,
    and the best of up to 32 answers of the start policy, chosen by the truth, are better still.

    Gone means that offline DPO is not behind by what counts: an equivalence test with one side,
    for a disadvantage of online DPO is nothing that the hypothesis excludes.
    """
    return Case(
        variant=variant,
        premises=(
            GAP,
            Test(Difference(variant, "dpo", "sft"), at_least(counts(variant))),
            Test(Difference(variant, "best-of-n@verifier", "dpo"), at_least(counts(variant))),
        ),
        tests=(Test(Difference(variant, "dpo", "online-dpo"), at_least(-counts(variant))),),
        paper=paper,
    )


def more_often_right(variant: str, scorer: str, baseline: str, on: str = "test") -> Test:
    """One scorer orders held-out pairs better than another by what counts."""
    return Test(Accuracy(variant, scorer, baseline, on), above(RIGHT))
