"""H4: can reward models use wider data than policies?"""

from pathlib import Path

from allroads.lab.study.claims import above, within
from allroads.lab.study.hypotheses.common import MAIN, ROADS_PAPER, counts, gap
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.rules import Test
from allroads.lab.study.statistics import Interaction

WIDE = "routes-wide"

HYPOTHESIS = Hypothesis(
    name="H4",
    file=Path(__file__),
    title="reward models can use wider data",
    claim="Pairs that many writers wrote teach a reward model more than a policy, and that is "
    "where the gap comes from; on pairs that the start policy wrote itself there is none.",
    prediction="the gap is larger on pairs of many writers, and absent on those of the start "
    "policy",
    source=ROADS_PAPER,
    cases=(
        Case(
            variant=MAIN,
            premises=(Test(gap(WIDE), above(counts(MAIN))),),
            tests=(
                Test(Interaction(gap(WIDE), gap(MAIN)), above(counts(MAIN))),
                Test(gap(MAIN), within(counts(MAIN))),
            ),
            paper="Samples of the SFT policy, labelled by a model (1.4B): DPO 56.8, online 58.8 "
            "and 65.2 %; rejected.",
        ),
    ),
)
