"""What a loss may read: scores with their gradient, and what is known about the completions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ScoredTokens:
    """What a loss by token may read, all (U, K, T), 0 on padding; see `Scored`.

    `logprob` and `value` carry gradients. `before` are the critic's values when the round was
    written, `returns` what it should have said, reward units.
    """

    logprob: Tensor
    mask: Tensor
    behaviour: Tensor
    reference: Tensor | None = None
    advantage: Tensor
    value: Tensor | None = None
    before: Tensor | None = None
    returns: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a loss may read about U units of K completions, all (U, K) unless said.

    `score` carries the gradient: log-probabilities in nats or rewards in reward units. `logprob`
    is the policy's own log-probability (None for a scalar head), without gradient. `behaviour` is
    the writer's log-probability, `reward` the labeller's score less what the KL costs, `advantage`
    that against the round; None offline. `baseline` is one number for the whole batch, reward
    units. `tokens` is there for losses by token, `limit` the most tokens that a sample may have.
    """

    score: Tensor
    lengths: Tensor
    logprob: Tensor | None = None
    reference: Tensor | None = None
    behaviour: Tensor | None = None
    reward: Tensor | None = None
    advantage: Tensor | None = None
    baseline: Tensor | None = None
    tokens: ScoredTokens | None = None
    limit: int = 0
