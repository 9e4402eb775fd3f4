"""Curves, their power laws and the ratio, on curves whose law is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from allroads.diagnosis import mixture, power_law
from allroads.diagnosis.code import code
from allroads.diagnosis.curves import capacities, curves
from allroads.diagnosis.laws import laws
from allroads.diagnosis.ratio import ratio
from allroads.evidence import Evidence, Learner
from allroads.records import Mean
from allroads.stats import Floats
from tests.diagnosis.made import evidence, fit, held_out

COUNTS = (100, 200, 400, 800, 1600)
Law = Callable[[float], float]


@pytest.fixture
def plain_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No temperature to learn: leads are log-odds. And fewer draws, for speed."""
    monkeypatch.setattr("allroads.diagnosis.laws.DRAWS", 300)
    monkeypatch.setattr(mixture, "FACTORS", np.array([1.0]))


def lead(bits: Floats) -> Floats:
    """The lead whose surprise is so many bits: -log(2^bits - 1)."""
    return -np.log(np.exp2(bits) - 1)


def power(limit: float, amplitude: float, exponent: float) -> Law:
    return lambda count: limit + amplitude * (count / COUNTS[-1]) ** -exponent


def following_law(
    verifier: Law,
    generator: Law,
    *,
    counts: tuple[int, ...] = COUNTS,
    orders: int = 2,
    pairs: int = 12,
    noise: float = 0.0,
    seed: int = 0,
    lone_last: bool = False,
) -> Evidence:
    """Held-out surprises that follow two laws, with noise by order, size and pair if wanted."""
    rng, fits = np.random.default_rng(seed), []
    laws_of: dict[Learner, Law] = {"verifier": verifier, "generator": generator}
    by_pair_P = noise * rng.standard_normal(pairs)
    for order, (learner, law) in itertools.product(range(orders), laws_of.items()):
        for count, end in zip(counts, [*counts[1:], counts[-1]], strict=True):
            if lone_last and order and count == counts[-1]:
                continue
            own_P = noise * rng.standard_normal(pairs)
            bits_P = law(count) + by_pair_P + own_P + noise / 3 * rng.standard_normal()
            block = np.full(end - count, 2.0)
            fits.append(
                fit(learner, count, block, order=order, test=tuple(lead(np.maximum(bits_P, 0.01))))
            )
    return evidence(fits, held_out=held_out(pairs))


def ends(mean: Mean) -> tuple[float, float]:
    assert mean.low is not None
    assert mean.high is not None
    return mean.low, mean.high


# --- the fit -------------------------------------------------------------------------------------


def test_exact_laws_are_found():
    exponents = power_law.EXPONENTS[[20, 40, 50]]
    made = [(0.3, 0.4, exponents[0]), (0.0, 0.8, exponents[1]), (0.9, 0.05, exponents[2])]
    nll_DK = np.array([[power(*one)(count) for count in COUNTS] for one in made])
    found = power_law.fit(COUNTS, nll_DK, np.ones(5))
    np.testing.assert_allclose(np.array(found[:3]).T, made, atol=1e-6)
    np.testing.assert_allclose(found.at(12800), [power(*one)(12800) for one in made], atol=1e-6)
    np.testing.assert_allclose(found.needed(found.at(3333)), 3333)


def test_no_law_within_the_bounds_is_closer():
    """Against a grid of limits and amplitudes, for curves of pure noise that need the bounds."""
    rng = np.random.default_rng(0)
    nll_DK, weights = rng.uniform(-0.4, 1.6, (40, 5)), rng.uniform(0.2, 2, 5)
    found = power_law.fit(COUNTS, nll_DK, weights)
    assert np.all((found.limit >= 0) & (found.limit <= 1) & (found.amplitude >= 0))

    def error(limit: Floats, amplitude: Floats, exponent: Floats) -> Floats:
        law = limit[:, None] + amplitude[:, None] * (np.array(COUNTS) / 1600) ** -exponent[:, None]
        return np.sum(weights * (nll_DK - law) ** 2, axis=1)

    best = error(*found[:3])
    for limit, amplitude, exponent in itertools.product(
        np.linspace(0, 1, 11), np.linspace(0, 1.2, 9), power_law.EXPONENTS[::12]
    ):
        tried = (np.full(40, value) for value in (limit, amplitude, exponent))
        assert np.all(best <= error(*tried) + 1e-12)


def test_a_level_that_is_never_reached_needs_endless_pairs():
    found = power_law.PowerLaw(np.array([0.5, 0.5, 0.5]), np.array([0.1, 0, 0]), np.ones(3), 100)
    np.testing.assert_array_equal(found.needed([0.4, 0.4, 0.6]), [np.inf, np.inf, 0])


# --- measured points -----------------------------------------------------------------------------


@pytest.mark.usefixtures("plain_leads")
def test_a_point_by_hand():
    """Leads of log 3, right three times in four: calibrated, at the entropy of 1/4."""
    test = tuple(math.log(3) * sign for sign in (1, 1, 1, -1))
    fits = [
        fit(who, n, [1.0] * (2 - n), order=order, test=test)
        for who, n, order in itertools.product(("verifier", "generator"), (1, 2), (0, 1))
    ]
    point = curves(evidence(fits, held_out=held_out(4)))[0].points[0]
    assert (point.count, point.nll.seeds, point.nll.prompts) == (1, 2, 4)
    assert point.nll.value == pytest.approx(0.75 * math.log2(4 / 3) + 0.25 * 2)
    assert point.accuracy.value == pytest.approx(0.75)
    assert point.calibration.value == pytest.approx(0)


@pytest.mark.usefixtures("plain_leads")
def test_two_sizes_have_no_law():
    made = following_law(power(0.3, 0.4, 0.5), power(0.3, 0.5, 0.5), counts=(100, 200))
    for curve in curves(made):
        assert not any(point.extrapolated for point in curve.points)
        assert ends(curve.limit) == (0, pytest.approx(curve.points[-1].nll.value))
    assert ratio(made) is None


@pytest.mark.usefixtures("plain_leads")
def test_ties_are_half_right():
    fits = [fit(who, 1, [1.0], test=(0.0, 1.0)) for who in ("verifier", "generator")]
    assert curves(evidence(fits))[0].points[0].accuracy.value == 0.75


def test_capacities_on_the_same_pairs_only():
    fits = [fit("verifier", 25, [1.0] * 25), fit("verifier", 50, [1.0] * 50), fit("verifier", 100)]
    fits += [fit("verifier", 50, [1.0] * 50, order=1), fit("generator", 50, [1.0] * 50)]
    assert capacities(evidence(fits, pairs=100)) == ()
    fits += [fit("verifier", 50, capacity="head"), fit("generator", 25, capacity="rank 4")]
    found = capacities(evidence(fits, pairs=100))
    assert [(one.learner, one.capacity, one.count, one.nll.seeds) for one in found] == [
        ("verifier", "head", 50, 1),
        ("verifier", "full", 50, 1),
        ("generator", "full", 50, 1),
    ]


# --- extrapolation -------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain_leads")
def test_extrapolation_follows_the_law():
    law = power(0.3, 0.3, float(power_law.EXPONENTS[40]))
    curve = curves(following_law(law, law))[0]
    ahead = [point for point in curve.points if point.extrapolated]
    assert [point.count for point in ahead] == [3200, 6400, 12800]
    assert [point.nll.value for point in ahead] == pytest.approx([law(p.count) for p in ahead])
    assert curve.limit.value == pytest.approx(0.3, abs=1e-3)
    assert ahead[0].accuracy.low is None


@pytest.mark.usefixtures("plain_leads")
def test_intervals_widen_and_hold_the_truth():
    """Nominal 95 %. Of 20 data sets at least 15 at 8 times the data: 3e-4 to fail at 95 %."""
    law, held, widths = power(0.4, 0.25, 0.5), 0, []
    for seed in range(20):
        made = following_law(law, law, orders=4, noise=0.06, seed=seed)
        found = laws(made)
        assert found is not None
        spread = [np.quantile(found["verifier"].at(n), (0.025, 0.975)) for n in (1600, 3200, 12800)]
        held += spread[-1][0] <= law(12800) <= spread[-1][1]
        widths.append([high - low for low, high in spread])
    assert held >= 15
    now, soon, far = np.mean(widths, axis=0)
    assert now < soon < far < 0.4


@pytest.mark.usefixtures("plain_leads")
def test_a_lone_fit_to_all_pairs_borrows_the_spread_of_others():
    made = following_law(
        power(0.4, 0.25, 0.5), power(0.4, 0.3, 0.5), orders=3, noise=0.02, lone_last=True
    )
    curve = curves(made)[0]
    assert curve.points[4].nll.seeds == 1
    assert curve.points[4].nll.low is None
    low, high = ends(curve.points[5].nll)
    assert 0 < high - low < 0.3


@pytest.mark.usefixtures("plain_leads")
def test_one_order_has_no_intervals():
    made = following_law(power(0.4, 0.25, 0.5), power(0.4, 0.3, 0.5), orders=1)
    assert curves(made)[0].limit.low is None
    found = ratio(made)
    assert found is not None
    assert found.low is None


# --- both learners -------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain_leads")
def test_a_generator_that_needs_three_times_the_pairs():
    verifier = power(0.3, 0.3, float(power_law.EXPONENTS[40]))
    found = ratio(following_law(verifier, lambda count: verifier(count / 3)))
    back = ratio(following_law(lambda count: verifier(count / 3), verifier))
    assert found is not None
    assert back is not None
    assert found.value == pytest.approx(3, rel=1e-3)
    assert back.value == pytest.approx(1 / 3, rel=1e-3)


@pytest.mark.usefixtures("plain_leads")
def test_beyond_64_times_there_is_no_ratio():
    verifier = power(0.3, 0.3, 1.0)
    assert ratio(following_law(verifier, power(0.7, 0.1, 1.0))) is None


@pytest.mark.usefixtures("plain_leads")
def test_equal_learners_need_equal_pairs():
    """Equal curves but for the noise of orders and fits: the ratio's interval holds 1."""
    law = power(0.4, 0.25, 0.5)
    found = ratio(following_law(law, law, orders=4, noise=0.03, pairs=40))
    assert found is not None
    low, high = ends(found)
    assert low < 1 < high


@pytest.mark.usefixtures("plain_leads")
def test_misfit_is_what_the_limits_leave():
    """Limits .3 and .4: a tenth of a bit for each of 1,600 pairs, and the rest is learning."""
    exponent = float(power_law.EXPONENTS[40])
    found = code(following_law(power(0.3, 0.3, exponent), power(0.4, 0.3, exponent)))
    assert found.misfit.value == pytest.approx(160, abs=1)
    assert found.difference.value == 0  # both code the following blocks alike here
    assert found.learning.value == pytest.approx(-found.misfit.value)
