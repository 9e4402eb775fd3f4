"""H2: is offline training only worse at staying near the reference?"""

from pathlib import Path

from allroads.lab.study.claims import within
from allroads.lab.study.equal_kl import EqualKL
from allroads.lab.study.hypotheses.common import GAP, MAIN, ROADS_PAPER, counts
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.rules import Test

HYPOTHESIS = Hypothesis(
    name="H2",
    file=Path(__file__),
    title="offline training regularises badly",
    claim="Offline DPO is worse because it leaves the reference where it need not; at equal KL "
    "from the reference both would be as good.",
    prediction="at equal KL online-dpo and dpo do not differ",
    source=ROADS_PAPER,
    cases=(
        Case(
            variant=MAIN,
            premises=(GAP,),
            tests=(Test(EqualKL(MAIN, "online-dpo", "dpo"), within(counts(MAIN))),),
            paper="The gap stays with the same regulariser in both arms; not sufficient.",
        ),
    ),
)
