"""Coverage: is it that offline training needs pairs from everywhere?"""

from pathlib import Path

from allroads.lab.study.claims import below
from allroads.lab.study.hypotheses.common import GAP, MAIN, counts, gap
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.rules import Test
from allroads.lab.study.statistics import Interaction

WIDE = "routes-wide"

HYPOTHESIS = Hypothesis(
    name="coverage",
    kind="rival",
    file=Path(__file__),
    title="offline training needs global coverage",
    claim="Offline contrastive losses need pairs that cover all answers; online RL only those near "
    "the reference.",
    prediction="pairs of many writers, which cover more, make the gap smaller",
    source="Song et al. 2024, arXiv:2406.01462",
    cases=(
        Case(
            variant=WIDE,
            premises=(GAP,),
            tests=(Test(Interaction(gap(WIDE), gap(MAIN)), below(counts(MAIN))),),
        ),
    ),
)
