"""The one rule by which a road's setting, and the moment of its training, is selected."""

from __future__ import annotations

PRICE = 0.3
"""Log-odds of the selection scorer that a nat of KL from the start policy has to bring.

The scorer is a reward model on samples of the start policy, and knows little of answers that are
far from them: policies which exploited a reward model of the same kind please it too. Without a
price it preferred, of online DPO's settings on `routes`, one that answered every prompt with
nothing (reward 0, 8.7 nats away). Prices from 0.2 to 0.3 had the least regret on four worlds
(LOG.md, 2026-11-23), and at 0.2 the empty answers still won.

Source: Gao et al. 2022, arXiv:2210.10760 (a proxy's worth falls with the distance).
"""


def worth(score: float, kl: float) -> float:
    """What is selected by: the regularised objective of the roads, at one price for all of them.

    Args:
        score: mean score of the selection scorer, in log-odds.
        kl: from the start policy, nats per completion; an estimate below zero counts as zero.
    """
    return score - PRICE * max(kl, 0.0)


def preference(value: float, kl: float, reach: float | None) -> tuple[bool, float]:
    """Orders settings, the best last: those within reach by their worth, then the nearest.

    A policy that gives one typical answer of the start policy, always the same, is as far from it
    as the start policy has entropy. Whoever is farther gives answers that the start policy hardly
    ever does, and of those the scorer, which is fitted to the start policy's samples, knows
    nothing: no score there is believed. Over 41 tuned roads on 12 worlds this halves what selection
    loses (0.066 of true reward to 0.031; LOG.md, 2026-11-28). It has no constant to be tuned.

    Args:
        value: its worth.
        kl: from the start policy, nats per completion.
        reach: the start policy's entropy, nats per completion; None: no limit.
    """
    return (False, -kl) if reach is not None and kl > reach else (True, value)
