"""The controlled win rate on simulated answers of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from allroads.errors import InputError
from allroads.evaluation.length_control import length_controlled

MANY = 20_000


def rate(wins: np.ndarray, differences: np.ndarray) -> float:
    values = length_controlled(wins, differences)
    assert values is not None
    assert values.shape == wins.shape
    return float(values.mean())


def lengths(mean: float, *, count: int = MANY, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(mean, 40.0, count))


def drawn(probability: np.ndarray | float, *, count: int = MANY, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).random(count) < probability).astype(float)


@pytest.mark.parametrize("mean", [-30.0, 0.0, 30.0])
def test_wins_by_length_alone_are_no_wins(mean: float):
    longer = lengths(mean)
    wins = drawn(expit(1.5 * np.tanh(longer / 50)))
    assert abs(wins.mean() - 0.5) > (0.1 if mean else -1)
    assert rate(wins, longer) == pytest.approx(0.5, abs=0.02)


def test_the_curve_itself_is_recovered():
    """Differences of a fixed root mean square, so that the model is the truth."""
    longer = lengths(30.0)
    scale = np.sqrt(np.mean(longer**2))
    wins = drawn(expit(0.8 + 1.5 * np.tanh(longer / scale)))
    assert wins.mean() > 0.75
    assert rate(wins, longer) == pytest.approx(expit(0.8), abs=0.01)  # standard error 0.004


@pytest.mark.parametrize("mean", [-30.0, 0.0, 30.0])
def test_a_gain_that_has_nothing_to_do_with_length_stays(mean: float):
    wins = drawn(0.7)
    assert rate(wins, lengths(mean)) == pytest.approx(0.7, abs=0.02)


def test_symmetry_by_hand():
    """Each win by +d is mirrored by a loss by -d: exactly one half, whatever the slope."""
    longer = np.array([1.0, 2.0, 5.0, -1.0, -2.0, -5.0])
    assert rate((longer > 0).astype(float), longer) == pytest.approx(0.5, abs=1e-6)
    assert rate((longer < 0).astype(float), longer) == pytest.approx(0.5, abs=1e-6)


def test_a_tie_is_half_a_win_and_half_a_loss():
    longer = lengths(10.0, count=50)
    ties = np.tile([1.0, 0.5], 25)
    halves = np.concatenate([np.ceil(ties), np.floor(ties)])
    # Each pair counted twice, a tie once each way; the prior weighs half as much then.
    assert rate(ties, longer) == pytest.approx(rate(halves, np.tile(longer, 2)), abs=0.005)
    assert rate(np.full(50, 0.5), longer) == pytest.approx(0.5, abs=1e-6)


def test_exchanging_the_two_sides_exchanges_wins_and_losses():
    longer = lengths(20.0, count=96)
    wins = drawn(expit(0.5 + longer / 60), count=96)
    assert rate(1 - wins, -longer) == pytest.approx(1 - rate(wins, longer), abs=1e-5)
    assert rate(wins, 7 * longer) == pytest.approx(rate(wins, longer), abs=1e-6)


@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_separable_data_stay_finite(mean: float):
    """A step at equal length has no gain; one run of 96 prompts places the step within 0.08."""
    steps = []
    for seed in range(50):
        longer = lengths(mean, count=96, seed=seed)
        values = length_controlled((longer > 0) + 0.5 * (longer == 0), longer)
        assert values is not None
        assert np.isfinite(values).all()
        steps.append(values.mean())
    assert np.mean(steps) == pytest.approx(0.5, abs=0.06)
    longer = lengths(mean, count=96)
    assert 0.98 < rate(np.ones(96), longer) < 1
    assert 0 < rate(np.zeros(96), longer) < 0.02


def test_without_a_difference_in_length_nothing_is_controlled():
    wins = drawn(0.6, count=40)
    values = length_controlled(wins, np.zeros(40))
    np.testing.assert_array_equal(values, wins)  # type: ignore[arg-type]
    assert length_controlled(wins, np.full(40, 3.0)) is None


@pytest.mark.parametrize("truth", [0.0, 0.8])
def test_the_values_carry_the_uncertainty(truth: float):
    """96 prompts, 600 runs: the t interval of the values holds the truth in 93 to 98 %."""
    inside = 0
    for seed in range(600):
        longer = lengths(20.0, count=96, seed=seed)
        scale = np.sqrt(np.mean(longer**2))
        wins = drawn(expit(truth + np.tanh(longer / scale)), count=96, seed=10_000 + seed)
        values = length_controlled(wins, longer)
        assert values is not None
        half = 1.985 * values.std(ddof=1) / np.sqrt(96)
        inside += abs(values.mean() - expit(truth)) <= half
    assert 0.93 <= inside / 600 <= 0.98


@pytest.mark.parametrize(
    ("wins", "differences"),
    [([1.0], [1.0, 2.0]), ([], []), ([1.5, 0.0], [1.0, 2.0]), ([1.0, 0.0], [np.nan, 1.0])],
)
def test_what_cannot_be_controlled_is_refused(wins: list[float], differences: list[float]):
    with pytest.raises(InputError, match="wins"):
        length_controlled(wins, differences)
