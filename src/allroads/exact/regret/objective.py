"""What every learner minimises: the surprise at the labels and one ridge, in the same coordinates.

    F(r) = sum over pairs of log(1 + exp(-(r(winner) - r(loser)) / temperature))
         + ridge / 2 * E_rho Var_ref(r)                                                    [nats]

The coordinates of the ridge are the reward itself (for policies: the reward that they imply),
centred within each prompt, weighted by the reference. It so treats all learners alike, whatever
their parameters; for rewards of R_sim it is ridge / 2 * |w|^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from allroads.exact.pairs import sigmoid
from allroads.exact.regret.world import World
from allroads.exact.tree import Array


@dataclass(frozen=True, kw_only=True)
class Objective:
    """F as a function of rewards, with its derivatives."""

    winner_N: NDArray[np.intp]
    loser_N: NDArray[np.intp]
    temperature: float
    ridge: float
    weight_PL: Array
    """rho(prompt) ref(completion | prompt)."""

    @classmethod
    def of(cls, world: World, pairs: int) -> Objective:
        """That of the first `pairs` pairs of a world."""
        s = world.setting
        return cls(
            winner_N=world.winner_N[:pairs],
            loser_N=world.loser_N[:pairs],
            temperature=s.temperature,
            ridge=s.ridge,
            weight_PL=np.array(world.tree.rho)[:, None] * np.exp(world.log_ref),
        )

    @cached_property
    def _mean_PL(self) -> Array:
        return self.weight_PL / self.weight_PL.sum(axis=1, keepdims=True)

    def centred(self, value: Array) -> Array:
        """Values (P, L) or (P, L, K) less their mean under the reference in each prompt."""
        mean = np.einsum("pl,pl...->p...", self._mean_PL, value)
        return value - mean[:, None]

    def margins(self, reward_PL: Array) -> Array:
        """(r(winner) - r(loser)) / temperature, (N,)."""
        flat = reward_PL.ravel()
        return (flat[self.winner_N] - flat[self.loser_N]) / self.temperature

    def surprise(self, reward_PL: Array) -> float:
        """F without the ridge, nats."""
        return float(np.logaddexp(0, -self.margins(reward_PL)).sum())

    def value(self, reward_PL: Array) -> float:
        """F, nats."""
        squares = np.sum(self.weight_PL * self.centred(reward_PL) ** 2)
        return self.surprise(reward_PL) + 0.5 * self.ridge * float(squares)

    def slope(self, reward_PL: Array) -> Array:
        """The derivative of F by r, (P, L); sums to 0 in each prompt: F is blind to shifts."""
        pull = -sigmoid(-self.margins(reward_PL)) / self.temperature
        size = reward_PL.size
        labels = np.bincount(self.winner_N, pull, size) - np.bincount(self.loser_N, pull, size)
        ridge = self.ridge * self.weight_PL * self.centred(reward_PL)
        return labels.reshape(reward_PL.shape) + ridge

    def information(self, reward_PL: Array, jacobian_PLK: Array) -> Array:
        """Curvature of the surprise along the parameters, (K, K): the Fisher information."""
        chance = sigmoid(self.margins(reward_PL))
        flat = jacobian_PLK.reshape(reward_PL.size, -1)
        rows = flat[self.winner_N] - flat[self.loser_N]
        return rows.T @ (rows * (chance * (1 - chance))[:, None]) / self.temperature**2

    def curvature(self, reward_PL: Array, jacobian_PLK: Array) -> Array:
        """Curvature of F along the parameters without what the class itself bends, (K, K)."""
        flat = self.centred(jacobian_PLK).reshape(reward_PL.size, -1)
        ridge = flat.T @ (flat * self.weight_PL.reshape(-1, 1))
        return self.information(reward_PL, jacobian_PLK) + self.ridge * ridge
