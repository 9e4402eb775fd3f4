"""Estimators of KL(policy || reference) from completions that the *policy* wrote.

All three take the log-probabilities of the sampled completions under both, and return one number
per completion whose mean over samples estimates the KL in nats. Project rule: reports use `k1`
on whole completions, for every road.

Source: Schulman 2020, "Approximating KL divergence".
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def k1(policy_N: Float[Tensor, " n"], reference_N: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """log(policy / reference): unbiased, single values may be negative."""
    return policy_N - reference_N


def k2(policy_N: Float[Tensor, " n"], reference_N: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Half the squared log ratio: biased, never negative; right to second order near zero."""
    return 0.5 * (policy_N - reference_N) ** 2


def k3(policy_N: Float[Tensor, " n"], reference_N: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """R - 1 - log r with r = reference / policy: unbiased, never negative."""
    log_r = reference_N - policy_N
    return torch.expm1(log_r) - log_r
