"""What the paper measured.

Swamy, Choudhury, Sun, Wu and Bagnell, "All Roads Lead to Likelihood", arXiv:2503.01067. The numbers
are those of the version presented at ICLR 2026, as notes on that
version report them; they were not checked against the tables of the paper itself, and come without
intervals. Win rates are shares of 600 prompts, one run an arm. Their intervals are computed here:
binomial, the two arms taken as independent, and without the luck of a training run.
"""

from __future__ import annotations

import math

from allroads.records import Mean

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

Arms = tuple[tuple[str, str, int], ...]
"""Arms of `WINS` with their signs: (setting, arm, +1 or -1), two and two."""


def minus(setting: str, arm: str, baseline: str) -> Arms:
    """One arm minus another."""
    return ((setting, arm, 1), (setting, baseline, -1))


def less(first: Arms, second: Arms) -> Arms:
    """A difference minus another."""
    return (*first, *((setting, arm, -sign) for setting, arm, sign in second))


def difference(parts: Arms) -> Mean:
    """A signed sum of win rates in percentage points, its interval binomial and unpaired."""
    rates = [(WINS[setting][arm] / 100, sign) for setting, arm, sign in parts]
    value = 100 * sum(sign * rate for rate, sign in rates)
    error = 100 * math.sqrt(sum(rate * (1 - rate) / PROMPTS for rate, _ in rates))
    half = 1.959964 * error
    return Mean(value=value, low=value - half, high=value + half, seeds=1, prompts=PROMPTS)


def reported(parts: Arms) -> str:
    """For example '56.1 against 49.7 %'."""
    pairs = zip(parts[::2], parts[1::2], strict=True)
    said = [f"{WINS[a[0]][a[1]]} against {WINS[b[0]][b[1]]} %" for a, b in pairs]
    return "; ".join(said)
