"""Arms that no hypothesis reads: with them the tables of roads and of neighbours are whole."""

from __future__ import annotations

from collections.abc import Iterable

from allroads.lab.study.conduct import Needs
from allroads.lab.study.variants import VARIANTS

_MAIN = (
    "best-of-n-dpo",
    "best-of-n@verifier",
    "dpo-cold",
    "dpo-reward-schedule",
    "dpo-samples",
    "local-rm-free",
    "online-dpo-batch",
    "online-dpo-batch-cold",
    "online-dpo-batch-from-dpo",
    "online-dpo-batch-paper",
    "online-dpo-best-worst",
    "online-dpo-from-dpo",
    "online-dpo-head-mean",
    "reward-model-last",
    "reward-model-mean",
    "reward-model-relabelled",
    "reward-model-scratch",
    "rloo-pair-prompts",
    "rloo@local-rm",
    "rloo@verifier",
    "sft-chosen",
    "spin",
)
SEEDS = 5
"""Of the study's seeds those arms read the first so many at most."""
_EVERYWHERE = ("sft", "dpo", "dpo-relabelled", "online-dpo", "best-of-n")
"""The start, likelihood, cleaned labels, reinforcement, search: on every world."""


def further(variant: str | None = None) -> Needs:
    """Arms by variant, at the setting that is tuned for each; of one variant, or all."""
    rows: dict[str, Iterable[str]] = dict.fromkeys(VARIANTS, _EVERYWHERE)
    rows["routes"] = _MAIN
    rows["routes-third"] = (*_EVERYWHERE, "rloo", "rloo-pair-prompts")
    return {
        name: dict.fromkeys(arms, False) for name, arms in rows.items() if variant in (None, name)
    }
