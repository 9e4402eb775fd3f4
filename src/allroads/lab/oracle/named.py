"""The objective that each loss names, summed over every completion; no production code in sight.

A loss of `roads.losses.LOSSES` joins by a row in `NAMED`, a pick of `roads.picks.PICKS` by a row in
`PICKED`. Objectives are minimised. Axis letters: P prompts, L completions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from allroads.lab.oracle.leaves import Leaves
from allroads.roads.stage import PAIRS, SELF, Stage


@dataclass(frozen=True)
class Named:
    """What a loss stands for.

    Attributes:
        words: the formula as text.
        value: the objective, a number with its gradient.
    """

    words: Callable[[Stage], str]
    value: Callable[[Stage, Leaves], Tensor]


def _two(leaves: Leaves, k: int) -> Tensor:
    """(P, L, L) probability that the pair (better, worse) reaches the loss; 0 for what drops out.

    The first two of independent completions, either order. Ties drop out, and so do two completions
    that were both cut.
    """
    chance = _chance(leaves)
    return 2 * chance[:, :, None] * chance[:, None, :] * _beats(leaves)


def _best_worst(leaves: Leaves, k: int) -> Tensor:
    """The same for the best and the worst of `k`: all others lie between them.

    P(best = x, worst = y) by inclusion and exclusion over "x occurs" and "y occurs" among `k` draws
    that all lie between. Equals of x (of y) must be less likely than it: the likelier one is taken.
    """
    chance, place = _chance(leaves), _places(leaves)
    # between[p, x, y, z]: z could be drawn beside a best x and a worst y.
    between = _allows(place, chance)[:, :, None, :] & _allows(-place, chance)[:, None, :, :]
    mass = (between * chance[:, None, None, :]).sum(dim=-1)
    x, y = chance[:, :, None], chance[:, None, :]
    both = mass**k - (mass - x) ** k - (mass - y) ** k + (mass - x - y) ** k
    return both * _beats(leaves)


def _winners(leaves: Leaves, k: int) -> Tensor:
    """(P, L) probability that a completion is the best of `k`; one that was cut is never taken.

    Where all were cut, a round of one prompt has no score to compare by, and nothing is picked.
    """
    chance = _chance(leaves)
    mass = (_allows(_places(leaves), chance) * chance[:, None, :]).sum(dim=-1)
    return (mass**k - (mass - chance) ** k) * leaves.finished


def _allows(place: Tensor, chance: Tensor) -> Tensor:
    """(P, L, L) whether the first may be the greatest where the second is drawn too.

    Of equals the likelier one is taken.
    """
    ahead = place[:, :, None] > place[:, None, :]
    equal = place[:, :, None] == place[:, None, :]
    return ahead | (equal & (chance[:, :, None] >= chance[:, None, :]))


PICKED: dict[str, Callable[[Leaves, int], Tensor]] = {
    "two": _two,
    "best-worst": _best_worst,
    "winners": _winners,
}
"""With which probability a pick hands what to the loss, from one round of one prompt."""


def _chance(leaves: Leaves) -> Tensor:
    assert leaves.writer is not None
    return leaves.writer.exp()


def _places(leaves: Leaves) -> Tensor:
    """(P, L) order of merit: every finished completion before every cut one; equals share one."""
    assert leaves.label is not None
    lowest = leaves.label.min() - 1
    return torch.where(leaves.finished, leaves.label, lowest)


def _beats(leaves: Leaves) -> Tensor:
    """(P, L, L) whether the first is better; never so for two that were cut."""
    place = _places(leaves)
    return place[:, :, None] > place[:, None, :]


def _shares(stage: Stage, leaves: Leaves, of_data: Tensor) -> Tensor:
    """How often each unit reaches the loss: its share of the data, or its probability."""
    if not stage.source.sampled:
        return of_data
    assert stage.source.per_prompt is not None
    picked = PICKED[stage.pick](leaves, stage.source.per_prompt)
    return leaves.rho.view(-1, *[1] * (picked.dim() - 1)) * picked


def _likelihood(stage: Stage, leaves: Leaves) -> Tensor:
    assert leaves.logprob is not None
    share = _shares(stage, leaves, leaves.demonstrations)
    if stage.source.sampled:
        # A batch of one winner is divided by that winner's own tokens.
        return -(share * leaves.logprob / leaves.lengths).sum()
    return -(share * leaves.logprob).sum() / (share * leaves.lengths).sum()


def _bradley_terry(stage: Stage, leaves: Leaves) -> Tensor:
    if leaves.reward is not None:
        reward = leaves.reward
    else:
        assert leaves.logprob is not None
        assert stage.objective.beta is not None
        base = 0.0 if leaves.reference is None else leaves.reference
        reward = stage.objective.beta * (leaves.logprob - base)
    share = _shares(stage, leaves, leaves.pairs)
    return -(share * F.logsigmoid(reward[:, :, None] - reward[:, None, :])).sum()


def _regularised_reward(stage: Stage, leaves: Leaves) -> Tensor:
    assert leaves.logprob is not None
    assert leaves.reference is not None
    assert leaves.label is not None
    beta = stage.objective.beta or 0.0
    kl = leaves.logprob - leaves.reference
    return -(leaves.rho * leaves.logprob.exp() * (leaves.label - beta * kl)).sum()


def _data_words(stage: Stage) -> str:
    if not stage.source.sampled:
        chosen = "chosen of " if stage.pick == "winners" else ""
        return chosen + ("pairs" if stage.source.who == PAIRS else "demonstrations")
    writer = "pi" if stage.source.who == SELF else stage.source.who
    return f"{stage.pick} of {stage.source.per_prompt} of {writer}, held fixed"


def _bradley_terry_words(stage: Stage) -> str:
    reward = {
        "implicit": "beta log pi/ref" if stage.objective.reference else "beta log pi",
    }.get(stage.objective.score, f"r ({stage.objective.score})")
    return f"-E[log sigma(difference of {reward})] over {_data_words(stage)}"


NAMED: dict[str, Named] = {
    "likelihood": Named(
        words=lambda stage: f"-E[log pi] per token over {_data_words(stage)}",
        value=_likelihood,
    ),
    "bradley-terry": Named(words=_bradley_terry_words, value=_bradley_terry),
    "rloo": Named(
        words=lambda stage: "-(E_pi[score] - beta KL(pi, ref))",
        value=_regularised_reward,
    ),
}
"""By the name of the loss."""
