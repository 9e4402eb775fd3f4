"""The gap itself: does online DPO beat offline DPO on the same pairs?"""

from pathlib import Path

from allroads.lab.study.hypotheses.common import MAIN, ROADS_PAPER, is_above
from allroads.lab.study.hypothesis import Case, Hypothesis

HYPOTHESIS = Hypothesis(
    name="gap",
    file=Path(__file__),
    title="two stages beat likelihood",
    claim="On the same preference pairs, with the same loss, online DPO labelled by a reward model "
    "that was fitted on those pairs is better than offline DPO.",
    prediction="online-dpo is above dpo",
    source=ROADS_PAPER,
    cases=(
        Case(
            variant=MAIN,
            tests=(is_above(MAIN, "online-dpo", "dpo"),),
            paper="TL;DR, Pythia 1.4B: 49.7 against 56.1 % wins; 2.8B: 54.9 against 60.8 %.",
        ),
    ),
)
