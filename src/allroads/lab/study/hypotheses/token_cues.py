"""Token cues: does the local reward model rest on words rather than on meaning?"""

from pathlib import Path

from allroads.lab.study.claims import above
from allroads.lab.study.held_out import Accuracy
from allroads.lab.study.hypotheses.common import more_often_right
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.rules import Test
from allroads.lab.study.statistics import Interaction

DIALECTS = "routes-dialects"
LOST = 0.1
"""Share of pairs by which the local reward model has to lose more, to be called word-bound."""

HYPOTHESIS = Hypothesis(
    name="token-cues",
    kind="rival",
    file=Path(__file__),
    title="implicit rewards rest on token cues",
    claim="A policy read as a reward model learns which tokens were preferred, a scalar head what "
    "they mean; verifying being easier has no part in it.",
    prediction="said in the other dialect, the same pairs are ordered about as well by the reward "
    "model and far worse by the local one",
    source="Razin et al. 2025, arXiv:2507.07981",
    cases=(
        Case(
            variant=DIALECTS,
            tests=(
                more_often_right(DIALECTS, "reward-model", "local-rm", "paraphrased"),
                Test(
                    Interaction(
                        Accuracy(DIALECTS, "reward-model", "local-rm", "paraphrased"),
                        Accuracy(DIALECTS, "reward-model", "local-rm"),
                    ),
                    above(LOST),
                ),
            ),
        ),
    ),
)
