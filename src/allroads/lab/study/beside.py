"""Which difference of ours stands beside each difference that the paper reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from allroads.lab.study.hypotheses import common
from allroads.lab.study.hypotheses.common import gap
from allroads.lab.study.measured import first_seeds
from allroads.lab.study.paper import LIKELIHOODS, ROUGE, Arms, difference, less, minus, reported
from allroads.lab.study.statistics import (
    Cells,
    Difference,
    Interaction,
    NoEstimate,
    Probability,
    Statistic,
)
from allroads.lab.verdict import to_mean
from allroads.records import Mean
from allroads.studies import BesideRow

Measure = Callable[[Statistic], Mean | None]
"""A statistic of ours; None where cells are missing."""
MAIN = gap(common.MAIN)
"""Our main gap."""


@dataclass(frozen=True)
class Contrast:
    """A difference that the paper reports.

    Attributes:
        words: the difference as a noun.
        where: task and model.
        paper: the arms with their signs.
        gap: the main gap that it is measured by.
        ours: what of ours is like it.
        differs: what is not comparable.
    """

    words: str
    where: str
    paper: Arms
    gap: Arms
    ours: Statistic | None
    differs: str


_SMALL, _LARGE = (minus(size, "On(SFT)", "DPO") for size in ("1.4B", "2.8B"))
_TWICE = minus("1.4B", "On(DPO)", "DPO")
_NARROW, _NARROW_TWICE = (minus("1.4B, relabelled", arm, "DPO") for arm in ("On(SFT)", "On(DPO)"))
_WORDS = minus("two words", "On(DPO)", "DPO")
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
        Difference(common.MAIN, "online-dpo-batch", "dpo"),
        f"{_ONLINE}, as ours here with fewer samples; the paper's log-probabilities may have been "
        "taken at temperature 0.1.",
    ),
    Contrast(
        "Online DPO from SFT minus DPO", "TL;DR, Pythia 2.8B", _LARGE, _LARGE, None,
        "No second size of model was run.",
    ),
    Contrast(
        "Online DPO from DPO minus DPO", "TL;DR, Pythia 1.4B", _TWICE, _SMALL,
        Difference(common.MAIN, "online-dpo-from-dpo", "dpo"),
        f"{_ONLINE}; ours draws fresh pairs all along.",
    ),
    Contrast(
        "Online DPO from DPO minus DPO", "TL;DR, Pythia 2.8B",
        minus("2.8B", "On(DPO)", "DPO"), _LARGE, None, "No second size of model was run.",
    ),
    Contrast(
        "DPO for two epochs minus DPO", "TL;DR, Pythia 1.4B",
        minus("1.4B", "DPO 2x", "DPO"), _SMALL, Difference(common.MAIN, "dpo-2x", "dpo"),
        "In both, twice the passes over the same pairs.",
    ),
    Contrast(
        "Online DPO from SFT minus DPO for two epochs", "TL;DR, Pythia 1.4B",
        minus("1.4B", "On(SFT)", "DPO 2x"), _SMALL, Difference(common.MAIN, "online-dpo", "dpo-2x"),
        f"{_ONLINE}.",
    ),
    Contrast(
        "More prompts without labels minus the prompts of the pairs", "TL;DR, Pythia 1.4B",
        minus("1.4B", "On(SFT) augmented", "On(SFT)"), _SMALL,
        Difference("routes-third", "online-dpo", "online-dpo-pair-prompts"),
        "2.26 times the prompts in the paper, three times in ours.",
    ),
    Contrast(
        "More prompts without labels minus the prompts of the pairs", "TL;DR, Pythia 2.8B",
        minus("2.8B", "On(SFT) augmented", "On(SFT)"), _LARGE, None,
        "No second size of model was run.",
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
        "TL;DR, Pythia 1.4B", less(_SMALL, _NARROW), _SMALL,
        Interaction(gap("routes-wide"), MAIN),
        "The paper's two sets of pairs also differ in who labels them; ours have one labeller.",
    ),
    Contrast(
        "Online DPO from DPO minus DPO, where generating is easy", "Two-word summaries, Pythia",
        _WORDS, _TWICE, gap("routes-hop"), _DIALS,
    ),
    Contrast(
        "The gap minus the gap where generating is easy", "TL;DR and two-word summaries, Pythia",
        less(_TWICE, _WORDS), _TWICE,
        Interaction(MAIN, gap("routes-hop")), _DIALS,
    ),
)  # fmt: skip
"""Of win rates; what is not a win rate is in `beside`."""


def beside(measure: Measure) -> tuple[BesideRow, ...]:
    """The paper's differences beside ours.

    Args:
        measure: for example `measured_on`.
    """
    main = measure(MAIN)
    rows = [_of_wins(contrast, measure, main) for contrast in CONTRASTS]
    rows.append(
        _of_other(
            "Online DPO from DPO minus DPO, where the verifier needs a hidden reference",
            "TL;DR with ROUGE-L as the reward, Pythia",
            "ROUGE-L, 0 to 1",
            (ROUGE["On(DPO)"], ROUGE["DPO"]),
            gap("secret"),
            measure,
            main,
            "ROUGE-L against win rate: the paper has no main gap in this unit. Ours is another "
            "world than the main one.",
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
                    Probability(common.MAIN, arm, baseline) if small else None,
                    measure,
                    None,
                    "A scorer's own scale enters this statistic; the paper's local model has no "
                    "reference and ten times DPO's learning rate."
                    if small
                    else "No second size of model was run.",
                )
            )
    return tuple(rows)


def measured_on(cells: Cells, seeds: Sequence[int]) -> Measure:
    """Measures on finished cells, as many of the first seeds as are there."""

    def measure(statistic: Statistic) -> Mean | None:
        try:
            return to_mean(first_seeds(seeds, partial(statistic.estimate, cells))[1])
        except NoEstimate:
            return None

    return measure


def _of_wins(contrast: Contrast, measure: Measure, main: Mean | None) -> BesideRow:
    ours = measure(contrast.ours) if contrast.ours else None
    return BesideRow(
        words=contrast.words,
        where=contrast.where,
        numbers=reported(contrast.paper),
        unit="percentage points of wins",
        paper=difference(contrast.paper),
        paper_gap=difference(contrast.gap),
        ours_words=contrast.ours.words if contrast.ours else "",
        ours=ours,
        our_gap=main if ours else None,
        differs=contrast.differs,
    )


def _of_other(
    words: str,
    where: str,
    unit: str,
    sides: tuple[float, float],
    ours: Statistic | None,
    measure: Measure,
    main: Mean | None,
    differs: str,
) -> BesideRow:
    found = measure(ours) if ours else None
    return BesideRow(
        words=words,
        where=where,
        numbers=f"{sides[0]:.3f} against {sides[1]:.3f}",
        unit=unit,
        paper=Mean(value=round(sides[0] - sides[1], 3), seeds=1),
        paper_gap=None,
        ours_words=ours.words if ours else "",
        ours=found,
        our_gap=main if found else None,
        differs=differs,
    )
