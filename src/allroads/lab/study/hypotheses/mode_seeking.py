"""Mode seeking: does it matter most where good answers are rare?"""

from pathlib import Path

from allroads.lab.study.claims import above
from allroads.lab.study.hypotheses.common import GAP, MAIN, counts, gap
from allroads.lab.study.hypothesis import Case, Hypothesis
from allroads.lab.study.rules import Test
from allroads.lab.study.statistics import Interaction

POOR = "routes-poor"

HYPOTHESIS = Hypothesis(
    name="mode-seeking",
    kind="rival",
    file=Path(__file__),
    title="online training finds rare modes",
    claim="On-policy samples and negative gradients move mass to where the reference has little of "
    "it, which likelihood-like offline training cannot.",
    prediction="the gap is larger where good answers are rare in the start policy",
    source="Tajwar et al. 2024, arXiv:2404.14367",
    cases=(
        Case(
            variant=POOR,
            premises=(GAP,),
            tests=(Test(Interaction(gap(POOR), gap(MAIN)), above(counts(MAIN))),),
        ),
    ),
)
