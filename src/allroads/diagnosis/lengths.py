"""How long each learner's description of the labels is, order by order and prompt by prompt."""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np

from allroads import stats
from allroads.diagnosis import mixture
from allroads.diagnosis.fits import chains
from allroads.diagnosis.means import to_mean
from allroads.errors import InputError
from allroads.evidence import Evidence, Fit, Learner
from allroads.records import Mean
from allroads.stats import Floats

LEARNERS: tuple[Learner, ...] = get_args(Learner)

SURE_BITS = float(np.log2(40))
"""What must be saved for a learner to have learned: see `learned`."""


class Lengths(NamedTuple):
    """One learner's code. Axes: O orders, B blocks (the first is left to a coin), P prompts."""

    pairs_OB: Floats
    """Pairs in each block."""
    saved_OBP: Floats
    """Bits saved over a bit a pair, by the prompt of the pairs; 0 where a prompt is not in it."""

    @property
    def coded(self) -> float:
        """Pairs in the whole code; a mean, where orders differ by a few."""
        return float(self.pairs_OB.sum(axis=1).mean())


def lengths(evidence: Evidence) -> dict[Learner, Lengths]:
    """The codes of both learners, over the orders and the blocks that all of them have.

    Each block is coded by the fit to all blocks before it, through `mixture.code`, whose weights
    are carried from block to block (`mixture.carried`). The first block has no fit and costs a bit
    a pair.

    Raises:
        InputError: no order is common to both learners, fewer than two blocks are, or the learners
            were not asked about the same pairs.
    """
    found: dict[Learner, dict[int, tuple[Fit, ...]]] = {
        learner: chains(evidence, learner) for learner in LEARNERS
    }
    orders = sorted(set.intersection(*(set(chain) for chain in found.values())))
    if not orders:
        raise InputError("verifier and generator must share an order of the pairs, got none")
    paths: dict[Learner, list[tuple[Fit, ...]]] = {
        learner: [chain[order] for order in orders] for learner, chain in found.items()
    }
    depth = min(_depth(path) for learner in LEARNERS for path in paths[learner])
    if depth == 0:
        raise InputError("a code needs two blocks in every order, got a fit that none follows")
    for verifier, generator in zip(paths["verifier"], paths["generator"], strict=True):
        for one, other in zip(verifier[:depth], generator[:depth], strict=True):
            if one.count != other.count or one.following_prompts != other.following_prompts:
                raise InputError(
                    f"both learners must code the same pairs, but after {one.count} pairs of order "
                    f"{one.order} they differ: repeat the fits with one order"
                )
    names = dict.fromkeys(
        name for path in paths["verifier"] for fit in path[:depth] for name in fit.following_prompts
    )
    place = {name: k for k, name in enumerate(names)}
    return {
        learner: Lengths(
            np.array(
                [[path[0].count, *(len(fit.following) for fit in path[:depth])] for path in rows],
                dtype=float,
            ),
            np.array([_saved(path[:depth], place) for path in rows]),
        )
        for learner, rows in paths.items()
    }


def coding_temperature(evidence: Evidence, learner: Learner) -> float:
    """The factor on a learner's leads that the training labels taught.

    Its posterior mean after the last block of an order, averaged over orders.
    """
    paths = chains(evidence, learner).values()
    factors = [_factors(path)[-1] for path in paths if _depth(path)]
    if not factors:
        raise InputError(f"a temperature needs a block that follows a fit, got none: {learner}")
    return float(np.mean(factors))


def temperatures(evidence: Evidence, learner: Learner) -> dict[tuple[int, int], float]:
    """The factor of each full fit by (order, count): its posterior mean after the fit's next block.

    A fit that nothing follows takes the last factor of its order; alone in it, the
    `coding_temperature`. Held-out labels teach no factor anything.
    """
    found = {}
    for order, path in chains(evidence, learner).items():
        factors = _factors(path) or [coding_temperature(evidence, learner)]
        for k, fit in enumerate(path):
            found[order, fit.count] = factors[min(k, len(factors) - 1)]
    return found


def total(saved_OP: Floats) -> Mean:
    """Sum over prompts, mean over orders; bits.

    The interval crosses orders with prompts: it is for fresh orders of fresh pairs, so many.
    """
    return to_mean(stats.two_way_mean(saved_OP), times=saved_OP.shape[1])


def learned(code: Lengths) -> bool:
    """Whether a learner codes the labels in fewer bits than a coin, beyond chance.

    Two conditions. The 95 % interval of what it saves lies above zero (where there are two orders
    or more). And it saves log2 40 = 5.3 bits or more on average over orders. The second alone
    bounds the false alarms at 1/40 whatever the learner, the data and the number of orders: labels
    of coins are coded by any fixed code in k bits fewer with probability at most 2^-k; the mean of
    the orders' probabilities is such a code, and by Jensen's inequality it saves no less than the
    orders do on average.
    """
    mean = total(code.saved_OBP.sum(axis=1))
    return mean.value >= SURE_BITS and (mean.low is None or mean.low > 0)


def _depth(path: tuple[Fit, ...]) -> int:
    """Fits that a block follows."""
    return sum(bool(fit.following) for fit in path)


def _factors(path: tuple[Fit, ...]) -> list[float]:
    factors, weights = [], mixture.uniform()
    for fit in path[: _depth(path)]:
        coded = mixture.code(fit.following, weights)
        factors.append(mixture.mean_factor(coded.weights_T))
        weights = mixture.carried(coded.weights_T)
    return factors


def _saved(path: tuple[Fit, ...], place: dict[int, int]) -> Floats:
    saved_BP = np.zeros((len(path) + 1, len(place)))
    weights = mixture.uniform()
    for block, fit in enumerate(path, start=1):
        bits_N, after = mixture.code(fit.following, weights)
        weights = mixture.carried(after)
        np.add.at(saved_BP[block], [place[name] for name in fit.following_prompts], 1 - bits_N)
    return saved_BP
