"""The fitter and its classes against scipy and finite differences; theorems on random trees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize

from allroads.errors import InputError, TrainingError
from allroads.exact import (
    Tree,
    implicit_reward,
    leaf_logprobs,
    random_policy,
    soft_value_iteration,
)
from allroads.exact.classes import (
    every_reward,
    implied_by_log_linear,
    implied_by_policies,
    implied_by_soft_optima,
    linear_rewards,
    within_prompt,
)
from allroads.exact.features import token_at_position, token_counts
from allroads.exact.fit import maximum_likelihood
from allroads.exact.pairs import Pairs, labelled, random_pairs, sigmoid
from tests.exact.brute_force import trees

SEEDS = st.integers(0, 1000)
BETAS = st.floats(0.1, 3.0)


def one_pair(share: float) -> Pairs:
    zero, one = np.array([0]), np.array([1])
    return Pairs(prompt_M=zero, first_M=zero, second_M=one, share_M=np.array([share]),
                 weight_M=np.ones(1))  # fmt: skip


def test_one_pair_by_hand():
    # Three labels of four prefer the first: the best difference is log 3, the surprise H(3/4).
    fit = maximum_likelihood(
        linear_rewards(np.array([[[1.0], [0.0]]])), one_pair(0.75), np.zeros(1)
    )
    assert fit.parameters[0] == pytest.approx(np.log(3), abs=1e-10)
    assert fit.nll == pytest.approx(0.75 * np.log(4 / 3) + 0.25 * np.log(4))
    assert fit.nll == pytest.approx(one_pair(0.75).label_entropy())


def test_labels_without_doubt_have_no_finite_optimum():
    with pytest.raises(TrainingError, match="shares inside"):
        maximum_likelihood(
            linear_rewards(np.array([[[1.0], [0.0]]])), one_pair(1.0), np.zeros(1), steps=12
        )


def test_a_pair_needs_two_completions():
    with pytest.raises(InputError, match="2 completions"):
        random_pairs(Tree(vocabulary=1, horizon=2), np.random.default_rng(0), 1)


@given(tree=trees(leaves=40), seed=SEEDS)
def test_nll_and_slope_by_plain_sums(tree: Tree, seed: int):
    rng = np.random.default_rng(seed)
    pairs = random_pairs(tree, rng, 5)
    reward = rng.standard_normal((tree.prompts, tree.leaves))
    total = 0.0
    for k, a, b, q in zip(pairs.prompt_M, pairs.first_M, pairs.second_M, pairs.share_M,
                          strict=True):  # fmt: skip
        p = 1 / (1 + np.exp(reward[k, b] - reward[k, a]))
        total -= q * np.log(p) + (1 - q) * np.log(1 - p)
    assert pairs.nll(reward) == pytest.approx(total)
    numeric = approx_fprime(reward.ravel(), lambda x: pairs.nll(x.reshape(reward.shape)), 1e-6)
    np.testing.assert_allclose(pairs.slope(reward).ravel(), numeric, atol=1e-4)
    assert labelled(pairs, reward).slope(reward) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("eos", [None, 1])
def test_derivatives_of_every_class(eos: int | None):
    rng = np.random.default_rng(3)
    tree = Tree(vocabulary=2, horizon=3, rho=(0.5, 0.5), eos=eos)
    reference = random_policy(tree, rng)
    feature = rng.standard_normal((2, tree.leaves, 2))
    classes = {
        "every reward": (every_reward(tree), 2 * tree.leaves),
        "linear": (linear_rewards(feature), 2),
        "policies": (implied_by_policies(tree, beta=0.3, reference=reference), 2 * tree.slots),
        "log-linear": (
            implied_by_log_linear(tree, token_at_position(tree), beta=0.3, reference=reference),
            2 * tree.horizon * tree.vocabulary,
        ),
        "soft optima": (implied_by_soft_optima(tree, feature, beta=0.3, reference=reference), 2),
    }
    for name, (rewards, size) in classes.items():
        theta = rng.standard_normal(size)
        _, jacobian = rewards(theta)
        numeric = approx_fprime(theta, lambda x, f=rewards: f(x)[0].ravel(), 1e-6)
        np.testing.assert_allclose(
            jacobian.reshape(-1, size), numeric.reshape(-1, size), atol=1e-4, err_msg=name
        )


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_optimum_is_scipys(ridge: float):
    rng = np.random.default_rng(5)
    tree = Tree(vocabulary=3, horizon=2, rho=(0.5, 0.5))
    pairs, rewards = random_pairs(tree, rng, 30), linear_rewards(token_counts(tree)[..., 1:])
    fit = maximum_likelihood(rewards, pairs, np.zeros(2), ridge=ridge, coordinates=within_prompt)

    def objective(theta: np.ndarray) -> float:
        reward = rewards(theta)[0]
        return pairs.nll(reward) + 0.5 * ridge * float((within_prompt(reward) ** 2).sum())

    found = minimize(objective, np.ones(2), tol=1e-12)
    np.testing.assert_allclose(fit.parameters, found.x, atol=1e-5)
    assert objective(fit.parameters) <= found.fun + 1e-12
    assert fit.slope < 1e-10


def test_policies_blind_to_the_prefix_are_blind():
    rng = np.random.default_rng(0)
    tree = Tree(vocabulary=2, horizon=2)
    rewards = implied_by_log_linear(tree, token_at_position(tree))
    log_pi = rewards(rng.standard_normal(4))[0].reshape(2, 2)
    second = log_pi - np.logaddexp(log_pi[:, :1], log_pi[:, 1:])
    np.testing.assert_allclose(second[0], second[1], atol=1e-12)


@settings(max_examples=25)
@given(tree=trees(leaves=20), seed=SEEDS, beta=BETAS, count=st.integers(1, 30))
def test_theorem_2_2_on_random_trees(tree: Tree, seed: int, beta: float, count: int):
    rng = np.random.default_rng(seed)
    reference, pairs = random_policy(tree, rng), random_pairs(tree, rng, count)
    fields = {"ridge": 0.2, "coordinates": within_prompt}
    model = maximum_likelihood(
        every_reward(tree), pairs, np.zeros(tree.prompts * tree.leaves), **fields
    )
    found = soft_value_iteration(tree, model.reward_PL, beta=beta, reference=reference)
    dpo = maximum_likelihood(
        implied_by_policies(tree, beta=beta, reference=reference),
        pairs,
        tree.flatten(reference).ravel(),
        **fields,
    )
    log_ref = leaf_logprobs(tree, reference)
    two_stage = leaf_logprobs(tree, found.policy)
    np.testing.assert_allclose(two_stage, dpo.reward_PL / beta + log_ref, atol=1e-6 / beta)


@settings(max_examples=25)
@given(tree=trees(leaves=40), seed=SEEDS, beta=BETAS)
def test_theorem_3_1_on_random_trees(tree: Tree, seed: int, beta: float):
    rng = np.random.default_rng(seed)
    reference, pairs = random_policy(tree, rng), random_pairs(tree, rng, 40)
    feature = rng.standard_normal((tree.prompts, tree.leaves, 2))
    rows = feature[pairs.prompt_M, pairs.first_M] - feature[pairs.prompt_M, pairs.second_M]
    assume(np.linalg.svd(rows, compute_uv=False)[-1] > 0.1)
    first = maximum_likelihood(linear_rewards(feature), pairs, np.zeros(2))
    direct = maximum_likelihood(
        implied_by_soft_optima(tree, feature, beta=beta, reference=reference), pairs, np.ones(2)
    )
    np.testing.assert_allclose(first.parameters, direct.parameters, atol=1e-7)
    found = soft_value_iteration(tree, first.reward_PL, beta=beta, reference=reference)
    implied = implicit_reward(
        leaf_logprobs(tree, found.policy), beta=beta, reference_PL=leaf_logprobs(tree, reference)
    )
    assert pairs.nll(implied) == pytest.approx(first.nll, abs=1e-9)


@given(tree=trees(), seed=SEEDS, shift=st.floats(-20, 20))
def test_pairs_are_blind_to_a_shift_of_the_prompt(tree: Tree, seed: int, shift: float):
    rng = np.random.default_rng(seed)
    pairs = random_pairs(tree, rng, 10)
    reward = rng.standard_normal((tree.prompts, tree.leaves))
    shifted = reward + shift * np.arange(tree.prompts)[:, None]
    assert pairs.nll(shifted) == pytest.approx(pairs.nll(reward), abs=1e-9)
    np.testing.assert_allclose(within_prompt(shifted), within_prompt(reward), atol=1e-9)


def test_sigmoid_does_not_overflow():
    assert sigmoid(np.array([-800.0, 0.0, 800.0])).tolist() == [0.0, 0.5, 1.0]
