"""Clipped losses of policy and critic, and regression of rewards, by hand and by identity."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor

from allroads.objectives import (
    clipped_policy_gradient,
    clipped_value_loss,
    importance_weighted_policy_gradient,
    rebel_loss,
)
from tests.objectives.test_objectives import vector


def slope(loss: Tensor, x: Tensor) -> list[float]:
    return torch.autograd.grad(loss.sum(), x)[0].tolist()


# Clipped policy gradient ------------------------------------------------------------------------


def test_at_ratio_one_the_clipped_gradient_is_reinforce():
    logprob = vector(-1.0, -2.0, -4.0).requires_grad_()
    behaviour = logprob.detach().clone().requires_grad_()
    advantage = vector(3.0, -1.0, 0.0).requires_grad_()
    loss = clipped_policy_gradient(logprob, behaviour, advantage, clip=0.2)
    assert loss.tolist() == [-3.0, 1.0, 0.0]
    loss.sum().backward()
    assert logprob.grad is not None
    assert logprob.grad.tolist() == [-3.0, 1.0, 0.0]
    assert behaviour.grad is None
    assert advantage.grad is None


def test_the_clip_by_hand():
    # Ratios 2, 1/2, 2, 1/2 with advantages 1, 1, -1, -1 and clip 1/4. Good and already likelier
    # than 5/4: counts as 5/4, no slope. Good and less likely: the ratio itself. Bad and likelier:
    # the ratio itself. Bad and already below 3/4: counts as 3/4, no slope.
    logprob = vector(0.0, -math.log(4), 0.0, -math.log(4)).requires_grad_()
    behaviour = torch.full((4,), -math.log(2), dtype=torch.float64)
    advantage = vector(1.0, 1.0, -1.0, -1.0)
    loss = clipped_policy_gradient(logprob, behaviour, advantage, clip=0.25)
    torch.testing.assert_close(loss, vector(-1.25, -0.5, 2.0, 0.75))
    # d ratio / d logprob = ratio.
    assert slope(loss, logprob) == pytest.approx([0.0, -0.5, 2.0, 0.0])


@given(log_ratio=st.floats(-0.2, 0.18), advantage=st.floats(-5, 5))
def test_inside_the_interval_nothing_is_clipped(log_ratio: float, advantage: float):
    # exp(-0.2) = 0.819 and exp(0.18) = 1.197 lie in [0.8, 1.2].
    x, zero, a = vector(log_ratio), vector(0.0), vector(advantage)
    plain = importance_weighted_policy_gradient(x[None], zero[None], a[None])
    torch.testing.assert_close(clipped_policy_gradient(x, zero, a, clip=0.2), plain)


# Clipped value loss -----------------------------------------------------------------------------


def test_the_value_clip_by_hand():
    # From 0 towards the return 2, at most 1/2 a step. At 1/4: half of (7/4)^2. At 1: counts as at
    # 1/2, half of (3/2)^2, no slope. At 5, beyond the return: its own error 3 is larger, half of 9.
    # At -1, the wrong way: its own error 3 is larger.
    value = vector(0.25, 1.0, 5.0, -1.0).requires_grad_()
    before, returns = vector(0.0, 0.0, 0.0, 0.0), vector(2.0, 2.0, 2.0, 2.0)
    loss = clipped_value_loss(value, before, returns, clip=0.5)
    assert loss.tolist() == [49 / 32, 9 / 8, 9 / 2, 9 / 2]
    # Two equal branches at 1/4 share the slope V - R; outside it is V - R or nothing.
    assert slope(loss, value) == [-1.75, 0.0, 3.0, -3.0]


def test_without_a_clip_it_is_half_the_squared_error():
    loss = clipped_value_loss(vector(7.0), vector(-100.0), vector(4.0), clip=math.inf)
    assert loss.tolist() == [4.5]


def test_only_the_value_carries_gradient():
    value, before, returns = (vector(x).requires_grad_() for x in (1.0, 2.0, 3.0))
    clipped_value_loss(value, before, returns, clip=5.0).sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [-2.0]
    assert before.grad is None
    assert returns.grad is None


# Regression of rewards --------------------------------------------------------------------------


def test_rebel_of_a_pair_by_hand():
    # Log ratios 1 and 0 at eta 1/2 imply rewards 2 apart; the rewards are 3 - 0 apart: (2 - 3)^2.
    # Slope of (2 (a - b) - 3)^2 in a is 2 * 2 * -1, in b the other way.
    log_ratio = vector(1.0, 0.0)[None].requires_grad_()
    reward = vector(3.0, 0.0)[None].requires_grad_()
    loss = rebel_loss(log_ratio, reward, eta=0.5)
    torch.testing.assert_close(loss, vector(1.0))
    loss.sum().backward()
    torch.testing.assert_close(log_ratio.grad, vector(-4.0, 4.0)[None])
    assert reward.grad is None


def test_rebel_of_three_is_the_mean_over_the_three_pairs():
    # At eta 1 what is left is 0, 1, 3: squares of differences 1, 9, 4.
    log_ratio, reward = vector(1.0, 1.0, 2.0)[None], vector(1.0, 0.0, -1.0)[None]
    torch.testing.assert_close(rebel_loss(log_ratio, reward, eta=1.0), vector(14 / 3))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=5), st.floats(0.1, 3), st.floats(-100, 100))
def test_rebel_is_zero_where_log_ratio_over_eta_is_the_reward(
    rewards: list[float], eta: float, constant: float
):
    reward = vector(*rewards)[None]
    loss = rebel_loss(eta * (reward + constant), reward, eta=eta)
    assert loss.item() == pytest.approx(0, abs=1e-20)


def test_rebel_is_zero_only_there():
    # Every pair adds the square of what it lacks, so one wrong completion is seen.
    reward = vector(0.0, 1.0, 2.0)[None]
    for i, wrong in itertools.product(range(3), (-0.1, 0.1)):
        log_ratio = reward.clone()
        log_ratio[0, i] += wrong
        # Two of three pairs are wrong by a tenth.
        torch.testing.assert_close(rebel_loss(log_ratio, reward, eta=1.0), vector(0.02 / 3))


@pytest.mark.parametrize("k", [0, 1])
def test_a_group_without_a_pair_is_refused(k: int):
    with pytest.raises(ValueError, match=f"at least 2 completions in a group, got {k}"):
        rebel_loss(torch.zeros(3, k), torch.zeros(3, k), eta=1.0)


# Shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: clipped_policy_gradient(torch.zeros(3), torch.zeros(3), torch.zeros(1), clip=0.2),
        lambda: clipped_value_loss(torch.zeros(3), torch.zeros(1), torch.zeros(3), clip=0.2),
        lambda: rebel_loss(torch.zeros(2, 3), torch.zeros(2, 1), eta=1.0),
    ],
)
def test_shapes_that_torch_would_broadcast_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
