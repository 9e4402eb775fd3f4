"""Coverage, noise and horizon by hand, by enumeration, and at the bounds' extremes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import numpy as np
import pytest

from allroads.diagnoses import Curve, CurvePoint
from allroads.diagnosis.coverage import coverage
from allroads.diagnosis.horizon import explained, horizon
from allroads.diagnosis.noise import agreement, ceiling, noise
from allroads.errors import InputError
from allroads.records import Mean
from tests.diagnosis.made import evidence, held_out, pool


def values(means: Iterable[tuple[float, Mean]]) -> dict[float, float]:
    return {key: mean.value for key, mean in means}


# --- coverage ------------------------------------------------------------------------------------


def test_coverage_by_hand():
    """Two prompts, both with samples at -1, -2, -3, -4 nats a token, whatever their lengths.

    The chosen ones have -2.5 (two samples are less likely) and -4 (a tie: half a sample of four).
    """
    tokens = ((1, 2, 3, 4), (4, 3, 2, 1))
    logprob = tuple(tuple(-t * (k + 1.0) for k, t in enumerate(row)) for row in tokens)
    found = coverage(
        evidence(
            held_out=held_out(3, chosen_tokens=(10, 2, 1), chosen_logprob=(-40.0, -5.0, -1.0)),
            start=pool(2, 4, tokens=tokens, logprob=logprob, pair=(1, 0)),
        )
    )
    assert found.chosen.value == pytest.approx((-4 - 2.5 - 1) / 3)
    assert found.own.value == pytest.approx(-2.5)
    assert found.typical.value == pytest.approx((2 / 4 + 0.5 / 4) / 2)
    assert found.found == ()


def test_good_answers_by_the_truth():
    """One of four, and none: 1/4, 1/2, 1 among 1, 2, 4 samples of the first prompt."""
    truth = ((0.9, 1.0, 0.0, 0.0), (0.0, 0.9, 0.0, 0.0))
    start = pool(grades={"truth": truth, "independent": ((9.0,) * 4,) * 2})
    found = coverage(evidence(start=start)).found
    assert values(found) == pytest.approx({1: 1 / 8, 2: 1 / 4, 4: 1 / 2})


def test_good_answers_by_the_best_tenth():
    """Grades 0 to 19, the best two in the second prompt: 8 of its 10 miss both once in 45."""
    rows = tuple(tuple(10.0 * p + k for k in range(10)) for p in range(2))
    found = values(coverage(evidence(start=pool(2, 10, grades={"independent": rows}))).found)
    assert found[1] == pytest.approx(1 / 10)
    assert found[8] == pytest.approx((1 - 1 / 45) / 2)


def test_completions_without_tokens_are_refused():
    with pytest.raises(InputError, match="must have a token"):
        coverage(evidence(held_out=held_out(2, chosen_tokens=(0, 1))))


# --- noise ---------------------------------------------------------------------------------------


def test_agreement_by_hand():
    """2 of 2 agree; 1 and 1 never; of 3 and 1, 6 of the 12 ordered pairs of judgements do."""
    found = agreement([(2, 0), (1, 1), (3, 1)])
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.low is not None
    assert 0 < found.low < 0.5
    assert agreement([]) is None
    with pytest.raises(InputError, match="two judgements"):
        agreement([(1, 0)])


@pytest.mark.parametrize("judgements", [2, 3, 5])
def test_agreement_is_unbiased(judgements: int):
    """Over all outcomes of labels that say 'first' with 0.7, it is 0.7^2 + 0.3^2 on average."""
    expected = 0.0
    for first in range(judgements + 1):
        chance = math.comb(judgements, first) * 0.7**first * 0.3 ** (judgements - first)
        found = agreement([(first, judgements - first)])
        assert found is not None
        expected += chance * found.value
    assert expected == pytest.approx(0.58)


def test_labels_flipped_at_one_rate():
    """Flips of one in five: agreement .8^2 + .2^2 = .68, and nobody is right more than .8."""
    found = ceiling(Mean(value=0.68, low=0.5, high=1.0, seeds=1))
    assert (found.value, found.low, found.high) == (pytest.approx(0.8), 0.5, 1.0)


def test_bounds_hold_however_noise_is_spread():
    """Majorities q of pairs at random; coins and certainties meet one bound, one q the other."""
    rng = np.random.default_rng(0)
    spread = [rng.uniform(0.5, 1, size) for size in (1, 2, 3, 10)]
    for q in [*spread, np.array([0.5, 1.0]), np.array([0.5]), np.array([1.0])]:
        agreed = float(np.mean(q**2 + (1 - q) ** 2))
        found = ceiling(Mean(value=agreed, low=agreed, high=agreed, seeds=1))
        assert found.low is not None
        assert found.low - 1e-12 <= q.mean() <= found.value + 1e-7
    mixed = ceiling(Mean(value=0.75, low=0.75, high=0.75, seeds=1))
    assert mixed.low == np.mean([0.5, 1.0])


def test_agreement_below_chance_is_a_coin():
    assert ceiling(Mean(value=0.3, low=0.1, high=0.4, seeds=1)).value == 0.5


def curve(accuracy: float) -> Curve:
    def point(count: int, value: float, extrapolated: bool = False) -> CurvePoint:
        mean = Mean(value=value, seeds=2)
        return CurvePoint(
            count=count, nll=mean, accuracy=mean, calibration=mean, extrapolated=extrapolated
        )

    return Curve(
        learner="verifier",
        points=(point(1, 0.9), point(2, accuracy), point(4, 0.99, True)),
        limit=Mean(value=0, seeds=2),
        learned=True,
    )


def test_what_was_reached_and_shortcuts():
    lengths = {"length": (1.0, -1.0, 0.0, 2.0)}
    made = evidence(held_out=held_out(4, shortcuts=lengths), repeats=((1, 1), (2, 0)))
    found = noise(made, [curve(0.7), curve(0.6)])
    assert found.at_least.value == 0.7  # measured, at the last size
    assert found.repeats == 2
    assert found.ceiling is not None
    assert found.shortcuts["length"].value == 2.5 / 4
    bare = noise(evidence(), [curve(0.7)])
    assert (bare.agreement, bare.ceiling, bare.repeats, bare.shortcuts) == (None, None, 0, {})


# --- horizon -------------------------------------------------------------------------------------


def test_parts_that_say_nothing_explain_nothing():
    """Mean over all orders of four samples: exactly zero."""
    parts = np.array(list(itertools.permutations([1.0, 2.0, 3.0, 10.0])))
    assert explained(parts, np.tile([0.0, 1.0, 2.0, 3.0], (24, 1))).mean() == pytest.approx(0)


def test_explained_by_hand():
    """Ranks 1 2 3 4 against 2 1 3 4: correlation .8, so 1 - .36 * 3 / 2 = .46."""
    whole = [0.0, 1.0, 5.0, 9.0]
    parts = [[-9.0, -5.0, 0.0, 90.0], [4.0, 3.0, 2.0, 1.0], [1.0, 0.0, 3.0, 7.0], [2.0] * 4]
    found = explained(np.array(parts), np.array([whole] * 4))
    np.testing.assert_allclose(found, [1, 1, 0.46, 0])
    assert np.isnan(explained(np.array([whole]), np.zeros((1, 4)))).all()


def test_horizon_by_hand():
    rows = ((1.0, 2.0, 3.0, 4.0), (5.0, 5.0, 5.0, 5.0))
    early = ((2.0, 1.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0))
    start = pool(
        tokens=((1, 2, 3, 4), (5, 5, 5, 5)),
        finished=((True, True, True, False), (False,) * 4),
        entropy=((0.5, 0.7, 0.5, 0.7), (0.2,) * 4),
        prefixes={"1": rows, "0.5": early},
    )
    found = horizon(evidence(start=start))
    assert found.tokens.value == pytest.approx((2.5 + 5) / 2)
    assert found.finished.value == pytest.approx(3 / 8)
    assert found.entropy.value == pytest.approx(0.4)
    # The second prompt has nothing to decide.
    assert values(found.decided) == pytest.approx({0.5: 0.46, 1.0: 1.0})
    assert [part for part, _ in found.decided] == [0.5, 1.0]


def test_nothing_to_decide():
    assert horizon(evidence()).decided == ()
    same = {"0.5": ((1.0, 2.0, 3.0),) * 2, "1": ((1.0,) * 3,) * 2}
    assert horizon(evidence(start=pool(2, 3, prefixes=same))).decided == ()
    two = {"1": ((1.0, 2.0),) * 2}
    assert horizon(evidence(start=pool(2, 2, prefixes=two))).decided == ()
