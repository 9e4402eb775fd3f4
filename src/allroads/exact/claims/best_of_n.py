"""Best-of-N, exactly: its distribution, its KL, and what soft RL does with the same KL.

The best of N draws has a reward of at most v with probability F(v)^N; completions that share a
reward share its probability as the policy does. So KL(best || pi) = E_best[log (F(v)^N - F(v-)^N) /
p(v)] is exact, ties included. log N - (N - 1)/N bounds it, and is reached where there are no ties.
At equal KL no policy has more reward than the soft-optimal one.

Source: Beirami et al. 2024, arXiv:2401.01879 (log N - (N - 1)/N is a bound); our derivation.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from allroads.exact.claim import Claim, at_most, equal, exceeds, unequal
from allroads.exact.example import Example, with_end
from allroads.exact.measures import averaged, boltzmann, expectation, kl
from allroads.exact.tree import Array
from allroads.findings import Check, Drawing, Line

SUCCESS, N = 0.74, 8
"""A verifier that says yes or no, and a policy that pleases it this often."""


def check() -> tuple[Check, ...]:
    """Every variant."""
    e = with_end()
    tied = np.round(e.reward)
    binary = np.log([[1 - SUCCESS, SUCCESS]])
    best = best_of(N, binary, np.array([[0.0, 1.0]]))
    drawn = best_of(4, e.log_pi, tied)
    many = np.full((1, 10**5), -math.log(10**5))
    ranked = np.arange(10.0**5)[None]
    only_the_top = np.where(np.arange(N) == N - 1, 0.0, -np.inf)[None]
    says = "KL of best-of-{} and log N - (N - 1)/N, nats; {}"
    return (
        equal(
            "distribution",
            "best of 3 by the formula, and by listing all triples, with ties; probabilities",
            np.exp(best_of(3, e.log_pi, tied)),
            by_listing(3, np.exp(e.log_pi), tied),
        ),
        equal(
            "KL of a yes-or-no reward",
            f"best of {N} at success {SUCCESS} against its closed form, nats",
            kl(best, binary),
            _binary_kl(),
        ),
        at_most("bound", says.format(N, "yes-or-no reward"), kl(best, binary), bound(N)),
        at_most("bound, ties", says.format(4, "rounded rewards"), kl(drawn, e.log_pi), bound(4)),
        equal(
            "bound without ties",
            says.format(N, "100,000 completions, none tied"),
            kl(best_of(N, many, ranked), many),
            bound(N),
            tolerance=1e-4,
        ),
        at_most(
            "reward at equal KL",
            "expected reward of best-of-N, N = 2..64, and of the soft-optimal policy",
            *rewards_at_equal_kl(e),
            tolerance=1e-9,
        ),
        unequal(
            "the bound taken for the KL",
            says.format(N, "yes-or-no reward"),
            kl(best, binary),
            bound(N),
            tolerance=1e-4,
        ),
        unequal(
            "the first of tied draws instead of any",
            "best of 3 by the formula, and where ties go to the earliest completion",
            np.exp(best_of(3, e.log_pi, tied)),
            np.exp(best_of(3, e.log_pi, tied - 1e-9 * np.arange(e.tree.leaves))),
        ),
        exceeds(
            "draws without repetition",
            f"KL of the best of {N} different ones among {N} even completions, and the bound, nats",
            kl(only_the_top, np.full((1, N), -math.log(N))),
            bound(N),
        ),
        exceeds(
            "reward at half the KL",
            "expected reward of best-of-N, and of the soft-optimal policy with half its KL",
            *rewards_at_equal_kl(e, 0.5),
            tolerance=1e-9,
        ),
    )


def best_of(n: int, log_pi: Array, reward_PL: Array) -> Array:
    """Log-probabilities of the best of n draws; tied draws are equally likely to be kept. (P, L).

    Args:
        n: draws for each prompt.
        log_pi: leaf log-probabilities of the policy that draws.
        reward_PL: what the draws are ranked by.
    """
    rows = []
    for log_p, reward in zip(log_pi, reward_PL, strict=True):
        _, place = np.unique(reward, return_inverse=True)
        mass = np.bincount(place, weights=np.exp(log_p))
        upto = np.minimum(np.cumsum(mass), 1.0)
        # F^n - F-^n = F^n (1 - (1 - mass / F)^n), in logarithms: no difference of near powers.
        with np.errstate(divide="ignore", invalid="ignore"):
            left_out = n * np.log1p(-np.minimum(mass / upto, 1.0))
            log_gain = n * np.log(upto) + np.log(-np.expm1(left_out)) - np.log(mass)
        rows.append(log_p + np.where(mass > 0, log_gain, 0.0)[place])
    return np.array(rows)


def by_listing(n: int, pi: Array, reward_PL: Array) -> Array:
    """The same probabilities by listing every n-tuple of draws: the slow witness. Small trees."""
    total = np.zeros_like(pi)
    for prompt in range(len(pi)):
        for draws in itertools.product(range(pi.shape[1]), repeat=n):
            chance = math.prod(pi[prompt, i] for i in draws)
            top = max(reward_PL[prompt, i] for i in draws)
            kept = [i for i in draws if reward_PL[prompt, i] == top]
            for i in kept:
                total[prompt, i] += chance / len(kept)
    return total


def bound(n: int) -> float:
    """Log n - (n - 1)/n, nats: above the KL of best-of-n for every policy and reward."""
    return math.log(n) - (n - 1) / n


def _binary_kl() -> float:
    """KL between two coins: best-of-N fails only if every draw fails."""
    fail = (1 - SUCCESS) ** N
    won = (1 - fail) * math.log((1 - fail) / SUCCESS)
    return won + fail * math.log(fail / (1 - SUCCESS))


def at_kl(e: Example, reward: Array, nats: Array) -> Array:
    """The soft-optimal policy whose KL from the policy is `nats` for each prompt; (P, L)."""
    low, high = np.full(e.tree.prompts, -20.0), np.full(e.tree.prompts, 8.0)
    soft = e.log_pi
    for _ in range(100):
        middle = (low + high) / 2
        soft = boltzmann(np.exp(middle)[:, None] * reward, reference_PL=e.log_pi)
        above = kl(soft, e.log_pi) > nats
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return soft


def rewards_at_equal_kl(e: Example, part: float = 1.0) -> tuple[list[float], list[float]]:
    """Reward of best-of-N, N = 2..64, and of soft-optimal policies with (part of) its KL."""
    left, right = [], []
    for n in (2, 4, 8, 16, 32, 64):
        best = best_of(n, e.log_pi, e.reward)
        soft = at_kl(e, e.reward, part * kl(best, e.log_pi))
        left.append(averaged(e.tree, expectation(best, e.reward)))
        right.append(averaged(e.tree, expectation(soft, e.reward)))
    return left, right


def draw() -> Drawing:
    """Reward against KL: best-of-N, where the bound would put it, and the soft-optimal policies."""
    e = with_end()
    ns = (1, 2, 4, 8, 16, 32, 64)
    best = [best_of(n, e.log_pi, e.reward) for n in ns]
    spent = [averaged(e.tree, kl(b, e.log_pi)) for b in best]
    gained = tuple(averaged(e.tree, expectation(b, e.reward)) for b in best)
    soft = [boltzmann(e.reward, beta=b, reference_PL=e.log_pi) for b in np.geomspace(0.08, 50, 80)]
    return Drawing(
        title="Best-of-N against soft RL at equal KL",
        x="KL from the policy that draws, nats",
        y="expected reward",
        lines=(
            Line(
                name="soft-optimal policies, every beta",
                x=tuple(averaged(e.tree, kl(s, e.log_pi)) for s in soft),
                y=tuple(averaged(e.tree, expectation(s, e.reward)) for s in soft),
            ),
            Line(name="best-of-N, N = 1, 2, 4 to 64", x=tuple(spent), y=gained),
            Line(name="the same, drawn at the bound", x=tuple(bound(n) for n in ns), y=gained),
        ),
        reading="Best-of-N lies under the curve of soft-optimal policies. Drawn at the bound "
        "log N - (N - 1)/N instead of its own KL it seems to cost more than it does.",
    )


CLAIM = Claim(
    name="best-of-n",
    statement="Best-of-N has an exact distribution and KL, ties included; log N - (N - 1)/N is "
    "only a bound; at equal KL the soft-optimal policy has at least its reward.",
    source="Beirami et al. 2024, arXiv:2401.01879 (the bound); our derivation",
    check=check,
    draw=draw,
)
