"""Is the gap a matter of one world?"""

from pathlib import Path

from allroads.lab.study.hypotheses.common import is_above
from allroads.lab.study.hypothesis import Case, Hypothesis

_WORLDS = ("preimage-0", "preimage-1", "preimage-2", "secret", "palindrome", "spell", "sentiment")

HYPOTHESIS = Hypothesis(
    name="elsewhere",
    kind="control",
    file=Path(__file__),
    title="the gap on other tasks",
    claim="Two stages beat likelihood wherever answers are longer than a word.",
    prediction="online-dpo is above dpo",
    source="design of this project",
    cases=tuple(
        Case(variant=world, tests=(is_above(world, "online-dpo", "dpo"),)) for world in _WORLDS
    ),
)
