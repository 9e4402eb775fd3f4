"""The objective that each loss names, summed over every completion; no production code in sight.

A loss of `roads.losses.LOSSES` joins by a row in `NAMED`, a pick of `roads.picks.PICKS` by a row in
`PICKED`. Objectives are minimised. Axis letters: P prompts, L completions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from allroads.lab.oracle import groups
from allroads.lab.oracle.leaves import Leaves
from allroads.roads.choices import PAIRS, SELF, WRITER, Objective
from allroads.roads.stage import Stage


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
    if stage.pick == "demonstrated":
        return _demonstrated(leaves)
    if not stage.source.sampled:
        return _reordered(leaves, of_data) if stage.pick == "two" else of_data
    assert stage.source.per_prompt is not None
    picked = PICKED[stage.pick](leaves, stage.source.per_prompt)
    return leaves.rho.view(-1, *[1] * (picked.dim() - 1)) * picked


def _demonstrated(leaves: Leaves) -> Tensor:
    """(P, L, L) a demonstration, then a sample for the same prompt that is another completion."""
    both = leaves.demonstrations[:, :, None] * _chance(leaves)[:, None, :]
    return both * ~torch.eye(both.shape[1], dtype=torch.bool)


def _reordered(leaves: Leaves, pairs: Tensor) -> Tensor:
    """(P, L, L) the data's pairs, the better one by the labeller first; its ties drop out."""
    assert leaves.label is not None
    better = leaves.label[:, :, None] > leaves.label[:, None, :]
    share = (pairs + pairs.transpose(1, 2)) * better
    return share / share.sum()


def _likelihood(stage: Stage, leaves: Leaves) -> Tensor:
    assert leaves.logprob is not None
    share = _shares(stage, leaves, leaves.demonstrations)
    if stage.source.sampled:
        # A batch of one winner is divided by that winner's own tokens.
        return -(share * leaves.logprob / leaves.lengths).sum()
    return -(share * leaves.logprob).sum() / (share * leaves.lengths).sum()


def _log_ratio(stage: Stage, leaves: Leaves) -> Tensor:
    """(P, L) log(pi / ref), or log pi without a reference; its mean over tokens where asked."""
    assert leaves.logprob is not None
    ratio = leaves.logprob - (0.0 if leaves.reference is None else leaves.reference)
    return ratio / leaves.lengths if stage.objective.over_tokens == "mean" else ratio


def _price(stage: Stage) -> float:
    assert stage.objective.beta is not None
    return stage.objective.beta * stage.objective.beta_factor


def _over_pairs(stage: Stage, leaves: Leaves, of_lead: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over pairs of a function of the lead of the better one's reward."""
    reward = leaves.reward
    if reward is None:
        reward = _price(stage) * _log_ratio(stage, leaves)
    lead = reward[:, :, None] - reward[:, None, :]
    return (_shares(stage, leaves, leaves.pairs) * of_lead(lead)).sum()


def _bradley_terry(stage: Stage, leaves: Leaves) -> Tensor:
    margin, wrong = stage.objective.margin, stage.objective.smoothing

    def surprise(lead: Tensor) -> Tensor:
        past = lead - margin
        return -(1 - wrong) * torch.sigmoid(past).log() - wrong * torch.sigmoid(-past).log()

    return _over_pairs(stage, leaves, surprise)


def _identity(stage: Stage, leaves: Leaves) -> Tensor:
    beta = _price(stage)
    return _over_pairs(stage, leaves, lambda lead: (lead / beta - 1 / (2 * beta)) ** 2)


def _hinge(stage: Stage, leaves: Leaves) -> Tensor:
    return _over_pairs(stage, leaves, lambda lead: (stage.objective.margin - lead).clamp(min=0))


def _kahneman_tversky(stage: Stage, leaves: Leaves) -> Tensor:
    ratio = _log_ratio(stage, leaves)
    reward = _price(stage) * ratio
    baseline = _price(stage) * (leaves.mismatched * ratio.detach()).sum().clamp(min=0)
    gain, loss = torch.sigmoid(reward - baseline), torch.sigmoid(baseline - reward)
    share = _shares(stage, leaves, leaves.pairs)
    good, bad = share.sum(dim=2), share.sum(dim=1)
    return 0.5 * (good * (1 - gain) + stage.objective.weight * bad * (1 - loss)).sum()


def _odds_ratio(stage: Stage, leaves: Leaves) -> Tensor:
    assert leaves.logprob is not None
    mean = leaves.logprob / leaves.lengths
    log_odds = mean - (1 - mean.exp()).log()
    share = _shares(stage, leaves, leaves.pairs)
    odds = torch.sigmoid(log_odds[:, :, None] - log_odds[:, None, :]).log()
    return -(share.sum(dim=2) * mean).sum() - stage.objective.weight * (share * odds).sum()


def _policy_gradient(stage: Stage, leaves: Leaves) -> Tensor:
    if stage.objective.advantage == "standardised":
        return groups.standardised(stage, leaves)
    k = stage.source.per_prompt
    assert k is not None
    # Of a round of one prompt, "others" are the others of the group.
    share = (k - 1) / k if stage.objective.advantage == "centred" else 1.0
    return share * _regularised_reward(stage, leaves)


def _regularised_reward(stage: Stage, leaves: Leaves) -> Tensor:
    assert leaves.logprob is not None
    assert leaves.label is not None
    kl = 0.0
    if stage.objective.kl == "reward":
        assert leaves.reference is not None
        kl = leaves.logprob - leaves.reference
    beta = stage.objective.beta or 0.0
    return -(leaves.rho * leaves.logprob.exp() * (leaves.label - beta * kl)).sum()


def _data_words(stage: Stage) -> str:
    if not stage.source.sampled:
        chosen = "chosen of " if stage.pick == "winners" else ""
        if stage.pick == "two":
            return "pairs, ordered by the labeller"
        return chosen + ("pairs" if stage.source.who == PAIRS else "demonstrations")
    if stage.pick == "demonstrated":
        return "demonstrations and samples of old pi"
    writer = "pi" if stage.source.who == SELF else stage.source.who
    return f"{stage.pick} of {stage.source.per_prompt} of {writer}, held fixed"


def _lead_words(stage: Stage) -> str:
    objective = stage.objective
    if objective.score != "implicit":
        return f"difference of r ({objective.score})"
    ratio = {None: "log pi", WRITER: "log pi/old pi"}.get(objective.reference, "log pi/ref")
    mean = "mean " if objective.over_tokens == "mean" else ""
    return f"difference of {_factor(objective)}beta {mean}{ratio}"


def _factor(objective: Objective) -> str:
    return "" if objective.beta_factor == 1 else f"{objective.beta_factor:g} "


def _bradley_terry_words(stage: Stage) -> str:
    margin = f" - {stage.objective.margin:g}" if stage.objective.margin else ""
    smoothed = stage.objective.smoothing
    wrong = f", {smoothed:g} of the labels turned round" if smoothed else ""
    return f"-E[log sigma({_lead_words(stage)}{margin})] over {_data_words(stage)}{wrong}"


def _reward_words(stage: Stage) -> str:
    return "score - beta log pi/ref" if stage.objective.kl == "reward" else "score"


def _policy_gradient_words(stage: Stage) -> str:
    kl = " - beta KL(pi, ref)" if stage.objective.kl == "reward" else ""
    named = f"-(E_pi[score]{kl})"
    of = {"centred": "(k - 1)/k of ", "standardised": "standardised by group: "}
    return of.get(stage.objective.advantage, "") + named


def _clipped_words(stage: Stage) -> str:
    objective = stage.objective
    kl = " + beta k3" if objective.kl == "loss" else ""
    critic = f" + {objective.critic.weight:g} (V - return)^2/2" if objective.critic else ""
    led = "lambda" if objective.critic else objective.advantage
    what = f"{led} advantage of {_reward_words(stage)}"
    return f"-E[clipped ratio x {what}]{kl}{critic}, by {objective.normalise}"


NAMED: dict[str, Named] = {
    "likelihood": Named(
        words=lambda stage: f"-E[log pi] per token over {_data_words(stage)}",
        value=_likelihood,
    ),
    "bradley-terry": Named(words=_bradley_terry_words, value=_bradley_terry),
    "identity": Named(
        words=lambda stage: (
            f"E[({_lead_words(stage)}, over beta, - 1/2 beta)^2] over {_data_words(stage)}"
        ),
        value=_identity,
    ),
    "hinge": Named(
        words=lambda stage: (
            f"E[({stage.objective.margin:g} - {_lead_words(stage)})+] over {_data_words(stage)}"
        ),
        value=_hinge,
    ),
    "kahneman-tversky": Named(
        words=lambda stage: (
            "E[sigma(z - beta log pi/ref of better) + sigma(beta log pi/ref of worse - z)]/2 over "
            f"{_data_words(stage)}, z = beta KL+ on mismatched"
        ),
        value=_kahneman_tversky,
    ),
    "odds-ratio": Named(
        words=lambda stage: (
            f"-E[mean log pi of better + {stage.objective.weight:g} log sigma(difference of log "
            f"odds)] over {_data_words(stage)}"
        ),
        value=_odds_ratio,
    ),
    "policy-gradient": Named(words=_policy_gradient_words, value=_policy_gradient),
    "rebel": Named(
        words=lambda stage: (
            f"E[(difference of log pi/old pi / {stage.objective.eta:g} - difference of "
            f"{_reward_words(stage)})^2], samples held fixed"
        ),
        value=groups.regression,
    ),
    "clipped": Named(words=_clipped_words, value=groups.clipped),
}
"""By the name of the loss."""
