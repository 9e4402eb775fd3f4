"""The mathematics against hand derivations, identities and sums over every leaf of a small tree."""

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
    bradley_terry_nll,
    implicit_reward,
    importance_weighted_policy_gradient,
    k1,
    k2,
    k3,
    leave_one_out,
    negative_log_likelihood,
    penalised_rewards,
)

VOCABULARY, DEPTH = 3, 2
LEAVES = list(itertools.product(range(VOCABULARY), repeat=DEPTH))
"""All completions of a tree in which every completion has two tokens out of three."""


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def tree(seed: int) -> tuple[Tensor, Tensor]:
    """Logits of the first token, and of the second one after each first."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((VOCABULARY,), (VOCABULARY, VOCABULARY))
    return tuple(  # type: ignore[return-value]
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    )


def leaf_logprobs(first: Tensor, second: Tensor) -> Tensor:
    """Log-probability of each of the nine leaves, by the chain rule."""
    a, b = first.log_softmax(-1), second.log_softmax(-1)
    return torch.stack([a[i] + b[i, j] for i, j in LEAVES])


# Preference losses ------------------------------------------------------------------------------


def test_bradley_terry_by_hand():
    # A lead of log 3 is odds of 3 to 1: p = 3/4, so the surprise is log(4/3). The other way round
    # it is log 4. A lead of 0 is a coin: log 2.
    better, worse = vector(math.log(3), 0.0, -7.0), vector(0.0, math.log(3), -7.0)
    expected = vector(math.log(4 / 3), math.log(4), math.log(2))
    torch.testing.assert_close(bradley_terry_nll(better, worse), expected)


def test_bradley_terry_survives_large_leads():
    # Far out the surprise of the wrong side is the lead itself, of the right side nothing.
    loss = bradley_terry_nll(vector(1000.0, -1000.0), vector(0.0, 0.0))
    assert loss.tolist() == [0.0, 1000.0]


@given(better=st.floats(-20, 20), worse=st.floats(-20, 20), offset=st.floats(-1000, 1000))
def test_only_the_difference_matters(better: float, worse: float, offset: float):
    plain = bradley_terry_nll(vector(better), vector(worse))
    shifted = bradley_terry_nll(vector(better + offset), vector(worse + offset))
    torch.testing.assert_close(plain, shifted, atol=1e-9, rtol=1e-9)


@given(lead=st.floats(-20, 20))
def test_both_labels_together_are_certain(lead: float):
    """exp(-surprise) of the two possible labels are probabilities that add up to one."""
    one, other = (bradley_terry_nll(vector(x), vector(0.0)) for x in (lead, -lead))
    torch.testing.assert_close(torch.exp(-one) + torch.exp(-other), vector(1.0))


def test_dpo_at_the_reference_is_a_coin():
    logprob = vector(-3.0, -17.5)
    better, worse = (implicit_reward(x, x, beta=0.3) for x in (logprob, logprob.flip(0)))
    expected = vector(math.log(2), math.log(2))
    torch.testing.assert_close(bradley_terry_nll(better, worse), expected)


def test_dpo_by_hand():
    # The chosen became twice as likely, the rejected half as likely: a log-ratio gap of log 4;
    # at beta 1/2 a lead of log 2, odds of 2 to 1, surprise log(3/2).
    better = implicit_reward(vector(math.log(0.2)), vector(math.log(0.1)), beta=0.5)
    worse = implicit_reward(vector(math.log(0.05)), vector(math.log(0.1)), beta=0.5)
    torch.testing.assert_close(bradley_terry_nll(better, worse), vector(math.log(3 / 2)))


def test_implicit_reward_without_a_reference_is_beta_times_the_logprob():
    logprob = vector(-2.0, -5.0)
    reward = implicit_reward(logprob, torch.zeros_like(logprob), beta=0.5)
    assert reward.tolist() == [-1.0, -2.5]


def test_the_reference_carries_no_gradient():
    policy, reference = vector(-2.0).requires_grad_(), vector(-1.0).requires_grad_()
    implicit_reward(policy, reference, beta=0.5).sum().backward()
    assert policy.grad is not None
    assert policy.grad.tolist() == [0.5]
    assert reference.grad is None


def test_bradley_terry_gradient_by_hand():
    # d/dlead of -log sigma(lead) = -(1 - sigma(lead)); at odds of 3 to 1 that is -1/4.
    better, worse = vector(math.log(3)).requires_grad_(), vector(0.0).requires_grad_()
    bradley_terry_nll(better, worse).sum().backward()
    torch.testing.assert_close(better.grad, vector(-0.25))
    torch.testing.assert_close(worse.grad, vector(0.25))


def test_likelihood_is_the_surprise():
    assert negative_log_likelihood(vector(-2.0, 0.0)).tolist() == [2.0, 0.0]


# KL estimators ----------------------------------------------------------------------------------


@pytest.fixture(params=range(3))
def two_trees(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities under policy and reference, and their KL by definition."""
    with torch.no_grad():
        policy = leaf_logprobs(*tree(2 * request.param))
        reference = leaf_logprobs(*tree(2 * request.param + 1))
    return (
        policy,
        reference,
        torch.nn.functional.kl_div(reference, policy, reduction="sum", log_target=True),
    )


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_are_unbiased(estimator, two_trees):
    policy, reference, kl = two_trees
    assert kl > 0.1
    torch.testing.assert_close((policy.exp() * estimator(policy, reference)).sum(), kl)


@pytest.mark.parametrize("step", [1e-2, 1e-3])
def test_k2_is_right_to_second_order_and_biased_in_the_third(step: float):
    # With reference = p + s d, sum d = 0, and x = s d / p: KL = sum p (x^2/2 - x^3/3 + ...), mean
    # of k2 = sum p (x^2/2 - x^3/2 + ...). So the bias is -s^3/6 sum d^3/p^2, and here that is
    # -s^3/6 (1/0.09 - 1/0.04) = s^3 125/54, while KL = s^2/2 (1/0.3 + 1/0.2) = s^2 25/6.
    p, d = vector(0.5, 0.3, 0.2), vector(0.0, 1.0, -1.0)
    policy, reference = p.log(), (p + step * d).log()
    kl = (p * (policy - reference)).sum().item()
    mean = (p * k2(policy, reference)).sum().item()
    assert kl == pytest.approx(step**2 * 25 / 6, rel=20 * step)
    assert mean - kl == pytest.approx(step**3 * 125 / 54, rel=20 * step)


def test_kl_estimators_by_hand():
    # Policy three times as likely as the reference: log ratio log 3, r = 1/3.
    policy, reference = vector(math.log(0.6)), vector(math.log(0.2))
    torch.testing.assert_close(k1(policy, reference), vector(math.log(3)))
    torch.testing.assert_close(k2(policy, reference), vector(math.log(3) ** 2 / 2))
    torch.testing.assert_close(k3(policy, reference), vector(1 / 3 - 1 + math.log(3)))


@given(log_ratio=st.floats(-20, 20))
def test_k2_and_k3_are_never_negative(log_ratio: float):
    for estimator in (k2, k3):
        assert estimator(vector(log_ratio), vector(0.0)).item() >= 0


# Policy gradient --------------------------------------------------------------------------------


@given(
    st.integers(2, 6).flatmap(
        lambda k: st.lists(
            st.lists(st.floats(-50, 50), min_size=k, max_size=k), min_size=1, max_size=4
        )
    )
)
def test_leave_one_out_is_the_reward_minus_the_mean_of_the_others(rewards: list[list[float]]):
    advantage = leave_one_out(torch.tensor(rewards, dtype=torch.float64))
    for group, row in zip(rewards, advantage.tolist(), strict=True):
        assert sum(row) == pytest.approx(0, abs=1e-9)
        for i, value in enumerate(row):
            others = group[:i] + group[i + 1 :]
            assert value == pytest.approx(group[i] - sum(others) / len(others), abs=1e-9)


def test_leave_one_out_by_hand():
    # 1 - (2+6)/2 = -3; 2 - (1+6)/2 = -1.5; 6 - (1+2)/2 = 4.5. A constant group says nothing.
    advantage = leave_one_out(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]]))
    assert advantage.tolist() == [[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("k", [0, 1])
def test_a_group_without_another_is_refused(k: int):
    with pytest.raises(ValueError, match=f"at least 2 completions in a group, got {k}"):
        leave_one_out(torch.zeros(3, k))


def test_penalised_rewards_by_hand():
    # One nat above the reference costs beta = 0.1; half a nat below it pays 0.05.
    reward = penalised_rewards(
        vector(1.0, 1.0)[None], vector(-2.0, -3.0)[None], vector(-3.0, -2.5)[None], beta=0.1
    )
    torch.testing.assert_close(reward, vector(0.9, 1.05)[None])


def test_on_policy_the_ratio_is_one_and_the_gradient_is_reinforce():
    logprob = torch.tensor([[-1.0, -2.0, -4.0]], dtype=torch.float64, requires_grad=True)
    behaviour = logprob.detach().clone().requires_grad_()
    advantage = vector(3.0, -1.0, -2.0)[None].requires_grad_()
    loss = importance_weighted_policy_gradient(logprob, behaviour, advantage)
    assert loss.tolist() == [0.0]
    loss.sum().backward()
    # -advantage / k
    torch.testing.assert_close(logprob.grad, vector(-1.0, 1 / 3, 2 / 3)[None])
    assert behaviour.grad is None
    assert advantage.grad is None


def test_off_policy_each_term_is_weighted_by_its_ratio():
    # Twice as likely as when it was written, with advantage 1; half as likely, with advantage -1.
    loss = importance_weighted_policy_gradient(
        vector(math.log(0.4), math.log(0.1))[None],
        vector(math.log(0.2), math.log(0.2))[None],
        vector(1.0, -1.0)[None],
    )
    torch.testing.assert_close(loss, vector(-(2 - 0.5) / 2))


@pytest.mark.parametrize(("k", "beta"), [(2, 0.0), (2, 0.7), (3, 0.7)])
def test_rloo_gradient_is_unbiased(k: int, beta: float):
    """Mean surrogate gradient over all groups = exact gradient of E[r] - beta KL(pi || ref)."""
    parameters = tree(0)
    with torch.no_grad():
        reference = leaf_logprobs(*tree(1))
    reward = torch.randn(
        len(LEAVES), generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    logprob = leaf_logprobs(*parameters)
    kl = (logprob.exp() * (logprob - reference)).sum()
    objective = (logprob.exp() * reward).sum() - beta * kl
    exact = torch.autograd.grad(objective, parameters, retain_graph=True)

    groups = torch.tensor(list(itertools.product(range(len(LEAVES)), repeat=k)))
    behaviour = logprob.detach()[groups]
    advantage = leave_one_out(
        penalised_rewards(reward[groups], behaviour, reference[groups], beta=beta)
    )
    surrogate = importance_weighted_policy_gradient(logprob[groups], behaviour, advantage)
    chance = behaviour.sum(dim=1).exp()
    torch.testing.assert_close(chance.sum(), vector(1.0)[0])
    mean = torch.autograd.grad((chance * surrogate).sum(), parameters)
    for a, b in zip(mean, exact, strict=True):
        assert b.abs().max() > 1e-2
        torch.testing.assert_close(a, -b, atol=1e-12, rtol=1e-9)


# Shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: bradley_terry_nll(torch.zeros(3), torch.zeros(1)),
        lambda: bradley_terry_nll(torch.zeros(3, 1), torch.zeros(3, 1)),
        lambda: implicit_reward(torch.zeros(3), torch.zeros(1), beta=1.0),
        lambda: k1(torch.zeros(3), torch.zeros(1)),
        lambda: k2(torch.zeros(2, 3), torch.zeros(2, 3)),
        lambda: k3(torch.zeros(3), torch.zeros(4)),
        lambda: negative_log_likelihood(torch.zeros(2, 3)),
        lambda: leave_one_out(torch.zeros(3)),
        lambda: penalised_rewards(
            torch.zeros(2, 3), torch.zeros(2, 1), torch.zeros(2, 3), beta=1.0
        ),
        lambda: importance_weighted_policy_gradient(
            torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1, 3)
        ),
        lambda: leave_one_out(torch.zeros(2, 3, dtype=torch.long)),
    ],
)
def test_shapes_and_types_that_torch_would_broadcast_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
