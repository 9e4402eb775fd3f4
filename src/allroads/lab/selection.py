"""The rules by which a road's setting, and the moment of its training, is selected."""

from __future__ import annotations

SHARE = 0.2
"""Of the start policy's entropy: how far a setting may lie from the start policy."""
PRICE = 0.3
"""Log-odds of the selection scorer that a nat of KL has to bring, in the registered studies."""


def preference(score: float, kl: float, entropy: float | None) -> tuple[bool, float]:
    """Orders settings, the best last: those within reach by their score, then the nearest.

    The scorer is a reward model on samples of the start policy, and knows little of answers that
    are far from them: policies which exploited a reward model of the same kind please it too. A
    policy that gives one typical answer of the start policy, always the same, is as far from it as
    the start policy has entropy. Both add up over tokens, so a share of it is one limit for short
    and long answers; a price for each nat is not, and on text it preferred hardly trained policies.

    A fifth lost the least true reward to selection, 0.015 over 92 tuned roads of the diagnosis's
    study and 0.024 over 57 of the others, some of their entropies estimated (the registered rule:
    0.024 and 0.062); from 0.15 to 0.25 it is nearly as good (LOG.md, 2026-11-28).

    Args:
        score: mean gain over the start policy by the selection scorer, log-odds.
        kl: from the start policy, nats per completion.
        entropy: of the start policy, nats per completion; None where a run has not kept it: then
            the registered rule.
    """
    if entropy is None:
        return True, worth(score, kl)
    return (True, score) if kl <= SHARE * entropy else (False, -kl)


def worth(score: float, kl: float) -> float:
    """By which the registered studies order settings, as they said beforehand.

    Score less the price of the distance; an estimate of KL below zero counts as zero.
    """
    return score - PRICE * max(kl, 0.0)
