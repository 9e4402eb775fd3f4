"""Classes of rewards: parameters to leaf rewards and their derivatives.

The paper's classes: every reward, rewards linear in features, the rewards that policies imply
(fitting those to preferences is DPO), and the rewards that soft-optimal policies imply. Axis
letter: K parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from allroads.exact.measures import expectation
from allroads.exact.policies import from_logits, leaf_logprobs
from allroads.exact.soft import implicit_reward, soft_value_iteration
from allroads.exact.tree import Array, Levels, Tree

RewardClass = Callable[[Array], tuple[Array, Array]]
"""Parameters (K,) -> leaf rewards (P, L) and their derivatives (P, L, K)."""


def every_reward(tree: Tree) -> RewardClass:
    """One parameter for each completion of each prompt: K = P L."""
    size = tree.prompts * tree.leaves
    shape = (tree.prompts, tree.leaves)
    jacobian = np.eye(size).reshape(*shape, size)
    return lambda theta: (theta.reshape(shape), jacobian)


def linear_rewards(feature_PLK: Array) -> RewardClass:
    """Rewards that are linear in features of the whole completion: the simple class R_sim."""
    return lambda theta: (feature_PLK @ theta, feature_PLK)


def implied_by_policies(
    tree: Tree, *, beta: float = 1.0, reference: Levels | None = None
) -> RewardClass:
    """The beta log(pi / ref) of every policy; parameters are its logits, K = P S. Small trees."""
    paths = tree.paths_LS
    visits = paths.reshape(tree.leaves, -1, tree.vocabulary).sum(axis=2)
    through = np.repeat(visits, tree.vocabulary, axis=1)
    own = np.eye(tree.prompts)[:, None, :, None]

    def derivative(policy: Levels) -> Array:
        # A path raises its own slots by 1, and all slots of the prefixes it visits by -pi.
        pull = paths - through * np.exp(tree.flatten(policy))[:, None]
        return (own * pull[:, :, None, :]).reshape(tree.prompts, tree.leaves, -1)

    def logits(theta: Array) -> Levels:
        return tree.unflatten(theta.reshape(tree.prompts, -1))

    return _implied(tree, logits, derivative, beta, reference)


def implied_by_log_linear(
    tree: Tree, feature_PSK: Array, *, beta: float = 1.0, reference: Levels | None = None
) -> RewardClass:
    """The beta log(pi / ref) of policies whose logits are linear in features of prefix and token.

    Args:
        tree: the completions.
        feature_PSK: features of each slot, in the order of `Tree.flatten`.
        beta: price of one nat, in reward units.
        reference: None: the rewards are beta log pi.
    """
    columns = [tree.unflatten(column) for column in np.moveaxis(feature_PSK, -1, 0)]

    def derivative(policy: Levels) -> Array:
        # Along a path: each feature less its mean over the tokens that could have come.
        centred = (
            tuple(f - expectation(p, f)[..., None] for f, p in zip(column, policy, strict=True))
            for column in columns
        )
        return np.stack([tree.spread(levels) for levels in centred], axis=-1)

    def logits(theta: Array) -> Levels:
        return tree.unflatten(feature_PSK @ theta)

    return _implied(tree, logits, derivative, beta, reference)


def _implied(
    tree: Tree,
    logits: Callable[[Array], Levels],
    derivative: Callable[[Levels], Array],
    beta: float,
    reference: Levels | None,
) -> RewardClass:
    """Parameters -> logits -> policy -> implied reward, and the derivative by the parameters."""
    reference_PL = None if reference is None else leaf_logprobs(tree, reference)

    def rewards(theta: Array) -> tuple[Array, Array]:
        policy = from_logits(logits(theta))
        log_pi = leaf_logprobs(tree, policy)
        reward = implicit_reward(log_pi, beta=beta, reference_PL=reference_PL)
        return reward, beta * derivative(policy)

    return rewards


def implied_by_soft_optima(
    tree: Tree, feature_PLK: Array, *, beta: float = 1.0, reference: Levels | None = None
) -> RewardClass:
    """The beta log(pi*_w / ref) of soft-optimal policies of linear rewards: class Pi(R_sim)."""
    reference_PL = None if reference is None else leaf_logprobs(tree, reference)

    def rewards(theta: Array) -> tuple[Array, Array]:
        found = soft_value_iteration(tree, feature_PLK @ theta, beta=beta, reference=reference)
        log_pi = leaf_logprobs(tree, found.policy)
        columns = np.moveaxis(feature_PLK, -1, 0)
        mean_PK = np.stack([expectation(log_pi, column) for column in columns], axis=-1)
        reward = implicit_reward(log_pi, beta=beta, reference_PL=reference_PL)
        return reward, feature_PLK - mean_PK[:, None]

    return rewards


def within_prompt(reward: Array) -> Array:
    """Rewards (or their derivatives) less the prompt's plain mean: all that a pair can see."""
    return reward - reward.mean(axis=1, keepdims=True)
