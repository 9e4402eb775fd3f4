"""Planning agrees with the intervals that it plans, and with textbook power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from allroads import stats
from allroads.errors import InputError
from allroads.lab.study.measured import measured
from allroads.lab.study.power import Components, detectable_effect, precision, provable_margin
from tests.lab.study import known


def t_test(variance: float) -> Components:
    return Components(seed=variance, prompt=0.0, residual=0.0, prompts=1)


def test_components_by_hand():
    # The table of tests/test_stats.py: MS_seed 24 = 3 seed + residual, MS_prompt 14 = 2 prompt +
    # residual, MS_residual 2 = residual.
    part = Components.of([[0, 2, 4], [2, 8, 8]])
    assert part is not None
    assert (part.seed, part.prompt, part.residual) == pytest.approx((22 / 3, 6, 2))
    # Var(mean) = seed / S + prompt / P + residual / (S P); with 2 seeds it is 6.
    assert part.variance([2, 4]) == pytest.approx([6, 22 / 12 + 2 + 2 / 12])
    assert Components.of([[1.0, 2.0]]) is None


@pytest.mark.parametrize("shape", [(2, 5), (5, 40), (4, 1)])
def test_the_plan_for_the_present_seeds_is_the_present_interval(shape: tuple[int, int]):
    seeds, prompts = shape
    values = known.draw(
        np.random.default_rng(3), mean=1, seed=3, prompt=4, residual=1, seeds=seeds, prompts=prompts
    )
    estimate = measured(values)
    error, df = precision(estimate.parts, seeds)
    assert float(error) == pytest.approx(estimate.standard_error)
    assert float(df) == pytest.approx(estimate.df)


def test_a_component_below_zero_counts_as_zero_as_in_the_interval():
    part = Components.of([[1, -1], [-1, 1]])  # pure interaction, mean square 4
    assert part == Components(seed=0.0, prompt=0.0, residual=4.0, prompts=2)
    assert float(part.variance(2)) == stats.two_way_mean([[1, -1], [-1, 1]]).standard_error ** 2


def test_parts_add_with_the_degrees_of_welch():
    # Variances 1/4 + 4/4; degrees (5/4)^2 / ((1/4)^2 / 3 + 1 / 3) = 75/17.
    error, df = precision((t_test(1), t_test(4)), 4)
    assert float(error) == pytest.approx(math.sqrt(5 / 4))
    assert float(df) == pytest.approx(75 / 17)


def test_the_detectable_effect_has_its_power_in_the_noncentral_t():
    effect = detectable_effect((t_test(2.0),), 5, power=0.8)
    noncentrality = effect / math.sqrt(2.0 / 5)
    critical = scipy_stats.t(4).ppf(0.975)
    assert scipy_stats.nct(4, noncentrality).sf(critical) == pytest.approx(0.8, abs=1e-6)


def test_many_seeds_detect_as_the_normal_does():
    effect = detectable_effect((t_test(1.0),), 10_000)
    assert effect == pytest.approx((1.95996 + 0.84162) / 100, rel=1e-3)


def test_what_prompts_hide_no_seed_shows():
    part = Components(seed=0.0, prompt=1.0, residual=0.0, prompts=100)
    few, many = (detectable_effect((part,), n) for n in (3, 1000))
    assert few == pytest.approx(many)
    assert few == pytest.approx(2.83 / 10, rel=0.01)  # t with 99 degrees: 1.984 + 0.845


def test_power_of_crossed_designs_by_simulation():
    # 800 studies, standard deviation of the share .0141: +-.06 is 4.2 of them.
    rng = np.random.default_rng(11)
    part = Components(seed=0.04, prompt=0.25, residual=1.0, prompts=100)
    effect = detectable_effect((part,), 5)
    lows = [
        stats.two_way_mean(
            known.draw(rng, mean=effect, seed=0.2, prompt=0.5, residual=1, seeds=5, prompts=100)
        ).low
        for _ in range(800)
    ]
    assert np.mean([low > 0 for low in lows if low is not None]) == pytest.approx(0.8, abs=0.06)


def test_a_provable_margin_is_proved_as_often_as_it_says():
    # Many seeds, so that the standard error is known: P(|Z| < margin / error - z_.95) = .8.
    margin = provable_margin((t_test(1.0),), 10_000) * 100
    z = scipy_stats.norm
    assert z.cdf(margin - z.ppf(0.95)) - z.cdf(z.ppf(0.95) - margin) == pytest.approx(0.8, abs=1e-3)


def test_one_seed_plans_nothing():
    with pytest.raises(InputError, match="at least 2 seeds"):
        precision((t_test(1.0),), 1)
