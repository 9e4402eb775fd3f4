"""Objectives of groups of samples, by listing every group; no production code in sight.

Axis letters: P prompts, L completions, H tokens, G ordered groups of K completions.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from allroads.lab.oracle.leaves import Leaves
from allroads.roads.choices import Critic, Objective
from allroads.roads.stage import Stage


def rewards(stage: Stage, leaves: Leaves) -> Tensor:
    """(P, L) the label, less beta log(writer / reference) where the KL is in the reward."""
    assert leaves.label is not None
    if stage.objective.kl != "reward":
        return leaves.label
    assert leaves.writer is not None
    assert leaves.reference is not None
    return leaves.label - _beta(stage.objective) * (leaves.writer.detach() - leaves.reference)


def regression(stage: Stage, leaves: Leaves) -> Tensor:
    """REBEL: squared difference of two log-ratios, over eta, and of their rewards, two of pi."""
    assert leaves.logprob is not None
    assert leaves.writer is not None
    chance = leaves.writer.detach().exp()
    moved = (leaves.logprob - leaves.writer.detach()) / stage.objective.eta
    apart = moved - rewards(stage, leaves)
    square = (apart[:, :, None] - apart[:, None, :]) ** 2
    both = chance[:, :, None] * chance[:, None, :]
    # Two draws of one completion are equal in everything.
    return (leaves.rho[:, :, None] * both * square).sum()


def clipped(stage: Stage, leaves: Leaves) -> Tensor:
    """The mean over all groups of the clipped surrogate, the KL in the loss and the critic's error.

    Every token's term, divided as the objective says, weighed by its group's probability.
    """
    objective = stage.objective
    assert leaves.writer is not None
    assert leaves.tokens is not None
    assert leaves.writer_tokens is not None
    assert stage.source.per_prompt is not None
    k = stage.source.per_prompt
    index = torch.tensor(list(product(range(len(leaves.lengths)), repeat=k)))
    chance_PG = leaves.writer.detach()[:, index].sum(dim=2).exp()
    advantage = _advantages(objective, leaves, rewards(stage, leaves), index)
    ratio = (leaves.tokens - leaves.writer_tokens).exp()[:, index]
    near = ratio.clamp(1 - objective.clip, 1 + objective.clip)
    term = -torch.minimum(ratio * advantage, near * advantage)
    if objective.kl == "loss":
        assert leaves.reference_tokens is not None
        log_r = leaves.reference_tokens - leaves.tokens
        term = term + _beta(objective) * (log_r.exp() - 1 - log_r)[:, index]
    if objective.critic is not None:
        assert leaves.value is not None
        returns = _lambda_advantages(objective.critic, objective, leaves) + leaves.value.detach()
        error = 0.5 * (leaves.value - returns) ** 2
        term = term + objective.critic.weight * error[:, index]
    lengths = leaves.lengths[index]
    divisor = {
        "token": lengths.sum(dim=1, keepdim=True).expand_as(lengths),
        "sequence": k * lengths,
        "constant": torch.full_like(lengths, k * leaves.tokens.shape[2]),
    }[objective.normalise]
    share = leaves.rho * chance_PG
    kept = leaves.real[index].double() / divisor[:, :, None]
    return (share[:, :, None, None] * kept * term).sum()


def standardised(stage: Stage, leaves: Leaves) -> Tensor:
    """-E[advantage log pi] with advantages standardised within groups, those held fixed."""
    assert leaves.logprob is not None
    assert leaves.writer is not None
    assert stage.source.per_prompt is not None
    index = torch.tensor(list(product(range(len(leaves.lengths)), repeat=stage.source.per_prompt)))
    chance_PG = leaves.writer.detach()[:, index].sum(dim=2).exp()
    advantage_PGK = _scaled(rewards(stage, leaves)[:, index])
    term = -(advantage_PGK * leaves.logprob[:, index]).mean(dim=2)
    return (leaves.rho * chance_PG * term).sum()


def _beta(objective: Objective) -> float:
    return (objective.beta or 0.0) * objective.beta_factor


def _advantages(objective: Objective, leaves: Leaves, reward: Tensor, index: Tensor) -> Tensor:
    """(P, G, K, H or 1) what each token of each group is weighed by."""
    if objective.critic is not None:
        each = _lambda_advantages(objective.critic, objective, leaves)[:, index]
        return _whitened(each, leaves.real[index]) if objective.critic.whiten else each
    reward_PGK = reward[:, index]
    k = index.shape[1]
    mean = reward_PGK.mean(dim=2, keepdim=True)
    if objective.advantage == "standardised":
        return _scaled(reward_PGK)[..., None]
    # Of a round of one prompt, "others" are the others of the group.
    scale = 1.0 if objective.advantage == "centred" else k / (k - 1)
    return scale * (reward_PGK - mean)[..., None]


def _scaled(reward_PGK: Tensor) -> Tensor:
    apart = reward_PGK - reward_PGK.mean(dim=2, keepdim=True)
    return apart / (reward_PGK.std(dim=2, keepdim=True) + 1e-4)


def _whitened(advantage: Tensor, real: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the real tokens of each group."""
    count = real.sum(dim=(1, 2))[None, :, None, None]
    mean = (advantage * real).sum(dim=(2, 3), keepdim=True) / count
    variance = ((advantage - mean) ** 2 * real).sum(dim=(2, 3), keepdim=True) / count
    return (advantage - mean) / (variance + 1e-8).sqrt()


def _lambda_advantages(critic: Critic, objective: Objective, leaves: Leaves) -> Tensor:
    """(P, L, H) surprises of the critic from each token on, fading by lambda."""
    assert leaves.label is not None
    assert leaves.value is not None
    assert leaves.writer_tokens is not None
    value = leaves.value.detach()
    last = torch.arange(value.shape[2])[None] == leaves.lengths[:, None] - 1
    reward = leaves.label[:, :, None] * last
    if objective.kl == "reward":
        assert leaves.reference_tokens is not None
        reward = reward - _beta(objective) * (leaves.writer_tokens - leaves.reference_tokens)
    out = torch.zeros_like(value)
    for t in range(value.shape[2]):
        for later in range(t, value.shape[2]):
            after = value[:, :, later + 1] if later + 1 < value.shape[2] else 0.0
            surprise = reward[:, :, later] + after - value[:, :, later]
            out[:, :, t] += critic.decay ** (later - t) * surprise * leaves.real[:, later]
    return out
