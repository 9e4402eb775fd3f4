"""Token policies that are log-linear in features of a prefix and the next token.

    log pi(token | prefix) = log ref + theta . phi(prefix, token) / beta - normaliser

The reward that such a policy implies, beta log(pi / ref) summed over tokens, is concave in theta on
its own but a difference of two is not: likelihoods may have more than one minimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allroads.exact.policies import leaf_logprobs, logsumexp
from allroads.exact.tree import Array, Levels, Tree


@dataclass(frozen=True, kw_only=True)
class TokenClass:
    """The class; complete trees only (no `eos`)."""

    tree: Tree
    reference: Levels
    feature_PSK: Array
    beta: float

    @property
    def size(self) -> int:
        """K."""
        return self.feature_PSK.shape[-1]

    def policy(self, theta: Array) -> Levels:
        """The log-probability of each token after each prefix, nats."""
        tilt = self.tree.unflatten(self.feature_PSK @ theta / self.beta)
        scores = [base + more for base, more in zip(self.reference, tilt, strict=True)]
        return tuple(score - logsumexp(score)[..., None] for score in scores)

    def reward(self, theta: Array) -> Array:
        """The implied reward beta log(pi / ref) of each completion, (P, L), reward units."""
        policy = zip(self.policy(theta), self.reference, strict=True)
        return self.beta * leaf_logprobs(self.tree, tuple(own - base for own, base in policy))

    def jacobian(self, theta: Array) -> Array:
        """Derivatives of the implied reward, (P, L, K): sums of centred features."""
        paths = np.zeros((self.tree.prompts, 1, self.size))
        for level in self._centred(self.policy(theta)):
            paths = (paths[:, :, None] + level).reshape(self.tree.prompts, -1, self.size)
        return paths

    def bend(self, theta: Array, pull_PL: Array) -> Array:
        """Sum over completions of pull times the second derivatives of the implied reward, (K, K).

        Each prefix adds -(1/beta) Cov_pi(phi | prefix), times the pull of all that pass it.
        """
        policy = self.policy(theta)
        node, total = pull_PL, np.zeros((self.size, self.size))
        for own, level in zip(reversed(policy), reversed(self._centred(policy)), strict=True):
            node = node.reshape(*own.shape).sum(axis=-1)
            weight = (node[..., None] * np.exp(own)).reshape(-1, 1)
            flat = level.reshape(-1, self.size)
            total -= flat.T @ (flat * weight) / self.beta
        return total

    def _centred(self, policy: Levels) -> list[Array]:
        """Features less their mean under the policy at each prefix, one (P, N, V, K) a depth."""
        out, start = [], 0
        for own in policy:
            stop = start + own.shape[1] * own.shape[2]
            level = self.feature_PSK[:, start:stop].reshape(*own.shape, self.size)
            out.append(level - np.einsum("pnv,pnvk->pnk", np.exp(own), level)[:, :, None])
            start = stop
        return out
