"""The three estimators of KL(pi || ref), summed over every completion: their values and gradients.

As a loss, an estimator is differentiated on samples that count as given; that is another function
than its value, and this table says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from allroads import objectives
from allroads.exact.estimators import length_and_direction
from allroads.lab.oracle.ground import PROMPTS, Ground, policy
from allroads.lab.oracle.leaves import flat_gradient, token_logprobs
from allroads.models.policy import Policy

Place = Literal["completion", "token"]
_ESTIMATORS = {"k1": objectives.k1, "k2": objectives.k2, "k3": objectives.k3}


@dataclass(frozen=True, kw_only=True)
class KlRow:
    """One estimator in one place."""

    estimator: str
    place: str
    """Of whole completions, or of each token and summed; 'in the reward' as a loss on scores."""
    value: float
    """Its mean, nats per completion."""
    bias: float
    """The same less KL(pi || ref)."""
    length: float
    """Of its gradient along that of KL(pi || ref), as a share of that."""
    cosine: float
    """Of the angle between the two; 0 where there is no gradient."""
    gradient_of: str
    """What its gradient is the gradient of."""
    difference: float
    """Greatest difference from that gradient, as a share of the greatest entry of KL's."""


@dataclass(frozen=True)
class _Tables:
    """(P, L, H) token log-probabilities, with and without gradient, and (P, L) chances, fixed."""

    pi: Tensor
    ref: Tensor
    chance: Tensor
    model: nn.Module

    def gradient(self, value: Tensor) -> Tensor:
        return flat_gradient(value, self.model)


def kl_table(ground: Ground) -> Iterator[KlRow]:
    """k1, k2 and k3 of whole completions and of tokens as losses, and k1 in the reward."""
    t = _tables(ground)
    ratio = (t.pi - t.ref).sum(dim=2)
    kl = (t.pi.sum(dim=2).exp() / len(PROMPTS) * ratio).sum()
    wanted = t.gradient(kl)
    for place in ("completion", "token"):
        for name, function in _ESTIMATORS.items():
            values_PL = _of_completions(t, function, place)
            loss = (t.chance * values_PL).sum()
            says, named = _gradient_of(t, name, place, wanted)
            yield _row(name, place, loss.item(), kl.item(), t.gradient(loss), wanted, says, named)
    in_reward = (t.chance * ratio.detach() * t.pi.sum(dim=2)).sum()
    value = (t.chance * ratio).sum().item()
    yield _row("k1", "in the reward", value, kl.item(), t.gradient(in_reward), wanted,
               "KL(pi, ref)", wanted)  # fmt: skip


def _tables(ground: Ground) -> _Tables:
    trainee: Policy = policy(ground, "trainee")
    pi = token_logprobs(ground, trainee)
    with torch.no_grad():
        ref = token_logprobs(ground, policy(ground, "reference"))
    chance = pi.detach().sum(dim=2).exp() / len(PROMPTS)
    return _Tables(pi, ref, chance, trainee.model)


def _of_completions(t: _Tables, function: Callable[[Tensor, Tensor], Tensor], place: str) -> Tensor:
    """(P, L) the production estimator of each completion."""
    pi, ref = (t.pi, t.ref) if place == "token" else (t.pi.sum(dim=2), t.ref.sum(dim=2))
    values = function(pi.flatten(), ref.flatten()).view_as(pi)
    return values.sum(dim=2) if place == "token" else values


def _gradient_of(t: _Tables, name: str, place: str, wanted: Tensor) -> tuple[str, Tensor]:
    """What theory says an estimator's gradient on given samples is, and that gradient.

    d k1 = d log pi, whose mean is 0. d k2 = log(pi / ref) d log pi, whose mean is d KL(pi || ref).
    d k3 = (1 - ref / pi) d log pi, whose mean is -sum ref d log pi = d KL(ref || pi). Of tokens the
    same holds at each prefix, and pi's chance to reach the prefix counts as given.
    """
    if name == "k1":
        return "0", torch.zeros_like(wanted)
    if place == "completion":
        if name == "k2":
            return "KL(pi, ref)", wanted
        pi, ref = t.pi.sum(dim=2), t.ref.sum(dim=2)
        return "KL(ref, pi)", t.gradient((ref.exp() / len(PROMPTS) * (ref - pi)).sum())
    # Given the prefix, the chance of the next token is differentiated, that of the prefix is not.
    fixed = t.pi.detach()
    after = fixed.flip(2).cumsum(dim=2).flip(2) - fixed
    before = fixed.cumsum(dim=2) - fixed
    given = (before + after).exp() / len(PROMPTS)
    if name == "k2":
        value = (given * t.pi.exp() * (t.pi - t.ref) * _real(t)).sum()
        return "KL(pi, ref) of the next token, prefixes given", t.gradient(value)
    value = (given * t.ref.exp() * (t.ref - t.pi) * _real(t)).sum()
    return "KL(ref, pi) of the next token, prefixes given", t.gradient(value)


def _real(t: _Tables) -> Tensor:
    """(P, L, H) 0 behind a completion's last token."""
    return (t.pi != 0).to(t.pi.dtype)


def _row(
    estimator: str,
    place: str,
    value: float,
    kl: float,
    found: Tensor,
    wanted: Tensor,
    gradient_of: str,
    named: Tensor,
) -> KlRow:
    none = float(found.abs().max()) < 1e-12 * float(wanted.abs().max())
    length, cosine = (0.0, 0.0) if none else length_and_direction(found.numpy(), wanted.numpy())
    return KlRow(
        estimator=estimator,
        place=place,
        value=value,
        bias=value - kl,
        length=length,
        cosine=cosine,
        gradient_of=gradient_of,
        difference=float((found - named).abs().max() / wanted.abs().max()),
    )
