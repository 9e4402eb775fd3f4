"""H6: the generation-verification gap. Close it, and the advantage goes."""

from pathlib import Path

from allroads.lab.study.hypotheses.common import ROADS_PAPER, closed
from allroads.lab.study.hypothesis import Hypothesis

HYPOTHESIS = Hypothesis(
    name="H6",
    file=Path(__file__),
    title="verifying is simpler than generating",
    claim="Two stages win because a simple verifier is learnt from few pairs, and only answers "
    "that are optimal for simple verifiers are then searched; where verifying is as hard as "
    "generating there is nothing to win.",
    prediction="the advantage of online DPO vanishes where goals are one road away, and where the "
    "verifier has to know a hidden reference",
    source=ROADS_PAPER,
    cases=(
        closed(
            "routes-hop",
            "Two-word summaries: 21.9 against 23.2 % wins, +1.3 with a standard error of 2.4.",
        ),
        closed("secret", "ROUGE-L as the reward: 0.354 against 0.352."),
        closed("secret-two"),
        closed("scitldr"),
        closed("scitldr-two-words"),
    ),
)
