"""What the paper measured, and which difference of ours stands beside each of its differences.

Swamy, Choudhury, Sun, Wu and Bagnell, "All Roads Lead to Likelihood", arXiv:2503.01067. The numbers
are those of the version presented at ICLR 2026, as public notes report them; nobody has checked
them against the tables of the paper itself, and its authors give no intervals. Win rates are
shares of 600 prompts, one run an arm. Their intervals are computed here: binomial, the two arms
taken as independent, so without the luck of a training run. They are therefore rather too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from allroads.records import Mean
from allroads.studies import BesideRow

PROMPTS = 600
"""Summaries that were judged against the human ones, for each arm."""
WINS = {
    "1.4B": {
        "SFT": 26.2,
        "DPO": 49.7,
        "DPO 2x": 52.2,
        "On(SFT)": 56.1,
        "On(DPO)": 59.3,
        "On(SFT) augmented": 56.6,
    },
    "2.8B": {
        "SFT": 30.5,
        "DPO": 54.9,
        "On(SFT)": 60.8,
        "On(DPO)": 59.4,
        "On(SFT) augmented": 61.2,
    },
    "1.4B, relabelled": {"DPO": 56.8, "On(SFT)": 58.8, "On(DPO)": 65.2},
    "two words": {"SFT": 6.3, "DPO": 21.9, "On(DPO)": 23.2},
}
"""Per cent of summaries that a judge (gpt-4o) prefers to the human one."""
ROUGE = {"DPO": 0.354, "DPO 2x": 0.358, "On(DPO)": 0.352}
"""Validation ROUGE-L where it is the reward too."""
LIKELIHOODS = {
    "1.4B": {"DPO": 0.526, "local": 0.567, "global": 0.593},
    "2.8B": {"DPO": 0.545, "local": 0.598, "global": 0.610},
}
"""Mean probability of the labels of 83,802 validation pairs."""
SENTENCES = {
    "gap": "TL;DR, Pythia 1.4B: 49.7 against 56.1 % wins; 2.8B: 54.9 against 60.8 %.",
    "H1": "Rejected by argument: the data-processing inequality.",
    "H2": "The gap stays with the same regulariser in both arms: not sufficient.",
    "H3": "2.26 times the prompts: 56.1 to 56.6 % (1.4B), 60.8 to 61.2 % (2.8B); rejected.",
    "H4": "Samples of the SFT policy, labelled by a model (1.4B): DPO 56.8, online 58.8 and 65.2 %; "
    "rejected.",
    "H5": "Mean probability of held-out labels (1.4B): DPO 0.526, local 0.567, global 0.593; "
    "best-of-N in the same order: true, but no root cause.",
    "H6, two words": "Two-word summaries: 21.9 against 23.2 % wins, +1.3 with a 95 % interval of "
    "-3.4 to +6.0; the gap elsewhere is 9.6, so that the difference in differences has z = 2.2.",
    "H6, ROUGE-L": "ROUGE-L as the reward: 0.354 against 0.352, without a measure of spread.",
    "longer": "DPO for two epochs: 52.2 % against 56.1 % of online DPO, z = 1.4.",
}
"""What the paper found, in one sentence for each of its hypotheses."""


@dataclass(frozen=True)
class Ours:
    """A difference of two arms of ours on one world, or of two such differences.

    Attributes:
        variant: the world.
        arm: its side with the plus.
        baseline: its side with the minus.
        less: the difference that is taken off, if any.
        of: mean true reward, or mean probability of held-out labels under a scorer.
    """

    variant: str
    arm: str
    baseline: str
    less: Ours | None = None
    of: str = "reward"

    @property
    def words(self) -> str:
        """As a noun, with its sign."""
        plain = f"{self.arm} minus {self.baseline} on {self.variant}"
        return plain if self.less is None else f"({plain}) minus ({self.less.words})"


MAIN = Ours("routes", "online-dpo", "dpo")
"""Our main gap."""


@dataclass(frozen=True)
class Contrast:
    """A difference that the paper reports.

    Attributes:
        words: the difference as a noun.
        where: task and model.
        paper: the arms with their signs, as (set of `WINS`, arm, sign).
        gap: the main gap that it is measured by, likewise.
        ours: what of ours is like it.
        differs: what is not comparable.
    """

    words: str
    where: str
    paper: tuple[tuple[str, str, int], ...]
    gap: tuple[tuple[str, str, int], ...]
    ours: Ours | None
    differs: str


def _minus(setting: str, arm: str, baseline: str) -> tuple[tuple[str, str, int], ...]:
    return ((setting, arm, 1), (setting, baseline, -1))


def _less(
    first: tuple[tuple[str, str, int], ...], second: tuple[tuple[str, str, int], ...]
) -> tuple[tuple[str, str, int], ...]:
    return (*first, *((setting, arm, -sign) for setting, arm, sign in second))


_SMALL, _LARGE = (_minus(size, "On(SFT)", "DPO") for size in ("1.4B", "2.8B"))
_TWICE = _minus("1.4B", "On(DPO)", "DPO")
_NARROW, _NARROW_TWICE = (_minus("1.4B, relabelled", arm, "DPO") for arm in ("On(SFT)", "On(DPO)"))
_WORDS = _minus("two words", "On(DPO)", "DPO")
_WIDE = Ours("routes-wide", "online-dpo", "dpo")
_ONLINE = "The paper's online arm is one batch, the best and the worst of 25 samples a prompt"
_DIALS = (
    "The paper closes the gap by shorter answers to the same prompts, judged by a model; ours is "
    "another setting of the world, graded by the truth."
)

CONTRASTS = (
    Contrast(
        "Online DPO from SFT minus DPO", "TL;DR, Pythia 1.4B", _SMALL, _SMALL, MAIN,
        f"{_ONLINE}; ours draws fresh pairs all along, from a model of far fewer parameters, and "
        "takes the setting that a scorer prefers.",
    ),
    Contrast(
        "Online DPO from SFT minus DPO", "TL;DR, Pythia 1.4B", _SMALL, _SMALL,
        Ours("routes", "online-dpo-batch", "dpo"),
        f"{_ONLINE}, as ours here with fewer samples; the paper's log-probabilities may have been "
        "taken at temperature 0.1.",
    ),
    Contrast(
        "Online DPO from SFT minus DPO", "TL;DR, Pythia 2.8B", _LARGE, _LARGE, None,
        "We have no second size of model.",
    ),
    Contrast(
        "Online DPO from DPO minus DPO", "TL;DR, Pythia 1.4B", _TWICE, _SMALL,
        Ours("routes", "online-dpo-from-dpo", "dpo"),
        f"{_ONLINE}; ours draws fresh pairs all along.",
    ),
    Contrast(
        "Online DPO from DPO minus DPO", "TL;DR, Pythia 2.8B",
        _minus("2.8B", "On(DPO)", "DPO"), _LARGE, None, "We have no second size of model.",
    ),
    Contrast(
        "DPO for two epochs minus DPO", "TL;DR, Pythia 1.4B",
        _minus("1.4B", "DPO 2x", "DPO"), _SMALL, Ours("routes", "dpo-2x", "dpo"),
        "In both, twice the passes over the same pairs.",
    ),
    Contrast(
        "Online DPO from SFT minus DPO for two epochs", "TL;DR, Pythia 1.4B",
        _minus("1.4B", "On(SFT)", "DPO 2x"), _SMALL, Ours("routes", "online-dpo", "dpo-2x"),
        f"{_ONLINE}.",
    ),
    Contrast(
        "More prompts without labels minus the prompts of the pairs", "TL;DR, Pythia 1.4B",
        _minus("1.4B", "On(SFT) augmented", "On(SFT)"), _SMALL,
        Ours("routes-third", "online-dpo", "online-dpo-pair-prompts"),
        "2.26 times the prompts in the paper, three times in ours.",
    ),
    Contrast(
        "More prompts without labels minus the prompts of the pairs", "TL;DR, Pythia 2.8B",
        _minus("2.8B", "On(SFT) augmented", "On(SFT)"), _LARGE, None,
        "We have no second size of model.",
    ),
    Contrast(
        "Online DPO from SFT minus DPO, both on the start policy's own pairs",
        "TL;DR, Pythia 1.4B, labelled by gpt-4o", _NARROW, _SMALL, None,
        "The judge is the labeller there. The pairs of our main world are the start policy's own "
        "already: see the next row but one.",
    ),
    Contrast(
        "Online DPO from DPO minus DPO, both on the start policy's own pairs",
        "TL;DR, Pythia 1.4B, labelled by gpt-4o", _NARROW_TWICE, _TWICE, None,
        "As above.",
    ),
    Contrast(
        "The gap on pairs of many writers minus that on the start policy's own",
        "TL;DR, Pythia 1.4B", _less(_SMALL, _NARROW), _SMALL,
        Ours(_WIDE.variant, _WIDE.arm, _WIDE.baseline, less=MAIN),
        "The paper's two sets of pairs also differ in who labels them; ours have one labeller.",
    ),
    Contrast(
        "Online DPO from DPO minus DPO, where generating is easy", "Two-word summaries, Pythia",
        _WORDS, _TWICE, Ours("routes-hop", "online-dpo", "dpo"), _DIALS,
    ),
    Contrast(
        "The gap minus the gap where generating is easy", "TL;DR and two-word summaries, Pythia",
        _less(_TWICE, _WORDS), _TWICE,
        Ours("routes", "online-dpo", "dpo", less=Ours("routes-hop", "online-dpo", "dpo")), _DIALS,
    ),
)  # fmt: skip
"""Of win rates; what is not a win rate is in `beside`."""


def beside(measure: Callable[[Ours], Mean | None]) -> tuple[BesideRow, ...]:
    """The paper's differences beside ours.

    Args:
        measure: our difference with its interval; None where cells are missing, or nothing of the
            kind is measured.
    """
    gap = measure(MAIN)
    rows = [_of_wins(contrast, measure, gap) for contrast in CONTRASTS]
    rows.append(
        _of_other(
            "Online DPO from DPO minus DPO, where the verifier needs a hidden reference",
            "TL;DR with ROUGE-L as the reward, Pythia",
            "ROUGE-L, 0 to 1",
            (ROUGE["On(DPO)"], ROUGE["DPO"]),
            Ours("secret", "online-dpo", "dpo"),
            measure,
            gap,
            "ROUGE-L against win rate: the paper has no main gap in this unit. Ours is another "
            "world than the main one, with as many pairs.",
        )
    )
    for size, pairs in LIKELIHOODS.items():
        for first, second, arm, baseline in (
            ("global", "local", "reward-model", "local-rm"),
            ("local", "DPO", "local-rm", "dpo"),
        ):
            small = size == "1.4B"
            rows.append(
                _of_other(
                    f"{first.capitalize()} reward model minus {second}",
                    f"TL;DR, Pythia {size}, validation pairs",
                    "mean probability of the labels",
                    (pairs[first], pairs[second]),
                    Ours("routes", arm, baseline, of="likelihood") if small else None,
                    measure,
                    None,
                    "A scorer's own scale enters this statistic; the paper's local model has no "
                    "reference and ten times DPO's learning rate."
                    if small
                    else "We have no second size of model.",
                )
            )
    return tuple(rows)


def difference(parts: tuple[tuple[str, str, int], ...]) -> Mean:
    """A signed sum of win rates in percentage points, its interval binomial and unpaired."""
    rates = [(WINS[setting][arm] / 100, sign) for setting, arm, sign in parts]
    value = 100 * sum(sign * rate for rate, sign in rates)
    error = 100 * math.sqrt(sum(rate * (1 - rate) / PROMPTS for rate, _ in rates))
    half = 1.959964 * error
    return Mean(value=value, low=value - half, high=value + half, seeds=1, prompts=PROMPTS)


def _of_wins(
    contrast: Contrast, measure: Callable[[Ours], Mean | None], gap: Mean | None
) -> BesideRow:
    ours = contrast.ours and measure(contrast.ours)
    return BesideRow(
        words=contrast.words,
        where=contrast.where,
        numbers=_reported(contrast.paper),
        unit="percentage points of wins",
        paper=difference(contrast.paper),
        paper_gap=difference(contrast.gap),
        ours_words=contrast.ours.words if contrast.ours else "",
        ours=ours,
        our_gap=gap if ours else None,
        differs=contrast.differs,
    )


def _reported(parts: tuple[tuple[str, str, int], ...]) -> str:
    """For example '56.1 against 49.7 %'."""
    pairs = [sorted(parts[at : at + 2], key=lambda part: -part[2]) for at in range(0, len(parts), 2)]
    said = [f"{WINS[a[0]][a[1]]} against {WINS[b[0]][b[1]]} %" for a, b in pairs]
    return "; ".join(said)


def _of_other(
    words: str,
    where: str,
    unit: str,
    sides: tuple[float, float],
    ours: Ours | None,
    measure: Callable[[Ours], Mean | None],
    gap: Mean | None,
    differs: str,
) -> BesideRow:
    found = ours and measure(ours)
    return BesideRow(
        words=words,
        where=where,
        numbers=f"{sides[0]:.3f} against {sides[1]:.3f}",
        unit=unit,
        paper=Mean(value=round(sides[0] - sides[1], 3), seeds=1),
        paper_gap=None,
        ours_words=ours.words if ours else "",
        ours=found,
        our_gap=gap if found else None,
        differs=differs,
    )
