"""One world of the study: a tree, a reference, features, a truth, and labelled pairs.

A reward feature gives every prefix and token a number of its own, drawn from a normal distribution,
and adds them up along the completion: early and late tokens matter alike. Features are then centred
within each prompt and made orthonormal under the reference, so that a reward w . psi of R_sim has
deviation |w|. Axis letters: N pairs, D reward features, K policy features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from allroads.exact.features import token_at_position
from allroads.exact.measures import boltzmann
from allroads.exact.pairs import sigmoid
from allroads.exact.policies import leaf_logprobs, random_policy
from allroads.exact.regret.settings import SIZES, Setting
from allroads.exact.soft import soft_value_iteration
from allroads.exact.tree import Array, Levels, Tree
from allroads.seeding import child


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything that a learner may know, and the truth that it may not."""

    setting: Setting
    tree: Tree
    reference: Levels
    feature_PLD: Array
    """The features of R_sim: orthonormal under the reference."""
    token_feature_PSK: Array
    """The features of the token policies of (a'), in reward units."""
    truth_PL: Array
    """The true reward r*."""
    winner_N: NDArray[np.intp]
    """Preferred completions, as places in a flattened (P, L)."""
    loser_N: NDArray[np.intp]

    @cached_property
    def log_ref(self) -> Array:
        """Leaf log-probabilities of the reference, (P, L)."""
        return leaf_logprobs(self.tree, self.reference)

    @cached_property
    def best(self) -> Array:
        """Leaf log-probabilities of pi*, the soft-optimal policy of the true reward, (P, L)."""
        return boltzmann(self.truth_PL, beta=self.setting.beta, reference_PL=self.log_ref)

    def objective(self, log_pi: Array) -> float:
        """J_beta: the mean true reward less beta KL(pi || ref), reward units."""
        gain = self.truth_PL - self.setting.beta * (log_pi - self.log_ref)
        return float(np.dot(self.tree.rho, np.sum(np.exp(log_pi) * gain, axis=1)))

    def regret(self, log_pi: Array) -> float:
        """J_beta(pi*) - J_beta(pi): never negative; it equals beta KL(pi || pi*)."""
        return self.objective(self.best) - self.objective(log_pi)


def draw(setting: Setting, seed: int) -> World:
    """The world of one seed. Cells share their draws wherever the shapes agree."""
    s = setting
    tree = Tree(vocabulary=s.vocabulary, horizon=s.horizon, rho=(1 / s.prompts,) * s.prompts)
    reference = random_policy(tree, child(seed, "regret", "reference"), scale=s.sharpness)
    log_ref = leaf_logprobs(tree, reference)
    outside = int(s.outside > 0)
    feature = _reward_features(tree, log_ref, seed, s.reward_dimension + outside)
    inside = feature[..., : s.reward_dimension]
    square = child(seed, "regret", "truth").standard_normal((s.reward_dimension,) * 2)
    rewards = s.spread * inside @ np.linalg.qr(square)[0]
    truth = rewards[..., 0]
    if outside:
        truth = np.sqrt(1 - s.outside**2) * truth + s.spread * s.outside * feature[..., -1]
    rewards = np.concatenate([truth[..., None], rewards[..., 1:]], axis=-1)
    winner, loser = _labelled_pairs(tree, log_ref, truth, s.temperature, seed)
    return World(
        setting=s,
        tree=tree,
        reference=reference,
        feature_PLD=inside,
        token_feature_PSK=token_features(tree, reference, rewards, s, seed),
        truth_PL=truth,
        winner_N=winner,
        loser_N=loser,
    )


def token_features(
    tree: Tree, reference: Levels, reward_PLD: Array, setting: Setting, seed: int
) -> Array:
    """What the token policies look at after each prefix, (P, S, K), in reward units.

    `shared`: the soft advantages of d_R rewards of R_sim, orthogonal under the reference and the
    true one first, so that the class contains pi*; then random numbers of the same kind as the
    reward's until there are d_P; with d_P < d_R the last advantages are left out. `by position`:
    the same advantages with weights of their own at each position, d_P = d_R H; also contains pi*.
    `blind`: one indicator for each prompt, position and token: these policies do not look at the
    prefix, and cannot be pi*.

    Args:
        tree: the completions.
        reference: the policy that advantages are relative to.
        reward_PLD: the true reward and d_R - 1 others.
        setting: which of the three.
        seed: the world.
    """
    if setting.policy_features == "blind":
        return token_at_position(tree)
    solved = (
        soft_value_iteration(tree, reward, beta=setting.beta, reference=reference).policy
        for reward in np.moveaxis(reward_PLD, -1, 0)
    )
    base = tree.flatten(reference)
    advantages = np.stack([setting.beta * (tree.flatten(p) - base) for p in solved], axis=-1)
    if setting.policy_features == "by position":
        sizes = [tree.nodes(h) * tree.vocabulary for h in range(tree.horizon)]
        depth_S = np.repeat(np.arange(tree.horizon), sizes)
        own = depth_S[:, None] == np.arange(tree.horizon)
        return (advantages[..., None, :] * own[..., None]).reshape(*base.shape, -1)
    advantages = advantages[..., : setting.policy_dimension]
    size = setting.policy_dimension - advantages.shape[-1]
    scale = setting.spread / np.sqrt(tree.horizon)
    extra = scale * _random_slots(tree, seed, "policy", size)
    return np.concatenate([advantages, extra], axis=-1)


def _random_slots(tree: Tree, seed: int, name: str, size: int) -> Array:
    """(P, S, size) standard normal numbers; each feature has its own address."""
    shape = (tree.prompts, tree.slots)
    rows = [child(seed, "regret", name, k).standard_normal(shape) for k in range(size)]
    return np.stack(rows, axis=-1) if rows else np.zeros((*shape, 0))


def _reward_features(tree: Tree, log_ref: Array, seed: int, size: int) -> Array:
    """Sums along each completion, centred and made orthonormal under the reference."""
    slots = np.moveaxis(_random_slots(tree, seed, "reward", size), -1, 0)
    leaf = np.stack([tree.spread(tree.unflatten(one)) for one in slots], axis=-1)
    weight = np.exp(log_ref)
    leaf = leaf - np.einsum("pl,pld->pd", weight, leaf)[:, None]
    covariance = np.einsum("p,pl,pld,ple->de", np.array(tree.rho), weight, leaf, leaf)
    return leaf @ np.linalg.inv(np.linalg.cholesky(covariance)).T


def _labelled_pairs(
    tree: Tree, log_ref: Array, truth: Array, temperature: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Prompts from rho, two independent completions of the reference, one Bradley-Terry label."""
    rng = child(seed, "regret", "pairs")
    count = SIZES[-1]
    prompt = rng.choice(tree.prompts, size=count, p=tree.rho)
    place = rng.random((2, count))
    edges = np.cumsum(np.exp(log_ref), axis=1)
    edges /= edges[:, -1:]
    leaf = np.zeros(place.shape, dtype=np.intp)
    for p in range(tree.prompts):
        here = prompt == p
        leaf[:, here] = np.searchsorted(edges[p], place[:, here], side="right")
    first, second = prompt * tree.leaves + leaf
    chance = sigmoid((truth.ravel()[first] - truth.ravel()[second]) / temperature)
    wins = rng.random(count) < chance
    return np.where(wins, first, second), np.where(wins, second, first)
