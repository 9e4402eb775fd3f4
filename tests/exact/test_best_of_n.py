"""Best-of-N, information, and the projection onto blind policies: by listing, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allroads.exact import Tree, boltzmann, expectation, kl, leaf_logprobs, random_policy
from allroads.exact.claims import best_of_n, information, two_stage, unified
from tests.exact.brute_force import trees

SEEDS = st.integers(0, 1000)


@settings(max_examples=25)
@given(tree=trees(leaves=12), seed=SEEDS, n=st.integers(1, 3), levels=st.integers(1, 4))
def test_the_distribution_is_that_of_all_draws(tree: Tree, seed: int, n: int, levels: int):
    rng = np.random.default_rng(seed)
    log_pi = leaf_logprobs(tree, random_policy(tree, rng))
    reward = rng.integers(levels, size=log_pi.shape).astype(float)
    best = best_of_n.best_of(n, log_pi, reward)
    listed = best_of_n.by_listing(n, np.exp(log_pi), reward)
    np.testing.assert_allclose(np.exp(best), listed, atol=1e-12)


@given(tree=trees(), seed=SEEDS, n=st.integers(1, 200), levels=st.integers(1, 50))
def test_the_bound_holds_and_reward_never_falls(tree: Tree, seed: int, n: int, levels: int):
    rng = np.random.default_rng(seed)
    log_pi = leaf_logprobs(tree, random_policy(tree, rng))
    reward = rng.integers(levels, size=log_pi.shape).astype(float)
    best = best_of_n.best_of(n, log_pi, reward)
    np.testing.assert_allclose(np.exp(best).sum(axis=1), 1, atol=1e-10)
    spent = kl(best, log_pi)
    assert (spent <= best_of_n.bound(n) + 1e-10).all()
    gained = expectation(best, reward)
    assert (gained >= expectation(log_pi, reward) - 1e-12).all()
    # Gibbs: at the price that spends as much, no policy has more reward.
    for beta in (0.3, 1.0, 3.0):
        soft = boltzmann(reward, beta=beta, reference_PL=log_pi)
        value = expectation(soft, reward) - beta * kl(soft, log_pi)
        assert (gained - beta * spent <= value + 1e-10).all()


def test_what_is_never_drawn_is_never_best():
    with np.errstate(divide="ignore"):
        policy = np.log([[0.0, 0.5, 0.5, 0.0]])
    best = best_of_n.best_of(3, policy, np.array([[0.0, 1.0, 2.0, 3.0]]))
    np.testing.assert_allclose(np.exp(best), [[0.0, 1 / 8, 7 / 8, 0.0]])


def test_the_binary_numbers():
    policy = np.log([[0.26, 0.74]])
    best = best_of_n.best_of(8, policy, np.array([[0.0, 1.0]]))
    assert kl(best, policy)[0] == pytest.approx(0.301, abs=5e-4)
    assert best_of_n.bound(8) == pytest.approx(1.204, abs=5e-4)
    assert math.exp(best[0, 0]) == pytest.approx(0.26**8)


def test_information_by_hand():
    # A fair bit through a channel that flips one bit in four: log 2 - H(1/4) nats.
    channel = np.array([[0.75, 0.25], [0.25, 0.75]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert information._of(channel) == pytest.approx(math.log(2) - entropy)
    assert information._of(np.eye(4)) == pytest.approx(math.log(4))
    assert information._of(np.full((3, 5), 0.2)) == pytest.approx(0.0, abs=1e-12)


def test_the_chain_is_made_of_probabilities():
    c = information.chain()
    np.testing.assert_allclose(c.labels_RD.sum(axis=1), 1)
    np.testing.assert_allclose(c.outcome_DX.sum(axis=1), 1)
    for given_both in c.judged_RDX.values():
        np.testing.assert_allclose(given_both.sum(axis=2), 1)
    data, model, samples = information.kept(c)
    assert 0 < samples < model < data < math.log(len(information.TRUTHS))


@given(seed=SEEDS)
def test_information_never_rises_through_a_channel(seed: int):
    rng = np.random.default_rng(seed)
    first, second = rng.dirichlet(np.ones(5), size=3), rng.dirichlet(np.ones(4), size=5)
    assert information._of(first @ second) <= information._of(first) + 1e-12


@given(seed=SEEDS)
def test_the_blind_projection_is_a_local_best(seed: int):
    rng = np.random.default_rng(seed)
    tree = Tree(vocabulary=2, horizon=3)
    target = leaf_logprobs(tree, random_policy(tree, rng))
    found = two_stage.blind_projection(tree, target)
    assert np.exp(found).sum() == pytest.approx(1)
    least = kl(found, target)[0]
    odds = [math.log(p) for p in _marginals(found)]
    for place in range(3):
        for step in (-0.01, 0.01):
            near = [o + step * (place == k) for k, o in enumerate(odds)]
            assert kl(_product(near), target)[0] >= least - 1e-12


def _marginals(log_q: np.ndarray) -> list[float]:
    """Odds of a one at each of three positions."""
    q = np.exp(log_q).reshape(2, 2, 2)
    ones = [q[1].sum(), q[:, 1].sum(), q[:, :, 1].sum()]
    return [one / (1 - one) for one in ones]


def _product(log_odds: list[float]) -> np.ndarray:
    log_one = [-np.logaddexp(0, -o) for o in log_odds]
    log_zero = [-np.logaddexp(0, o) for o in log_odds]
    return np.array(
        [
            [
                (log_one if a else log_zero)[0]
                + (log_one if b else log_zero)[1]
                + (log_one if c else log_zero)[2]
                for a in (0, 1)
                for b in (0, 1)
                for c in (0, 1)
            ]
        ]
    )


@given(tree=trees(leaves=40), seed=SEEDS, beta=st.floats(0.05, 20))
def test_nothing_is_better_than_the_optimum_of_both_terms(tree: Tree, seed: int, beta: float):
    rng = np.random.default_rng(seed)
    log_data = leaf_logprobs(tree, random_policy(tree, rng))
    log_ref = leaf_logprobs(tree, random_policy(tree, rng))
    best = unified.optimum(log_data, log_ref, beta)
    np.testing.assert_allclose(np.exp(best).sum(axis=1), 1, atol=1e-9)
    least = kl(log_data, best) + beta * kl(best, log_ref)
    near = best + 0.05 * rng.standard_normal(best.shape)
    near -= np.logaddexp.reduce(near, axis=1, keepdims=True)
    for other in (log_data, log_ref, near):
        value = kl(log_data, other) + beta * kl(other, log_ref)
        assert (least <= value + 1e-9).all()
