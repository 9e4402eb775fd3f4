"""Best-of-N against enumeration and identities; who may grade; where a curve bends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from allroads.diagnosis.fresh import against_fresh
from allroads.diagnosis.headroom import bends, headroom
from allroads.errors import InputError
from allroads.evidence import Evidence, Pool
from tests.diagnosis.made import evidence, held_out, pool

Rows = tuple[tuple[float, ...], ...]


def graded(offline: Pool | None = None, **grades: Rows) -> Evidence:
    prompts, samples = len(grades["verifier"]), len(grades["verifier"][0])
    return evidence(
        held_out=held_out(prompts), start=pool(prompts, samples, grades=grades), offline=offline
    )


@pytest.mark.parametrize("scores", [[3, 1, 2, 5, 4], [1, 1, 2, 2, 2], [0, 0, 0, 0, 0]])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_choice_against_a_fresh_sample_enumerated(scores: list[float], n: int):
    expected = np.zeros((5, 5))
    for drawn in itertools.combinations(range(5), n):
        best = [i for i in drawn if scores[i] == max(scores[k] for k in drawn)]
        for i, j in itertools.product(best, set(range(5)) - set(drawn)):
            expected[i, j] += 1 / len(best) / (5 - n)
    np.testing.assert_allclose(against_fresh(scores, n), expected / expected.sum(), atol=1e-15)


def test_nothing_fresh_is_left_of_the_whole_pool():
    with pytest.raises(InputError, match="n must lie between 1 and 3"):
        against_fresh([1, 2, 3, 4], 4)


ORDERED: Rows = (tuple(map(float, range(16))), tuple(float(7 * k % 16) for k in range(16)))


def test_a_perfect_a_blind_and_a_perverse_chooser():
    """The best of n + 1 equals is any of them: n / (n + 1), one half, and 1 / (n + 1)."""
    perverse: Rows = tuple(tuple(-x for x in row) for row in ORDERED)
    found = headroom(graded(truth=ORDERED, verifier=ORDERED, generator=perverse))
    blind = headroom(graded(truth=ORDERED, verifier=((0.0,) * 16,) * 2, generator=ORDERED))
    assert found is not None
    assert blind is not None
    assert [(point.by, point.n) for point in found.points] == [
        (who, n) for who in ("verifier", "generator") for n in (2, 4, 8)
    ]
    for point in found.points:
        n = point.n
        expected = n / (n + 1) if point.by == "verifier" else 1 / (n + 1)
        assert point.over_start.value == pytest.approx(expected - 0.5)
        if point.by == "generator":
            assert point.over_generator is None
        else:
            assert point.over_generator is not None
            assert point.over_generator.value == pytest.approx((n - 1) / (n + 1))
    for point in blind.points[:3]:
        assert point.over_start.value == pytest.approx(0)
        assert point.kl.value == 0
        assert point.proxy.value == 0
    assert found.trusted
    assert found.grader_accuracy is None
    assert (found.offline, found.offline_kl, found.points[0].over_offline) == (None, None, None)


def test_over_the_offline_policy_by_hand():
    """Grades 1 to 4 against 2.5 and 4. The best of two is 2, 3, 4 in 1, 2, 3 of 6 draws.

    They beat 0, 1/2 and 1/2 + 1/4 of the offline samples: (2 / 2 + 3 * 3 / 4) / 6 = 13/24.
    Offline beats the start in (2 + 3.5) / 8 = 11/16. Its log-ratios are 1, 2; 3, 0: mean 3/2.
    """
    rows: Rows = ((1.0, 2.0, 3.0, 4.0),) * 2
    offline = pool(
        2,
        2,
        grades={"truth": ((2.5, 4.0), (4.0, 2.5))},
        logprob=((-3.0, -3.0), (-5.0, -1.0)),
        own_logprob=((-2.0, -1.0), (-2.0, -1.0)),
    )
    found = headroom(graded(offline, truth=rows, verifier=rows, generator=rows))
    assert found is not None
    over, offline_gain, kl = found.points[0].over_offline, found.offline, found.offline_kl
    assert over is not None
    assert offline_gain is not None
    assert kl is not None
    assert over.value == pytest.approx(13 / 24 - 0.5)
    assert offline_gain.value == pytest.approx(11 / 16 - 0.5)
    assert kl.value == pytest.approx(1.5)


def test_what_the_learner_thinks_of_its_choice():
    """Scores 0, 0, 1, 1: the best of two is 1 in 5 of 6 draws, 1/3 over the mean, deviation 1/2."""
    scores: Rows = ((0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 1.0, 0.0))
    found = headroom(graded(independent=((1.0,) * 4,) * 2, verifier=scores, generator=scores))
    assert found is not None
    assert found.points[0].proxy.value == pytest.approx(2 / 3)
    assert found.points[0].over_start.value == pytest.approx(0)  # all graded alike


def test_offline_samples_of_other_prompts_are_refused():
    rows: Rows = ((1.0, 2.0, 3.0, 4.0),) * 2
    for other in (pool(2, 2, pair=(1, 0), grades={"truth": ((1.0, 1.0),) * 2}), pool(2, 2)):
        with pytest.raises(InputError, match="the start pool's prompts"):
            headroom(graded(other, truth=rows, verifier=rows, generator=rows))


# --- who grades ----------------------------------------------------------------------------------


def test_no_learner_grades_itself():
    assert headroom(graded(verifier=ORDERED, generator=ORDERED)) is None


@pytest.mark.parametrize(("right", "trusted"), [(60, True), (42, False), (0, False)])
def test_an_independent_grader_must_beat_a_coin(right: int, trusted: bool):
    leads = tuple(1.0 if k < right else -1.0 for k in range(80))
    start = graded(independent=ORDERED, verifier=ORDERED, generator=ORDERED).start
    found = headroom(evidence(held_out=held_out(80), independent=leads, start=start))
    assert found is not None
    assert found.grader == "independent"
    assert found.grader_accuracy is not None
    assert found.grader_accuracy.value == right / 80
    assert found.trusted == trusted


def test_an_unchecked_grader_is_not_trusted():
    found = headroom(graded(independent=ORDERED, verifier=ORDERED, generator=ORDERED))
    assert found is not None
    assert not found.trusted


# --- where it bends ------------------------------------------------------------------------------


def test_a_curve_that_falls_and_one_that_rises():
    rng, names = np.random.default_rng(0), list(range(50))
    noise = 0.1 * rng.standard_normal((3, 50))
    falls = {n: mean + noise[k] for k, (n, mean) in enumerate({2: 0.1, 4: 0.3, 8: 0.0}.items())}
    rises = {n: mean + noise[k] for k, (n, mean) in enumerate({2: 0.1, 4: 0.2, 8: 0.3}.items())}
    assert bends(falls, names) == 4
    assert bends(rises, names) is None
    assert bends({2: noise[0]}, names) is None


def test_flat_curves_rarely_bend():
    """Four numbers without a difference, 150 times: at 2.5 % 12 or more alarms come 0.05 %."""
    rng, names = np.random.default_rng(1), list(range(25))
    alarms = 0
    for _ in range(150):
        shared = rng.standard_normal(25)
        gains = {2**k: shared + rng.standard_normal(25) for k in range(1, 5)}
        alarms += bends(gains, names) is not None
    assert alarms < 12
