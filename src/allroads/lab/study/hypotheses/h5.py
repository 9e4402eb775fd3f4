"""H5: do reward models carry further than policies read as scorers?"""

from pathlib import Path

from allroads.lab.study.claims import above
from allroads.lab.study.held_out import Accuracy
from allroads.lab.study.hypotheses.common import MAIN, RIGHT, ROADS_PAPER, counts, more_often_right
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.rules import Test
from allroads.lab.study.statistics import Difference, Interaction

DIALECTS = "routes-dialects"

HYPOTHESIS = Hypothesis(
    name="H5",
    file=Path(__file__),
    title="global reward models generalise better",
    claim="A reward model with a scalar head is right more often than a policy's own log-ratio, "
    "fitted on the same pairs, and its lead is larger away from the training distribution.",
    prediction="it orders held-out pairs better and chooses better among eight samples; in the "
    "other dialect its lead is larger than in its own",
    source=ROADS_PAPER,
    cases=(
        Case(
            variant=MAIN,
            tests=(
                more_often_right(MAIN, "reward-model", "local-rm"),
                Test(Difference(MAIN, "best-of-n", "best-of-n-local"), above(counts(MAIN))),
            ),
            paper="Mean probability of held-out labels (1.4B): DPO 0.526, local 0.567, global "
            "0.593; best-of-N in the same order.",
        ),
        Case(
            variant=DIALECTS,
            premises=(more_often_right(DIALECTS, "reward-model", "local-rm"),),
            tests=(
                Test(
                    Interaction(
                        Accuracy(DIALECTS, "reward-model", "local-rm", "paraphrased"),
                        Accuracy(DIALECTS, "reward-model", "local-rm"),
                    ),
                    above(RIGHT),
                ),
            ),
            paper="Out-of-distribution order follows that in distribution: true, no root cause.",
        ),
    ),
)
