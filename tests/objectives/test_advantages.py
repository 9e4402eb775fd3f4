"""Advantages against hand derivations and identities."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor

from allroads.objectives import (
    centred,
    generalised_advantages,
    leave_one_out,
    less_others_of_round,
    standardised,
    whitened,
)


def matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def right_padded(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def random(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# Groups -----------------------------------------------------------------------------------------


def test_centred_by_hand():
    # The mean of 1, 2, 6 is 3.
    assert centred(matrix([1.0, 2.0, 6.0])).tolist() == [[-2.0, -1.0, 3.0]]


def test_centred_is_a_fixed_share_of_leave_one_out():
    # r - (sum - r) / (k - 1) = k / (k - 1) * (r - mean).
    reward = random(0, 5, 4)
    torch.testing.assert_close(centred(reward), 3 / 4 * leave_one_out(reward))


def test_standardised_by_hand():
    # Deviations -2, -1, 3 have squares that add up to 14, over k - 1 = 2: deviation sqrt 7.
    found = standardised(matrix([1.0, 2.0, 6.0]), epsilon=0.0)
    torch.testing.assert_close(found, matrix([-2.0, -1.0, 3.0]) / math.sqrt(7))
    # Rewards of two completions always lie sqrt 2 apart; epsilon 1e-4 beside 7 sqrt(1/2).
    found = standardised(matrix([0.0, 7.0]))
    share = 3.5 / (7 * math.sqrt(0.5) + 1e-4)
    torch.testing.assert_close(found, matrix([-share, share]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 3, 7])
@pytest.mark.parametrize("epsilon", [1e-4, 1e-12])
def test_equal_rewards_and_groups_of_one_say_exactly_nothing(
    dtype: torch.dtype, k: int, epsilon: float
):
    reward = torch.tensor([0.1, -3.3, 1e6, 0.0], dtype=dtype)[:, None].expand(-1, k)
    for advantage in (centred(reward), standardised(reward, epsilon=epsilon)):
        assert advantage.tolist() == [[0.0] * k] * 4


# Round ------------------------------------------------------------------------------------------


def test_less_others_of_round_by_hand():
    # Others of 1: (2 + 3 + 6) / 3 = 11/3; of 2: 10/3; of 3: 3; of 6: 2.
    found = less_others_of_round(matrix([1.0, 2.0], [3.0, 6.0]))
    torch.testing.assert_close(found, matrix([-8 / 3, -4 / 3], [0.0, 4.0]))


def test_alone_in_a_round_the_baseline_is_zero():
    assert less_others_of_round(matrix([2.5])).tolist() == [[2.5]]


def test_one_group_is_a_round():
    reward = random(1, 1, 5)
    torch.testing.assert_close(less_others_of_round(reward), leave_one_out(reward))


# Generalised advantages -------------------------------------------------------------------------


def test_generalised_advantages_by_hand():
    # Values 1, 2, 3, rewards 0, 0, 5, lambda 1/2, gamma 1. Surprises: 0 + 2 - 1 = 1,
    # 0 + 3 - 2 = 1, 5 + 0 - 3 = 2. Advantages from the back: 2, 1 + 2/2 = 2, 1 + 2/2 = 2.
    # The second row ends after one token: 4 - 1 = 3.
    found = generalised_advantages(
        matrix([0.0, 0.0, 5.0], [4.0, 9.0, 9.0]),
        matrix([1.0, 2.0, 3.0], [1.0, 9.0, 9.0]),
        right_padded(3, 1),
        decay=0.5,
    )
    assert found.tolist() == [[2.0, 2.0, 2.0], [3.0, 0.0, 0.0]]


def test_generalised_advantages_with_discount_by_hand():
    # gamma 1/2: surprises 0 + 1/2 * 4 - 1 = 1 and 3 + 0 - 4 = -1; lambda 1/2 makes the first
    # advantage 1 + 1/4 * -1 = 3/4.
    found = generalised_advantages(
        matrix([0.0, 3.0]), matrix([1.0, 4.0]), right_padded(2), decay=0.5, discount=0.5
    )
    assert found.tolist() == [[0.75, -1.0]]


LENGTHS = (4, 1, 3)


def material(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    return random(seed, 3, 4), random(seed + 100, 3, 4), right_padded(*LENGTHS)


@pytest.mark.parametrize("seed", range(3))
def test_decay_one_telescopes_to_reward_to_go_less_value(seed: int):
    reward, value, mask = material(seed)
    found = generalised_advantages(reward, value, mask, decay=1.0)
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            to_go = reward[b, t:length].sum()
            torch.testing.assert_close(found[b, t], to_go - value[b, t])


@pytest.mark.parametrize("seed", range(3))
def test_decay_zero_is_one_step(seed: int):
    reward, value, mask = material(seed)
    found = generalised_advantages(reward, value, mask, decay=0.0, discount=0.9)
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            after = 0.9 * value[b, t + 1] if t + 1 < length else 0.0
            torch.testing.assert_close(found[b, t], reward[b, t] + after - value[b, t])


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.95, 1.0])
def test_a_perfect_critic_of_a_sure_reward_is_never_surprised(decay: float):
    value = matrix([5.0, 5.0, 5.0])
    reward = matrix([0.0, 0.0, 5.0])
    found = generalised_advantages(reward, value, right_padded(3), decay=decay)
    assert found.tolist() == [[0.0, 0.0, 0.0]]


def test_padding_neither_speaks_nor_is_spoken_of():
    reward, value, mask = material(7)
    clean = generalised_advantages(reward, value, mask, decay=0.7)
    dirty = generalised_advantages(
        reward.where(mask, math.nan), value.where(mask, math.inf), mask, decay=0.7
    )
    assert torch.equal(clean, dirty)
    assert not clean[~mask].any()


def test_generalised_advantages_carry_no_gradient():
    reward, value, mask = material(3)
    found = generalised_advantages(reward, value.requires_grad_(), mask, decay=0.9)
    assert not found.requires_grad


# Whitening --------------------------------------------------------------------------------------


def test_whitened_by_hand():
    # 1, 2, 3 and 6 have the mean 3 and the variance (4 + 1 + 0 + 9) / 4 = 7/2.
    found = whitened(
        matrix([1.0, 2.0, 100.0], [3.0, 6.0, math.nan]), right_padded(2, 2, 3)[:2], epsilon=0.0
    )
    torch.testing.assert_close(found, matrix([-2.0, -1.0, 0.0], [0.0, 3.0, 0.0]) / math.sqrt(3.5))


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 100))
def test_whitened_has_mean_zero_and_variance_one(lengths: list[int], seed: int):
    mask = right_padded(*lengths)
    valid = whitened(5 + 3 * random(seed, *mask.shape), mask, epsilon=0.0)[mask]
    assert valid.mean().item() == pytest.approx(0, abs=1e-9)
    assert valid.var(correction=0).item() == pytest.approx(1, abs=1e-9)


def test_a_single_token_whitened_is_zero():
    assert whitened(matrix([3.0, 9.0]), right_padded(1, 2)[:1]).tolist() == [[0.0, 0.0]]


def test_whitening_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one real token, but mask_BT has none"):
        whitened(matrix([3.0]), torch.zeros(1, 1, dtype=torch.bool))


# Shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: centred(torch.zeros(3)),
        lambda: standardised(torch.zeros(3)),
        lambda: less_others_of_round(torch.zeros(3)),
        lambda: generalised_advantages(
            torch.zeros(2, 3), torch.zeros(2, 4), right_padded(3, 2), decay=1.0
        ),
        lambda: whitened(torch.zeros(2, 3), torch.ones(2, 3)),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
