"""H3: is it the prompts, of which online training can have more?"""

from pathlib import Path

from allroads.lab.study.hypotheses.common import ROADS_PAPER, is_above
from allroads.lab.study.hypothesis import Case, Hypothesis

WORLD = "routes-third"

HYPOTHESIS = Hypothesis(
    name="H3",
    file=Path(__file__),
    title="online optimisation is easier",
    claim="Samples are further constraints on the policy, so that more prompts without labels "
    "help online training.",
    prediction="where pairs cover a third of the prompts, online DPO on all prompts is above "
    "online DPO on those of the pairs",
    source=ROADS_PAPER,
    cases=(
        Case(
            variant=WORLD,
            tests=(is_above(WORLD, "online-dpo", "online-dpo-pair-prompts"),),
            paper="2.26 times the prompts: 56.1 to 56.6 % (1.4B), 60.8 to 61.2 % (2.8B); rejected.",
        ),
    ),
)
