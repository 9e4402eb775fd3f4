"""Token level and sequence level: a policy's log-ratio at a token is a soft advantage.

log(pi*(a|s) / ref(a|s)) = (Q(s, a) - V(s)) / beta, and along a completion these sum to (r - beta
log Z) / beta. So a reward of k parameters asks k numbers of a reward model; of a policy it asks the
advantage after every prefix, which moves in more and more directions as the horizon grows.

Source: the paper (a local reward model is a soft Q-function); Rafailov et al. 2024,
arXiv:2404.12358.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from allroads.exact.claim import Claim, equal, exceeds, unequal
from allroads.exact.classes import within_prompt
from allroads.exact.example import BETA, Example, with_end
from allroads.exact.features import token_counts
from allroads.exact.measures import log_partition
from allroads.exact.policies import random_policy
from allroads.exact.soft import soft_value_iteration
from allroads.exact.tree import Array, Levels, Tree
from allroads.findings import Check, Drawing, Line

HORIZONS = (1, 2, 3, 4, 5, 6)
DRAWS = 120
"""Rewards that are drawn from the family to see how many directions it moves in."""
COUNTED = 1e-3
"""A direction counts if its size is at least this part of the largest one's."""


def check() -> tuple[Check, ...]:
    """Every variant."""
    e = with_end()
    found = soft_value_iteration(e.tree, e.reward, beta=BETA, reference=e.reference)
    ratio = log_ratios(found.policy, e.reference)
    advantage = tuple((q - v[..., None]) / BETA for q, v in zip(found.q, found.v, strict=True))
    log_z = log_partition(e.reward, beta=BETA, reference_PL=e.log_ref)
    says = "log(pi / ref) of each token after each prefix, and (Q - V) / beta, nats"
    return (
        equal("token log-ratio", says, e.tree.flatten(ratio), e.tree.flatten(advantage)),
        equal(
            "their sum",
            "log-ratios summed along each completion, and r / beta - log Z, nats",
            e.tree.spread(ratio),
            e.reward / BETA - log_z[:, None],
        ),
        equal(
            "parameters asked of a reward model",
            "directions in which the family's rewards move at 1 to 6 tokens, and parameters",
            [directions(h)[0] for h in HORIZONS],
            2,
        ),
        equal(
            "parameters asked of a policy of one token",
            "directions in which its log-ratios move, and parameters of the reward",
            directions(1)[1],
            2,
        ),
        unequal(
            "reward on the last token",
            "log(pi / ref), and r / beta on last tokens, nothing before, nats",
            e.tree.flatten(ratio),
            e.tree.flatten(_on_last_tokens(e)),
        ),
        unequal(
            "advantage at another beta",
            f"{says}; divided by 2 beta",
            e.tree.flatten(ratio),
            e.tree.flatten(advantage) / 2,
        ),
        unequal(
            "advantage over the reference's value",
            f"{says}; V without the entropy of the choice",
            e.tree.flatten(ratio),
            e.tree.flatten(_over_the_reference(e, found.q)),
        ),
        *(
            exceeds(
                f"horizon {h}",
                "directions in which the policy's log-ratios move, and parameters of the reward "
                "(singular values above a thousandth of the largest)",
                directions(h)[1],
                2,
            )
            for h in HORIZONS[1:]
        ),
    )


def log_ratios(policy: Levels, reference: Levels) -> Levels:
    """Log(policy / reference) of each token after each prefix, nats."""
    return tuple(p - q for p, q in zip(policy, reference, strict=True))


def _on_last_tokens(e: Example) -> Levels:
    """The reward where a completion ends, zero before."""
    last, _ = e.tree.gather(e.reward / BETA, lambda _, level: np.zeros(level.shape[:-1]))
    return last


def _over_the_reference(e: Example, q: Levels) -> Levels:
    means = [
        (np.exp(ref) * level).sum(axis=-1, keepdims=True)
        for ref, level in zip(e.reference, q, strict=True)
    ]
    return tuple((level - mean) / BETA for level, mean in zip(q, means, strict=True))


@cache
def directions(horizon: int) -> tuple[int, int]:
    """Directions in which rewards, and token log-ratios, of a family of two parameters move.

    The family: the counts of two of three tokens, so that r = w . counts; `DRAWS` values of w.
    Directions are singular values of the table (draws by completions, or by prefixes and tokens,
    each less its prompt's or prefix's mean) of at least `COUNTED` times the largest.
    """
    rng = np.random.default_rng(1)
    tree = Tree(vocabulary=3, horizon=horizon)
    reference = random_policy(tree, rng)
    feature = token_counts(tree)[..., 1:]
    rewards, ratios = [], []
    for weights in 2 * rng.standard_normal((DRAWS, feature.shape[-1])):
        reward = feature @ weights
        found = soft_value_iteration(tree, reward, beta=BETA, reference=reference)
        rewards.append(within_prompt(reward).ravel())
        centred = [level - level.mean(axis=-1, keepdims=True) for level in
                   log_ratios(found.policy, reference)]  # fmt: skip
        ratios.append(tree.flatten(tuple(centred)).ravel())
    return _rank(np.array(rewards)), _rank(np.array(ratios))


def _rank(table: Array) -> int:
    sizes = np.linalg.svd(table, compute_uv=False)
    return int(np.sum(sizes >= COUNTED * sizes[0]))


def draw() -> Drawing:
    """Directions asked of a reward model and of a policy, by horizon."""
    x = tuple(float(h) for h in HORIZONS)
    return Drawing(
        title="The same two numbers, asked token by token",
        x="tokens of a completion",
        y="directions that move",
        lines=(
            Line(
                name="token log-ratios of the policy",
                x=x,
                y=tuple(float(directions(h)[1]) for h in HORIZONS),
            ),
            Line(
                name="rewards of completions",
                x=x,
                y=tuple(float(directions(h)[0]) for h in HORIZONS),
            ),
        ),
        reading="A reward of two parameters moves in two directions at every length. What it asks "
        "of the policy after each prefix moves in more, the longer the completion: with one token "
        "both are the same.",
    )


CLAIM = Claim(
    name="token-level",
    statement="The token log-ratio of the soft-optimal policy is the soft advantage (Q - V) / "
    "beta; a reward of k parameters asks more than k numbers of it once there is more than one "
    "token.",
    source="Swamy et al. 2025 (a local reward model is a soft Q-function); Rafailov et al. 2024, "
    "arXiv:2404.12358",
    check=check,
    draw=draw,
)
