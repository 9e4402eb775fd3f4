"""Code lengths against hand calculations, a theorem, and labels that hold nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats

from allroads.diagnosis import mixture
from allroads.diagnosis.code import code
from allroads.diagnosis.lengths import (
    SURE_BITS,
    coding_temperature,
    learned,
    lengths,
    temperatures,
)
from allroads.errors import InputError
from allroads.evidence import Evidence, Learner
from tests.diagnosis.made import evidence, fit, log_linear

BOTH: tuple[Learner, ...] = ("verifier", "generator")


def probability(lead: float, factor: float) -> float:
    return 1 / (1 + math.exp(-factor * lead))


# --- the mixture ---------------------------------------------------------------------------------


def test_two_labels_by_hand(monkeypatch: pytest.MonkeyPatch):
    # Factors 0 and 1; leads log 3 and -log 3. P(first) = 1/2 (1/2 + 3/4) = 5/8, after which the
    # factors weigh 1/2 : 3/4 = 2 : 3. P(second) = 2/5 1/2 + 3/5 1/4 = 7/20, weights 4 : 3. Together
    # 7/32, which is also 1/2 (1/4 + 3/4 1/4).
    monkeypatch.setattr(mixture, "FACTORS", np.array([0.0, 1.0]))
    coded = mixture.code([math.log(3), -math.log(3)], np.array([0.5, 0.5]))
    np.testing.assert_allclose(np.exp2(-coded.bits_N), [5 / 8, 7 / 20])
    np.testing.assert_allclose(coded.weights_T, [4 / 7, 3 / 7])
    assert mixture.mean_factor(coded.weights_T) == pytest.approx(3 / 7)


def test_the_code_is_a_distribution_over_all_labels():
    """Kraft's equality: the probabilities of all 2^5 ways to label 5 pairs sum to one."""
    leads = np.array([0.3, -2.0, 11.0, 0.0, 5.0])
    total = 0.0
    for signs in itertools.product([1, -1], repeat=5):
        first = mixture.code(leads[:2] * signs[:2], mixture.uniform())
        scale = 2.0 + signs[0]  # later leads may depend on earlier labels
        second = mixture.code(scale * leads[2:] * signs[2:], first.weights_T)
        total += 2.0 ** -(first.bits_N.sum() + second.bits_N.sum())
    assert total == pytest.approx(1)


@pytest.mark.parametrize("leads", [[-50.0] * 40, [1e4, -1e4] * 8, [0.0] * 3])
def test_never_much_longer_than_a_coin(leads: list[float]):
    bits = mixture.code(leads, mixture.uniform()).bits_N
    assert bits.sum() <= len(leads) + math.log2(len(mixture.FACTORS)) + 1e-9


def test_blocks_may_be_cut_anywhere():
    leads = np.random.default_rng(0).normal(0.5, 3, 30)
    whole = mixture.code(leads, mixture.uniform())
    first = mixture.code(leads[:11], mixture.uniform())
    second = mixture.code(leads[11:], first.weights_T)
    np.testing.assert_allclose(whole.bits_N, [*first.bits_N, *second.bits_N])
    np.testing.assert_allclose(whole.weights_T, second.weights_T)


# --- two blocks by hand --------------------------------------------------------------------------


def two_blocks(orders: Sequence[int] = (0,)) -> Evidence:
    fits = []
    for order in orders:
        fits += [
            fit("verifier", 3, [math.log(3), math.log(3)], order=order),
            fit("verifier", 5, order=order),
            fit("generator", 3, [0.0, 0.0], order=order),
            fit("generator", 5, order=order),
        ]
    return evidence(fits)


def test_two_blocks_by_hand():
    """Three pairs at a bit each; two at the mixture's price; a generator that knows nothing."""
    made = sum(probability(math.log(3), t) ** 2 for t in mixture.FACTORS) / len(mixture.FACTORS)
    found = code(two_blocks([0, 1]))
    assert found.coded == 5
    assert found.verifier.value == pytest.approx(3 - math.log2(made))
    assert found.generator.value == pytest.approx(5)
    assert found.difference.value == pytest.approx(2 + math.log2(made))
    assert found.verifier.value < 5
    ((seen, block),) = found.by_block
    assert (seen, block.value) == (3, pytest.approx(found.difference.value))
    assert not found.learned  # less than a bit is saved


def test_the_factor_may_change_between_blocks(monkeypatch: pytest.MonkeyPatch):
    """Factors 0 and 1, leads log 3 and then -log 3 by another fit.

    P(first) = 5/8 leaves weights 2/5 and 3/5; a quarter of them is spread: 17/40 and 23/40. So
    P(second) = 17/40 1/2 + 23/40 1/4 = 57/160.
    """
    monkeypatch.setattr(mixture, "FACTORS", np.array([0.0, 1.0]))
    fits = [
        fit(who, count, [lead])
        for who in BOTH
        for count, lead in ((1, math.log(3)), (2, -math.log(3)))
    ]
    found = code(evidence(fits))
    assert found.coded == 3
    assert found.verifier.value == pytest.approx(1 - math.log2(5 / 8) - math.log2(57 / 160))
    taught = temperatures(evidence(fits), "verifier")
    assert taught == {(0, 1): pytest.approx(3 / 5), (0, 2): pytest.approx(23 / 57)}


def test_early_fits_that_are_too_sure_do_not_spoil_later_ones():
    """64 labels at 50 times too large leads, then 640 that are right: the code recovers.

    Coded at factor 1 in hindsight, the second block costs 640 * entropy(1/4) bits; the mixture may
    take 5.33 bits more for changing its mind, and 1/64 is the first block's best factor.
    """
    sure, right = np.tile([50.0, 50, 50, -50], 16), np.tile([1, 1, 1, -1], 160) * math.log(3)
    fits = [fit(who, 64, sure) for who in BOTH] + [fit(who, 128, right) for who in BOTH]
    fits += [fit(who, 768) for who in BOTH]
    entropy = 0.25 * 2 + 0.75 * math.log2(4 / 3)
    saved = lengths(evidence(fits))["verifier"].saved_OBP.sum(axis=2)[0]
    assert 640 * (1 - entropy) - 5.33 <= saved[2] <= 640 * (1 - entropy)
    taught = temperatures(evidence(fits), "verifier")
    assert taught[0, 64] < 0.05
    assert taught[0, 128] == taught[0, 768] == pytest.approx(1, abs=0.05)


def test_without_laws_all_counts_as_learning():
    found = code(two_blocks([0, 1]))
    assert found.misfit.value == 0
    assert found.misfit.low is None
    assert found.learning.value == pytest.approx(found.difference.value)


def test_one_order_has_no_interval():
    found = code(two_blocks())
    assert found.difference.low is None
    assert found.learning.low is None


def test_temperature_is_that_of_the_following_labels():
    """Leads ten times too large, 400 of them, right 3 times in 4 at lead 10 log 3: factor 1/10."""
    leads = np.tile([1, 1, 1, -1], 100) * 10 * math.log(3)
    fits = [fit(who, 100, leads) for who in BOTH]
    assert 1 / 16 <= coding_temperature(evidence(fits), "verifier") <= 1 / 8
    assert coding_temperature(evidence([fit("verifier", 9, [0.0])]), "verifier") == pytest.approx(
        np.mean(mixture.FACTORS)
    )


def test_gaps_and_unpaired_fits_are_refused():
    gap = [fit(who, n, [1.0]) for who in BOTH for n in (3, 5)]
    with pytest.raises(InputError, match="must follow one another"):
        code(evidence(gap))
    unlike = [fit("verifier", 3, [1.0]), fit("generator", 3, [1.0], following_prompts=(7,))]
    with pytest.raises(InputError, match="same pairs"):
        code(evidence(unlike))
    with pytest.raises(InputError, match="two blocks"):
        code(evidence([fit(who, 3) for who in BOTH]))


def test_orders_of_different_depth_are_compared_on_what_all_have():
    deeper = [fit(who, 3, [1.0], order=1) for who in BOTH]
    deeper += [fit(who, 4, [1.0, 1.0], order=1) for who in BOTH]
    shallow = [fit(who, 3, [1.0], order=0) for who in BOTH]
    assert code(evidence(deeper + shallow)).coded == 4


# --- what is known of the truth ------------------------------------------------------------------


def test_difference_grows_by_half_a_parameter_per_doubling():
    """Maximum likelihood with d parameters that hold the truth: d / 2 nats a doubling.

    Rissanen's rate, exact as pairs grow; for a plug-in code on doubling blocks each block of n
    pairs is coded by a fit to n pairs at d / (2 n) nats a pair above the truth. Twelve parameters
    against two: 5 nats a doubling. Over 40 independent data sets the mean of the last three
    doublings is compared with 5 by a t test at 1e-4 (the chance of a false alarm), which its
    standard error makes a test of 5 against less than 3.4 and more than 6.6.
    """
    truth = np.zeros(12)
    truth[:2] = 1.0, -0.5
    made = log_linear(
        truth,
        seen_by={"verifier": slice(0, 2), "generator": slice(0, 12)},
        counts=[256, 512, 1024, 2048],
        orders=40,
        test=1,
        rng=np.random.default_rng(0),
        fresh=True,
        clusters=64,
    )
    codes = lengths(made)
    apart_OB = (codes["verifier"].saved_OBP - codes["generator"].saved_OBP).sum(axis=2)
    nats_O = apart_OB[:, 1:].mean(axis=1) * math.log(2)
    error = nats_O.std(ddof=1) / math.sqrt(len(nats_O))
    assert abs(nats_O.mean() - 5) < scipy_stats.t.isf(0.5e-4, len(nats_O) - 1) * error
    assert error < 0.37
    assert all(map(learned, codes.values()))


def test_labels_of_coins_are_not_learned():
    """Twelve data sets of coin flips, two learners that fit noise: no alarm more than allowed.

    At the bound of 1/40 for each, 24 codes give 4 or more alarms with probability 0.3 %. No code is
    longer than a coin's by more than the grid's log2 10 bits and, once between its two blocks,
    -log2(3/4 + 1/4 1/10).
    """
    alarms = 0
    for seed in range(12):
        made = log_linear(
            np.zeros(6),
            seen_by={"verifier": slice(0, 2), "generator": slice(0, 6)},
            counts=[32, 64, 128],
            orders=3,
            test=1,
            rng=np.random.default_rng(seed),
            fresh=False,
            clusters=2,
        )
        for one in lengths(made).values():
            saved_O = one.saved_OBP.sum(axis=(1, 2))
            assert saved_O.min() >= -math.log2(10) - math.log2(1 / 0.775)
            alarms += learned(one)
    assert alarms <= 3


def test_learned_needs_more_than_one_lucky_order():
    """Three labels foreseen with certainty save 3 bits at most, which coins allow too often."""
    sure = [fit(who, 1, [60.0] * 8, order=o) for who in BOTH for o in range(3)]
    few = [fit(who, 1, [60.0] * 3, order=o) for who in BOTH for o in range(3)]
    assert SURE_BITS == pytest.approx(math.log2(1 / 0.025))
    assert learned(lengths(evidence(sure))["verifier"])
    assert not learned(lengths(evidence(few))["verifier"])
