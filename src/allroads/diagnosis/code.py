"""The gap in bits: the same labels, described in sequence by both learners."""

from __future__ import annotations

import math

import numpy as np

from allroads.diagnoses import Code
from allroads.diagnosis.laws import interval, laws
from allroads.diagnosis.lengths import learned, lengths, total
from allroads.evidence import Evidence
from allroads.records import Mean


def code(evidence: Evidence) -> Code:
    """Prequential code lengths, their difference, and what it is made of.

    With b(n) a learner's expected surprise after n pairs and L its limit, its code of N pairs costs
    N L + sum_n (b(n) - L). The generator's minus the verifier's is therefore

        misfit    N (L_generator - L_verifier), what endless data would leave
        learning  the rest, what it costs to get there: the generation-verification gap

    For well specified fits of d parameters the second part grows by d / 2 nats (d / (2 log 2) bits)
    at each doubling of N. Limits come from the curves' power laws; without these (fewer than three
    sizes) all is counted as learning and the misfit has no interval.

    The interval of `learning` adds those of the difference and of the misfit in quadrature: the
    first is about training pairs, the second about held-out ones.

    Source: Rissanen 1986, Annals of Statistics 14, 1080 (d / 2 log N); Dawid 1984, Journal of the
    Royal Statistical Society A 147, 278 (prequential).
    """
    codes = lengths(evidence)
    verifier, generator = codes["verifier"], codes["generator"]
    coded = verifier.coded
    apart_OBP = verifier.saved_OBP - generator.saved_OBP
    difference = total(apart_OBP.sum(axis=1))
    misfit = _misfit(evidence, coded, like=difference)
    seen_B = np.cumsum(verifier.pairs_OB.mean(axis=0))
    return Code(
        coded=round(coded),
        verifier=_whole(total(-verifier.saved_OBP.sum(axis=1)), coded),
        generator=_whole(total(-generator.saved_OBP.sum(axis=1)), coded),
        difference=difference,
        misfit=misfit,
        learning=_rest(difference, misfit),
        by_block=tuple(
            (round(seen_B[block - 1]), total(apart_OBP[:, block]))
            for block in range(1, apart_OBP.shape[1])
        ),
        learned=learned(verifier) or learned(generator),
    )


def _whole(beyond: Mean, coded: float) -> Mean:
    """A bit a pair, and what the code costs beyond that."""
    ends = {
        name: None if end is None else coded + end
        for name, end in (("low", beyond.low), ("high", beyond.high))
    }
    return beyond.model_copy(update={"value": coded + beyond.value, **ends})


def _misfit(evidence: Evidence, coded: float, *, like: Mean) -> Mean:
    found = laws(evidence)
    if found is None:
        return Mean(value=0.0, seeds=like.seeds)
    apart_D = coded * (found["generator"].limit - found["verifier"].limit)
    low, high = interval(apart_D)
    return Mean(value=float(apart_D[0]), low=low, high=high, seeds=like.seeds)


def _rest(whole: Mean, part: Mean) -> Mean:
    """`whole` minus `part`, as if their errors were independent."""
    value, low, high = whole.value - part.value, None, None
    if whole.low is not None and whole.high is not None:
        below = 0.0 if part.high is None else part.high - part.value
        above = 0.0 if part.low is None else part.value - part.low
        low = value - math.hypot(whole.value - whole.low, below)
        high = value + math.hypot(whole.high - whole.value, above)
    return Mean(value=value, low=low, high=high, seeds=whole.seeds, prompts=whole.prompts)
