"""H1: do samples of one's own carry information?"""

from pathlib import Path

from allroads.lab.study.hypotheses.common import MAIN, ROADS_PAPER, more_often_right
from allroads.lab.study.hypothesis import Case, Hypothesis

HYPOTHESIS = Hypothesis(
    name="H1",
    file=Path(__file__),
    title="samples carry information of their own",
    claim="On-policy samples, ordered by a reward model, say something about people's preferences "
    "that the pairs which that reward model was fitted on do not say.",
    prediction="a second reward model, fitted on such samples, orders held-out pairs better than "
    "the first",
    source=ROADS_PAPER,
    cases=(
        Case(
            variant=MAIN,
            tests=(more_often_right(MAIN, "reward-model-distilled", "reward-model"),),
            paper="Rejected by argument: the data-processing inequality.",
        ),
    ),
)
