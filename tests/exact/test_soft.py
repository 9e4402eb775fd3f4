"""Policies, measures and soft values against sums written out one completion at a time."""

from __future__ import annotations

import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from allroads.errors import InputError
from allroads.exact import (
    Tree,
    averaged,
    boltzmann,
    causal_entropy,
    conditionals,
    entropy,
    expectation,
    from_logits,
    implicit_reward,
    kl,
    leaf_logprobs,
    log_partition,
    logit_gradient,
    random_policy,
    soft_value_iteration,
    token_kl,
    uniform,
)
from tests.exact import brute_force
from tests.exact.brute_force import trees

SEEDS = st.integers(0, 1000)
BETAS = st.floats(0.05, 5.0)


@given(tree=trees(), seed=SEEDS)
def test_measures_by_plain_sums(tree: Tree, seed: int):
    rng = np.random.default_rng(seed)
    p, q = random_policy(tree, rng), random_policy(tree, rng)
    reward = rng.standard_normal((tree.prompts, tree.leaves))
    log_p, log_q = leaf_logprobs(tree, p), leaf_logprobs(tree, q)
    for k in range(tree.prompts):
        ps, qs = log_p[k].tolist(), log_q[k].tolist()
        assert expectation(log_p, reward)[k] == pytest.approx(
            sum(math.exp(a) * r for a, r in zip(ps, reward[k], strict=True))
        )
        assert entropy(log_p)[k] == pytest.approx(-sum(math.exp(a) * a for a in ps))
        divergence = sum(math.exp(a) * (a - b) for a, b in zip(ps, qs, strict=True))
        assert kl(log_p, log_q)[k] == pytest.approx(divergence)
    np.testing.assert_allclose(causal_entropy(tree, p), entropy(log_p))
    np.testing.assert_allclose(token_kl(tree, p, q), kl(log_p, log_q))
    assert (kl(log_p, log_q) >= 0).all()


@given(tree=trees(), seed=SEEDS)
def test_conditionals_undo_leaf_logprobs(tree: Tree, seed: int):
    policy = random_policy(tree, np.random.default_rng(seed), scale=3)
    shift = np.arange(tree.prompts)[:, None]
    again = conditionals(tree, leaf_logprobs(tree, policy) + shift)
    for level, same in zip(policy, again, strict=True):
        np.testing.assert_allclose(level, same, atol=1e-12)


@given(tree=trees(leaves=40), seed=SEEDS, beta=st.floats(0.3, 3.0), referred=st.booleans())
def test_soft_values_are_sums_over_what_can_still_come(
    tree: Tree, seed: int, beta: float, referred: bool
):
    rng = np.random.default_rng(seed)
    reward = rng.standard_normal((tree.prompts, tree.leaves))
    reference = random_policy(tree, rng) if referred else None
    found = soft_value_iteration(tree, reward, beta=beta, reference=reference)
    weigh = brute_force.reader(tree, reference) if reference else lambda *_: 0.0
    place = {tokens: i for i, tokens in enumerate(tree.completions)}
    for h in range(tree.horizon):
        for node, prefix in enumerate(brute_force.prefixes(tree, h)):
            expected = brute_force.soft_value(
                tree, lambda k, t: float(reward[k, place[t]]), 0, prefix, beta, weigh
            )
            assert found.v[h][0, node] == pytest.approx(expected, abs=1e-10)
    np.testing.assert_array_equal(found.root_P, found.v[0][:, 0])


@given(tree=trees(), seed=SEEDS, beta=BETAS, referred=st.booleans())
def test_soft_policy_is_the_boltzmann_distribution(
    tree: Tree, seed: int, beta: float, referred: bool
):
    rng = np.random.default_rng(seed)
    reward = rng.standard_normal((tree.prompts, tree.leaves))
    reference = random_policy(tree, rng) if referred else None
    reference_PL = leaf_logprobs(tree, reference) if reference else None
    found = soft_value_iteration(tree, reward, beta=beta, reference=reference)
    log_pi = leaf_logprobs(tree, found.policy)
    target = boltzmann(reward, beta=beta, reference_PL=reference_PL)
    np.testing.assert_allclose(log_pi, target, atol=1e-9)
    log_z = log_partition(reward, beta=beta, reference_PL=reference_PL)
    np.testing.assert_allclose(found.root_P, beta * log_z, atol=1e-10)
    implied = implicit_reward(log_pi, beta=beta, reference_PL=reference_PL)
    np.testing.assert_allclose(implied, reward - found.root_P[:, None], atol=1e-9)


@given(tree=trees(), seed=SEEDS, beta=BETAS)
def test_no_other_policy_does_better(tree: Tree, seed: int, beta: float):
    rng = np.random.default_rng(seed)
    reward = rng.standard_normal((tree.prompts, tree.leaves))
    other, reference = random_policy(tree, rng), random_policy(tree, rng)
    found = soft_value_iteration(tree, reward, beta=beta, reference=reference)
    log_pi, log_ref = leaf_logprobs(tree, other), leaf_logprobs(tree, reference)
    value = expectation(log_pi, reward) - beta * kl(log_pi, log_ref)
    assert (value <= found.root_P + 1e-12).all()


@given(tree=trees(leaves=40), seed=SEEDS)
def test_logit_gradient_by_finite_differences(tree: Tree, seed: int):
    rng = np.random.default_rng(seed)
    logits = tree.flatten(random_policy(tree, rng))
    weight = rng.standard_normal((tree.prompts, tree.leaves))

    def objective(x: np.ndarray) -> float:
        policy = from_logits(tree.unflatten(x.reshape(logits.shape)))
        return float((weight * np.exp(leaf_logprobs(tree, policy))).sum())

    policy = from_logits(tree.unflatten(logits))
    slope = weight * np.exp(leaf_logprobs(tree, policy))
    exact = tree.flatten(logit_gradient(tree, policy, slope)).ravel()
    numeric = approx_fprime(logits.ravel(), objective, 1e-6)
    np.testing.assert_allclose(exact, numeric, atol=1e-4)


def test_tokens_that_never_come():
    tree = Tree(vocabulary=2, horizon=2)
    never = from_logits((np.array([[[0.0, -np.inf]]]), np.zeros((1, 2, 2))))
    log_never = leaf_logprobs(tree, never)
    assert np.exp(log_never).tolist() == [[0.5, 0.5, 0.0, 0.0]]
    assert kl(log_never, leaf_logprobs(tree, uniform(tree)))[0] == pytest.approx(math.log(2))
    assert kl(leaf_logprobs(tree, uniform(tree)), log_never)[0] == np.inf
    reward = np.array([[0.0, 1.0, 50.0, 60.0]])
    found = soft_value_iteration(tree, reward, beta=1.0, reference=never)
    assert leaf_logprobs(tree, found.policy)[0, 2:].tolist() == [-np.inf, -np.inf]
    assert found.root_P[0] == pytest.approx(math.log((1 + math.e) / 2))


def test_prompts_are_weighed():
    tree = Tree(vocabulary=2, horizon=1, rho=(0.25, 0.75))
    assert averaged(tree, np.array([4.0, 8.0])) == 7.0


def test_extreme_prices_stay_finite():
    tree = Tree(vocabulary=2, horizon=3)
    reward = np.array([[0.0, 1, 2, 3, 4, 5, 6, 7]]) * 100
    cold = soft_value_iteration(tree, reward, beta=1e-3)
    assert cold.root_P[0] == pytest.approx(700.0)
    hot = soft_value_iteration(tree, reward, beta=1e6, reference=uniform(tree))
    np.testing.assert_allclose(np.exp(leaf_logprobs(tree, hot.policy)), 1 / 8, rtol=1e-3)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_a_price_that_is_not_positive_is_refused(beta: float):
    with pytest.raises(InputError, match="beta"):
        soft_value_iteration(Tree(vocabulary=2, horizon=1), np.zeros((1, 2)), beta=beta)


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_refused(reward: float):
    with pytest.raises(InputError, match="reward_PL"):
        soft_value_iteration(Tree(vocabulary=2, horizon=1), np.array([[0.0, reward]]))


@pytest.mark.parametrize("shape", [(10, 6, None), (2, 20, None), (11, 6, 0)])
def test_a_million_leaves_take_seconds(shape: tuple[int, int, int | None]):
    vocabulary, horizon, eos = shape
    tree = Tree(vocabulary=vocabulary, horizon=horizon, eos=eos)
    assert tree.leaves >= 10**6
    rng = np.random.default_rng(0)
    reward, reference = rng.standard_normal((1, tree.leaves)), random_policy(tree, rng)
    begun = time.process_time()
    found = soft_value_iteration(tree, reward, beta=0.5, reference=reference)
    assert time.process_time() - begun < 2.0
    tracemalloc.start()
    leaf_logprobs(tree, soft_value_iteration(tree, reward, reference=reference).policy)
    assert tracemalloc.get_traced_memory()[1] < 5e8
    tracemalloc.stop()
    assert found.root_P[0] == pytest.approx(
        0.5 * log_partition(reward, beta=0.5, reference_PL=leaf_logprobs(tree, reference))[0]
    )
