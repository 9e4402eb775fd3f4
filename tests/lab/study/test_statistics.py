"""Statistics against hand derivations, identities and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from allroads import stats
from allroads.errors import ConfigError, InputError
from allroads.lab.study.measured import Need
from allroads.lab.study.statistics import (
    Accuracy,
    Difference,
    EqualKL,
    Interaction,
    Level,
    Nll,
    NoEstimate,
)
from tests.lab.study import known
from tests.lab.study.known import Given

SEEDS = (1000, 1001)
ZERO = np.zeros((2, 3))


def numbers(estimate: stats.Estimate) -> tuple[float | None, ...]:
    return estimate.value, estimate.low, estimate.high, estimate.standard_error, estimate.df


# --- levels, differences, interactions -----------------------------------------------------------


def test_levels_and_differences_are_two_way_means():
    a, b = [[0, 2, 4], [2, 8, 8]], [[1, 1, 1], [0, 1, 0]]
    cells = Given({("w", "a"): a, ("w", "b"): b})
    assert numbers(Level("w", "a").estimate(cells, SEEDS)) == numbers(stats.two_way_mean(a))
    paired = stats.paired_difference(a, b).estimate
    assert numbers(Difference("w", "a", "b").estimate(cells, SEEDS)) == numbers(paired)


def test_a_difference_in_differences_by_hand():
    # First gap (tests/test_stats.py): 4, variance 6, degrees 9604 / 5578. Second: the seeds' 0 and
    # 2 alike for both prompts: 1, MS_seed 4, variance 4 / 4 = 1, one degree of freedom.
    cells = Given(
        {
            ("long", "online"): [[0, 2, 4], [2, 8, 8]],
            ("long", "dpo"): ZERO,
            ("short", "online"): [[5, 5], [7, 7]],
            ("short", "dpo"): [[5, 5], [5, 5]],
        }
    )
    gap = Interaction(Difference("long", "online", "dpo"), Difference("short", "online", "dpo"))
    found = gap.estimate(cells, SEEDS)
    df = 7**2 / (6**2 * 5578 / 9604 + 1)
    low, high = scipy_stats.t(df, loc=3, scale=math.sqrt(7)).interval(0.95)
    assert numbers(found) == pytest.approx((3, low, high, math.sqrt(7), df))
    assert len(found.parts) == 2
    assert (
        gap.words
        == "(reward of online minus dpo on long) minus (reward of online minus dpo on short)"
    )


def test_in_one_variant_an_interaction_is_paired():
    # (a - b) - (c - b) = a - c, whatever b: unpaired, b's variance would count twice.
    rng = np.random.default_rng(0)
    cells = Given({("w", arm): rng.normal(size=(2, 6)) for arm in "abc"})
    both = Interaction(Difference("w", "a", "b"), Difference("w", "c", "b"))
    direct = Difference("w", "a", "c").estimate(cells, SEEDS)
    assert numbers(both.estimate(cells, SEEDS)) == pytest.approx(numbers(direct))
    assert both.needs == (("w", "a", "rewards"), ("w", "b", "rewards"), ("w", "c", "rewards"))


def test_interactions_of_unlike_gaps_are_refused():
    with pytest.raises(ConfigError, match="one kind, got Difference and Accuracy"):
        Interaction(Difference("w", "a", "b"), Accuracy("w", "a", "b"))
    with pytest.raises(ConfigError, match="two different gaps"):
        Interaction(Difference("w", "a", "b"), Difference("w", "a", "b"))


def test_cells_of_another_shape_or_with_holes_are_refused():
    cells = Given({("w", "a"): ZERO, ("w", "b"): ZERO[:, :2], ("w", "c"): [[0, math.nan], [0, 1]]})
    with pytest.raises(InputError, match="same prompts"):
        Difference("w", "a", "b").estimate(cells, SEEDS)
    with pytest.raises(InputError, match="for 3 seeds"):
        Level("w", "a").estimate(cells, (1, 2, 3))
    with pytest.raises(InputError, match="1 of 4 cells are NaN"):
        Level("w", "c").estimate(cells, SEEDS)


def test_one_seed_has_no_interval():
    cells = Given({(v, arm): [[1.0, 2.0]] for v in ("w", "x") for arm in "ab"})
    for statistic in (
        Level("w", "a"),
        Interaction(Difference("w", "a", "b"), Difference("x", "a", "b")),
    ):
        found = statistic.estimate(cells, (1000,))
        assert (found.low, found.standard_error, found.parts) == (None, None, ())


# --- equal KL ------------------------------------------------------------------------------------


def lines(shift: tuple[float, float] = (0, 0), prompts: int = 3) -> Given:
    """Arm a: reward 2 + KL/2 at KL 3, 1; b: 1 + KL/4 at KL 2, 6; a's reward shifted by seed."""

    def both(value: float, more: tuple[float, float] = (0, 0)) -> np.ndarray:
        return np.array([[value + x] * prompts for x in more])

    return Given(
        {("w", "sft"): both(2)},
        {
            ("w", "a"): [(both(3), both(3.5, shift)), (both(1), both(2.5, shift))],
            ("w", "b"): [(both(2), both(1.5)), (both(6), both(2.5))],
            ("w", "far"): [(both(10), both(1.5)), (both(30), both(2.5))],
        },
    )


def test_two_straight_frontiers_by_hand():
    # Both have been at KL 2 to 3; there the difference is 1 + KL/4, on average 1 + 2.5/4.
    assert EqualKL("w", "a", "b").estimate(lines(), SEEDS).value == pytest.approx(1.625)
    assert EqualKL("w", "b", "a").estimate(lines(), SEEDS).value == pytest.approx(-1.625)


def test_the_interval_at_equal_kl_is_over_seeds_where_prompts_agree():
    found = EqualKL("w", "a", "b").estimate(lines((0.0, 1.0)), SEEDS)
    assert numbers(found) == pytest.approx(numbers(stats.seed_mean([1.625, 2.625])))


def test_a_start_extends_both_frontiers_to_zero():
    # From KL 1, where a begins. On [1, 2] b is on the chord from (0, 2) to (2, 1.5): a - b is
    # 3/4 KL, mean 1.125; on [2, 3] it is 1.625 as before.
    found = EqualKL("w", "a", "b", start="sft").estimate(lines(), SEEDS)
    assert found.value == pytest.approx((1.125 + 1.625) / 2)
    # Against 'far', all of a's range is on the chord 2 - KL/20: a - far = 0.55 KL on [1, 3].
    far = EqualKL("w", "a", "far", start="sft")
    assert far.estimate(lines(), SEEDS).value == pytest.approx(1.1)
    assert far.needs[-1] == Need("w", "sft", "rewards")


def test_frontiers_that_do_not_meet_have_no_estimate():
    with pytest.raises(NoEstimate, match="no common KL in seed 1000, whose settings span 1 to 3"):
        EqualKL("w", "a", "far").estimate(lines(), SEEDS)
    with pytest.raises(NoEstimate, match="none has no finished setting"):
        EqualKL("w", "a", "none").estimate(lines(), SEEDS)


def test_where_kl_is_the_same_for_all_prompts_each_prompt_has_its_own_difference():
    # Then the seed's value is linear in the rewards, and a jackknife value is the prompt's value.
    rng = np.random.default_rng(4)
    kl = [np.full((2, 5), k) for k in (1.0, 2.0, 4.0)]
    rewards = {arm: [rng.normal(size=(2, 5)) for _ in kl] for arm in "ab"}
    cells = Given(points={("w", arm): list(zip(kl, rewards[arm], strict=True)) for arm in "ab"})
    a, b = (np.array(rewards[arm]) for arm in "ab")
    first, last = (a - b)[:2].mean(axis=0), (a - b)[1:].mean(axis=0)  # trapezia of width 1 and 2
    table = EqualKL("w", "a", "b").table(cells, SEEDS)
    assert table.values == pytest.approx((first + 2 * last) / 3)


def equal_kl_hits(studies: int, seeds: int, prompts: int) -> int:
    """Intervals that hold the truth where prompts move KL and reward together."""
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(studies):
        hard = rng.normal(size=prompts)  # a hard prompt moves less and gains less
        taste = rng.normal(size=prompts)  # what it gains from the arm more than from the baseline
        points = {}
        for arm, gain in (("a", 0.5), ("b", 0.3)):
            settings = []
            luck = 0.3 * rng.normal(size=(seeds, 1))
            for level in (2.0, 4.0, 8.0):
                kl = level * (1 - 0.2 * hard) + 0.3 * rng.normal(size=(seeds, prompts))
                reward = gain * level - hard + luck + (arm == "a") * taste
                settings.append((kl, reward + 0.5 * rng.normal(size=(seeds, prompts))))
            points["w", arm] = settings
        found = EqualKL("w", "a", "b").estimate(Given(points=points), range(seeds))
        # 0.2 KL on average over [2, 8].
        hits += found.low is not None and found.low <= 1.0 <= (found.high or 0.0)
    return hits


@pytest.mark.slow  # 400 jackknifes
def test_the_interval_at_equal_kl_covers():
    # Nominal .95; standard deviation of the share .011 at .95: .91 is 3.7 of them below.
    assert equal_kl_hits(400, 5, 20) / 400 >= 0.91


# --- held-out pairs ------------------------------------------------------------------------------

PAIRS = {
    # Right or wrong: a 1, 1, 1 and b 0, 0, 1/2; then a 1, 1 and b 1, 0.
    ("w", "a", "test"): [([1, 1, 2], ["x", "x", "y"]), ([3, 3], ["y", "z"])],
    ("w", "b", "test"): [([-1, -1, 0], ["x", "x", "y"]), ([1, -1], ["y", "z"])],
}


def test_accuracy_by_hand():
    # Seed 1: differences 1, 1, 1/2, mean 5/6; deviations sum to 1/3 for x and -1/3 for y, times
    # 3 prompts over 3 pairs. Seed 2: 0, 1, mean 1/2; -1/2 for y, 1/2 for z, times 3/2.
    table = Accuracy("w", "a", "b").table(Given(pairs=PAIRS), SEEDS)
    assert table.prompts == ["x", "y", "z"]
    assert table.values == pytest.approx(np.array([[7 / 6, 1 / 2, 5 / 6], [1 / 2, -1 / 4, 5 / 4]]))
    assert table.values.mean(axis=1) == pytest.approx([5 / 6, 1 / 2])


def test_nll_by_hand():
    # -log sigmoid(log 3) = log 4/3, and log 2 for a scorer that says nothing.
    pairs = {
        ("w", "a", "paraphrased"): [([math.log(3)], ["x"])] * 2,
        ("w", "b", "paraphrased"): [([0], ["x"])] * 2,
    }
    statistic = Nll("w", "a", "b", on="paraphrased")
    assert statistic.estimate(Given(pairs=pairs), SEEDS).value == pytest.approx(math.log(2 / 3))
    assert statistic.needs[0] == Need("w", "a", "margins/paraphrased")


def test_scorers_must_grade_the_same_pairs():
    wrong = {**PAIRS, ("w", "b", "test"): [PAIRS["w", "b", "test"][0], ([1, -1], ["z", "y"])]}
    with pytest.raises(InputError, match="same pairs: seed 1001"):
        Accuracy("w", "a", "b").estimate(Given(pairs=wrong), SEEDS)


def test_paraphrases_of_other_prompts_are_paired_by_seed():
    # Each set's seed values differ by seed in the same way: their difference does not vary at all.
    pairs = {
        ("w", arm, on): [(2 * np.array(seed) * (arm == "a"), [f"{on}{k}" for k in range(2)])
                         for seed in ([1, 1], [1, -1])]
        for arm in "ab" for on in ("test", "paraphrased")
    }  # fmt: skip
    found = Interaction(
        Accuracy("w", "a", "b", on="paraphrased"), Accuracy("w", "a", "b", on="test")
    ).estimate(Given(pairs=pairs), SEEDS)
    assert found.value == pytest.approx(0)
    assert [found.parts[0].seed, found.prompts] == [0, 4]


def test_the_interval_over_pairs_covers():
    # Clusters of 1 to 5 pairs, other pairs for each seed, prompts that return; nominal .95.
    # Standard deviation of the share .0154 at .95 over 200 studies: .89 is 4 of them below.
    rng = np.random.default_rng(5)
    names = np.array([f"p{k}" for k in range(40)])
    hits = 0
    for _ in range(200):
        prompt, rows_a, rows_b = 0.7 * rng.normal(size=40), [], []
        for _ in range(5):
            of_pair = np.repeat(np.arange(40), rng.integers(1, 6, size=40))
            noise = rng.normal(size=(2, len(of_pair)))
            luck = 0.2 * rng.normal()
            rows_a.append((prompt[of_pair] + luck + noise[0], list(names[of_pair])))
            rows_b.append((noise[1], list(names[of_pair])))
        cells = Given(pairs={("w", "a", "test"): rows_a, ("w", "b", "test"): rows_b})
        found = Accuracy("w", "a", "b").estimate(cells, range(5))
        # Both margins are symmetric around 0: each scorer is right half of the time.
        hits += found.low is not None and found.low <= 0 <= (found.high or 0.0)
    assert hits / 200 >= 0.89


def test_the_interval_of_an_interaction_covers():
    # As above, .0126 over 300 studies and 4 of them below .95; three seeds and unequal
    # variances, where Welch is hardest pressed.
    rng = np.random.default_rng(6)
    gap = Interaction(Difference("w", "a", "b"), Difference("x", "a", "b"))
    hits = 0
    for _ in range(300):
        reward = {("w", "b"): np.zeros((3, 50)), ("x", "b"): np.zeros((3, 30))}
        for name, seed, prompts in (("w", 0.5, 50), ("x", 0.2, 30)):
            reward[name, "a"] = known.draw(
                rng, mean=1, seed=seed, prompt=0.5, residual=1, seeds=3, prompts=prompts
            )
        found = gap.estimate(Given(reward), range(3))
        hits += found.low is not None and found.low <= 0 <= (found.high or 0.0)
    assert hits / 300 >= 0.90
