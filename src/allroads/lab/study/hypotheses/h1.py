"""H1: do samples of one's own carry information?"""

from pathlib import Path

from allroads.lab.study.claims import below
from allroads.lab.study.held_out import Nll
from allroads.lab.study.hypotheses.common import MAIN, ROADS_PAPER
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.rules import Test

HYPOTHESIS = Hypothesis(
    name="H1",
    file=Path(__file__),
    title="samples carry information of their own",
    claim="On-policy samples, ordered by a reward model, say something about people's preferences "
    "that the pairs which that reward model was fitted on do not say.",
    prediction="a second reward model, fitted on such samples, needs fewer nats for held-out "
    "labels than the first",
    source=ROADS_PAPER,
    cases=(
        Case(
            variant=MAIN,
            tests=(Test(Nll(MAIN, "reward-model-distilled", "reward-model"), below(0.005)),),
            paper="Rejected by argument: the data-processing inequality.",
        ),
    ),
)
