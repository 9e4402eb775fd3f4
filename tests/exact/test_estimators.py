"""Estimators of a policy gradient, summed over all groups: which are right, and by how much not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allroads.errors import InputError
from allroads.exact import (
    Tree,
    expectation,
    from_logits,
    leaf_logprobs,
)
from allroads.exact.estimators import (
    centred,
    clipped_weights,
    group_weights,
    lambda_returns,
    lambda_weights,
    leave_one_out,
    length_and_direction,
    less_group_mean,
    policy_gradient_weights,
    standardised,
)
from allroads.exact.example import example, with_end, without_end

seeds = st.integers(0, 10**6)


def made(seed: int, horizon: int = 1):
    e = example(Tree(vocabulary=3, horizon=horizon, rho=(0.4, 0.6), eos=0), seed)
    return e, e.log_pi, e.reward


@given(seed=seeds, k=st.integers(2, 5))
def test_the_mean_of_the_others_is_a_right_baseline(seed: int, k: int):
    _, log_pi, reward = made(seed)
    found = group_weights(log_pi, reward, k, leave_one_out)
    np.testing.assert_allclose(found, policy_gradient_weights(log_pi, reward), atol=1e-12)


@given(seed=seeds, k=st.integers(2, 5))
def test_the_groups_own_mean_shrinks_by_one_in_k(seed: int, k: int):
    _, log_pi, reward = made(seed)
    found = group_weights(log_pi, reward, k, less_group_mean)
    wanted = policy_gradient_weights(log_pi, reward)
    np.testing.assert_allclose(found, (k - 1) / k * wanted, atol=1e-12)


def test_standardising_two_rewards_keeps_only_who_won():
    # Of two different rewards the deviation is |a - b| / sqrt 2, so the advantages are +-1 / sqrt 2
    # whatever the rewards: stretching them changes nothing, which no reward gradient does.
    _, log_pi, reward = made(0, horizon=2)
    once = group_weights(log_pi, reward, 2, standardised)
    np.testing.assert_allclose(group_weights(log_pi, 7 * reward, 2, standardised), once)
    np.testing.assert_allclose(group_weights(log_pi, np.exp(reward), 2, standardised), once)
    chance = np.exp(log_pi)
    # Half of each group's two members, in both orders: chance(x) * (chance to win - to lose).
    wins = np.sign(reward[:, :, None] - reward[:, None, :]) * chance[:, None, :]
    np.testing.assert_allclose(once, chance * wins.sum(axis=2) / np.sqrt(2), atol=1e-12)


def test_standardising_makes_hard_and_easy_prompts_loud():
    # Success with probability p: the gradient of p has weight p (1 - p) on success. Standardised,
    # the two of k = 2 differ with probability 2 p (1 - p) and count 1/sqrt 2: the same shape. For
    # larger groups the weight falls more slowly as p leaves 1/2: louder by a factor that grows.
    p = np.array([0.5, 0.9, 0.99])
    log_pi, reward = np.log(np.stack([p, 1 - p], axis=1)), np.tile([1.0, 0.0], (3, 1))
    plain = policy_gradient_weights(log_pi, reward)[:, 0]
    np.testing.assert_allclose(plain, p * (1 - p))
    loud = {k: group_weights(log_pi, reward, k, standardised)[:, 0] / plain for k in (2, 8, 16)}
    np.testing.assert_allclose(loud[2], 1 / np.sqrt(2))
    for k in (8, 16):
        assert (np.diff(loud[k]) > 0).all()
    # In the limit the weight is sqrt(p (1 - p)): the gradient of 2 arcsin sqrt p.
    np.testing.assert_allclose(loud[16][0], 1 / np.sqrt(p[0] * (1 - p[0])), rtol=0.1)


def test_groups_of_equal_rewards_teach_nothing():
    _, log_pi, reward = made(0)
    for advantage in (leave_one_out, less_group_mean, standardised):
        found = group_weights(log_pi, np.full_like(reward, 0.1), 3, advantage)
        np.testing.assert_allclose(found, 0, atol=1e-15)


@given(seed=seeds)
def test_an_estimator_by_hand(seed: int):
    # One prompt, two completions, groups of two: (a, b) and (b, a) are the only ones that count.
    # Leave-one-out: A(a) = r_a - r_b; mean weight of a is 2 p q (r_a - r_b) / 2.
    rng = np.random.default_rng(seed)
    p, (r_a, r_b) = rng.uniform(0.1, 0.9), rng.standard_normal(2)
    log_pi, reward = np.log([[p, 1 - p]]), np.array([[r_a, r_b]])
    worth = p * (1 - p) * (r_a - r_b)
    found = group_weights(log_pi, reward, 2, leave_one_out)
    np.testing.assert_allclose(found, [[worth, -worth]], atol=1e-12)


def test_too_many_groups_are_refused():
    e = with_end()
    with pytest.raises(InputError, match="at most"):
        group_weights(e.log_pi, e.reward, 6, leave_one_out)


def test_clipping_is_silent_near_the_writer_and_biased_away_from_it():
    e = with_end()
    better = e.reward - expectation(e.log_pi, e.reward)[:, None]
    wanted = policy_gradient_weights(e.log_pi, e.reward)
    np.testing.assert_allclose(clipped_weights(e.log_pi, e.log_pi, better, clip=0.2), wanted)
    far = clipped_weights(e.log_pi, e.log_ref, better, clip=0.2)
    length, cosine = length_and_direction(centred(far, e.log_pi), wanted)
    assert length < 0.9
    assert cosine < 0.99
    # Without a limit the ratio makes another writer's samples right.
    np.testing.assert_allclose(clipped_weights(e.log_pi, e.log_ref, better, clip=1e9), wanted)


def test_clipping_by_hand():
    # Ratio 2 with a good completion, ratio 1/2 with a bad one: past 1 +- 0.2, so both stop.
    # The other two signs go on: they lead back.
    ratio = np.log([[2.0, 0.5, 2.0, 0.5]])
    behaviour = np.log(np.full((1, 4), 0.2))
    advantage = np.array([[1.0, -1.0, -1.0, 1.0]])
    found = clipped_weights(behaviour + ratio, behaviour, advantage, clip=0.2)
    np.testing.assert_allclose(found, [[0, 0, -0.4, 0.1]])


def exact_critic(e):
    """Value of each prefix: what the returns at lambda 1 are on average."""
    q = lambda_returns(e.tree, e.policy, e.reward, zero_critic(e), decay=1.0)
    return tuple(expectation(p, level) for p, level in zip(e.policy, q, strict=True))


def zero_critic(e):
    return tuple(np.zeros((e.tree.prompts, e.tree.nodes(h))) for h in range(e.tree.horizon))


@pytest.mark.parametrize("make", [with_end, without_end])
def test_lambda_one_forgets_its_critic_and_a_right_critic_forgives_lambda(make):
    e = make()
    q = lambda_returns(e.tree, e.policy, e.reward, zero_critic(e), decay=1.0)
    # By hand: Q of the last token is the reward.
    np.testing.assert_allclose(q[-1].reshape(2, -1)[:, -1], e.reward[:, -1])
    for decay in (0.0, 0.5, 0.95):
        found = lambda_returns(e.tree, e.policy, e.reward, exact_critic(e), decay=decay)
        for a, b in zip(found, q, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
        lazy = lambda_returns(e.tree, e.policy, e.reward, zero_critic(e), decay=decay)
        assert np.abs(lazy[0] - q[0]).max() > 1e-2


def test_token_weights_are_the_policy_gradient():
    """Derivative of E[r] by each logit, the slow way: a small step either way."""
    e = with_end(2)
    q = lambda_returns(e.tree, e.policy, e.reward, zero_critic(e), decay=1.0)
    weights = e.tree.flatten(lambda_weights(e.tree, e.policy, q))
    logits = e.tree.flatten(e.policy)

    def worth(moved):
        policy = from_logits(e.tree.unflatten(moved))
        return expectation(leaf_logprobs(e.tree, policy), e.reward)

    step = 1e-6
    for slot in range(e.tree.slots):
        way = np.zeros_like(logits)
        way[:, slot] = step
        slope = (worth(logits + way) - worth(logits - way)) / (2 * step)
        np.testing.assert_allclose(weights[:, slot], slope, atol=1e-8)
