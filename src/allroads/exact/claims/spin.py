"""Maximum-entropy IRL over local rewards is SFT; SPIN has half its gradient, once.

Maximising E_data[r] - E[log Z(r)] over r = r_pi is SFT, because Z(r_pi) = 1: what the policy's own
samples add, E_pi[grad log pi], is zero. SPIN as published is a logistic loss on the data against
samples of an opponent; where pi is the opponent its gradient is beta / 2 times that of SFT, and
elsewhere it is another vector.

Source: the paper (a variant of SPIN is SFT; our reconstruction); Chen et al. 2024,
arXiv:2401.01335.
"""

from __future__ import annotations

import numpy as np

from allroads.exact.claim import Claim, equal, unequal
from allroads.exact.classes import implied_by_policies
from allroads.exact.example import BETA, Example, with_end
from allroads.exact.measures import averaged, boltzmann, kl
from allroads.exact.pairs import sigmoid
from allroads.exact.policies import leaf_logprobs, random_policy
from allroads.exact.tree import Array
from allroads.findings import Check, Drawing, Line

RATE = 2.0
STEPS = 12


def check() -> tuple[Check, ...]:
    """Every variant. All gradients are by the policy's logits, of objectives to be maximised."""
    e = with_end()
    data = np.exp(leaf_logprobs(e.tree, random_policy(e.tree, e.rng)))
    pi, ref = np.exp(e.log_pi), np.exp(e.log_ref)
    score = scores(e, e.tree.flatten(e.policy))
    sft = gradient(e, data, score)
    moved = e.tree.flatten(e.policy) + 0.5 * sft.reshape(e.tree.prompts, -1)
    moved_score, log_moved = scores(e, moved), _leaves(e, moved)
    irl = "gradient of E_data[r] - E[log Z(r)] over local rewards, and of SFT"
    at_start = spin_gradient(e, data, e.log_pi, e.log_pi, score)
    return (
        equal("score", "E_pi[grad log pi], and 0", gradient(e, pi, score), 0.0),
        equal(
            "IRL is SFT",
            irl,
            sft - gradient(e, np.exp(boltzmann(e.log_pi)), score),
            sft,
        ),
        equal("SPIN at its opponent", "gradient of SPIN, and beta/2 of SFT's", at_start,
              BETA / 2 * sft),
        unequal(
            "negatives of another policy",
            f"{irl}; the second expectation under the reference",
            sft - gradient(e, ref, score),
            sft,
        ),
        unequal(
            "rewards that are twice log pi",
            f"{irl}; Z is not 1",
            2 * (sft - gradient(e, np.exp(boltzmann(2 * e.log_pi)), score)),
            2 * sft,
        ),
        unequal(
            "SPIN after one step",
            "gradient of SPIN one step away from its opponent, and beta/2 of SFT's there",
            spin_gradient(e, data, log_moved, e.log_pi, moved_score),
            BETA / 2 * gradient(e, data, moved_score),
        ),
    )  # fmt: skip


def scores(e: Example, logits: Array) -> Array:
    """Derivative of each completion's log-probability by the logits, (P, L, K)."""
    return implied_by_policies(e.tree)(logits.ravel())[1]


def gradient(e: Example, weight_PL: Array, score: Array) -> Array:
    """E over prompts and completions of the score, (K,)."""
    return np.tensordot(np.array(e.tree.rho)[:, None] * weight_PL, score, axes=2)


def spin_gradient(
    e: Example, data: Array, log_pi: Array, log_opponent: Array, score: Array
) -> Array:
    """Gradient of E log sigma(beta (ratio(x) - ratio(x'))), x of the data, x' of the opponent.

    Every pair of completions is summed over; `data` are probabilities (P, L).
    """
    ratio = BETA * (log_pi - log_opponent)
    both = data[:, :, None] * np.exp(log_opponent)[:, None, :]
    pull = BETA * both * sigmoid(-(ratio[:, :, None] - ratio[:, None, :]))
    return gradient(e, pull.sum(axis=2) - pull.sum(axis=1), score)


def _leaves(e: Example, logits: Array) -> Array:
    return implied_by_policies(e.tree)(logits.ravel())[0]


def ascent(e: Example, data: Array, *, renew: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Follow SPIN: before each step, the KL from the start and its gradient's distance from SFT."""
    logits, log_opponent = e.tree.flatten(e.policy), e.log_pi
    far, apart = [], []
    for _ in range(STEPS):
        score, log_pi = scores(e, logits), _leaves(e, logits)
        log_opponent = log_pi if renew else log_opponent
        target = BETA / 2 * gradient(e, data, score)
        found = spin_gradient(e, data, log_pi, log_opponent, score)
        far.append(averaged(e.tree, kl(log_pi, e.log_pi)))
        apart.append(float(np.linalg.norm(found - target) / np.linalg.norm(target)))
        logits = logits + RATE * found.reshape(logits.shape)
    return tuple(far), tuple(apart)


def draw() -> Drawing:
    """SPIN's gradient leaves SFT's as the policy leaves its opponent."""
    e = with_end()
    data = np.exp(leaf_logprobs(e.tree, random_policy(e.tree, e.rng)))
    kept, renewed = ascent(e, data, renew=False), ascent(e, data, renew=True)
    return Drawing(
        title="SPIN is SFT at its opponent, and departs from it",
        x="KL from the first opponent, nats",
        y="difference of gradients / length of SFT's",
        lines=(
            Line(name="opponent kept", x=kept[0], y=kept[1]),
            Line(name="opponent renewed at every step", x=renewed[0], y=renewed[1]),
        ),
        reading="At zero the two gradients are the same up to the factor beta/2. Each step away "
        "from the opponent makes them differ more; with an opponent that is renewed at every step "
        "SPIN remains SFT at half beta.",
    )


CLAIM = Claim(
    name="spin",
    statement="Maximum-entropy IRL over local rewards is SFT, since the expected score is zero; "
    "SPIN's gradient is beta/2 times SFT's where the policy is its own opponent, and departs from "
    "it elsewhere.",
    source="Swamy et al. 2025 (our reconstruction); SPIN: Chen et al. 2024, arXiv:2401.01335",
    check=check,
    draw=draw,
)
