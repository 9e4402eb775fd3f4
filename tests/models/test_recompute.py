"""Gradient checkpointing changes memory, never a number."""

from __future__ import annotations

import pytest
import torch

from allroads.models import states
from allroads.models.policy import Policy
from allroads.models.recompute import is_recomputing, prepare, recomputing
from tests.conftest import tiny_policy
from tests.models.test_policy import ROWS


def gradients(policy: Policy) -> tuple[torch.Tensor, list[torch.Tensor]]:
    policy.model.zero_grad()
    with recomputing(policy.model):
        loss = policy.sequence_logprobs(ROWS).sum()
    loss.backward()
    return loss.detach(), [p.grad.clone() for p in policy.model.parameters() if p.grad is not None]


def test_same_value_and_gradient_with_dropout_off(family: str, monkeypatch: pytest.MonkeyPatch):
    """The GPT-2 of these tests has dropout of 0.1 in its configuration: it must stay off."""
    # Encoding a shared prompt apart would round elsewhere: not what is compared here.
    monkeypatch.setattr(states, "_WORTH_SHARING", 2.0)
    policy = tiny_policy(family, dtype=torch.float64)
    plain, plain_grad = gradients(policy)
    prepare(policy.model)
    again, again_grad = gradients(policy)
    torch.testing.assert_close(again, plain, atol=1e-9, rtol=0)
    for one, other in zip(again_grad, plain_grad, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


def test_layers_run_again_in_the_backward_pass_and_only_within(
    monkeypatch: pytest.MonkeyPatch,
):
    policy = tiny_policy("llama")
    prepare(policy.model)
    calls: list[int] = []
    part = policy.model.get_submodule("model.layers.0.mlp")
    real = part.forward
    monkeypatch.setattr(part, "forward", lambda *a, **k: calls.append(1) or real(*a, **k))
    with recomputing(policy.model):
        assert is_recomputing(policy.model)
        loss = policy.sequence_logprobs(ROWS).sum()
    assert not is_recomputing(policy.model)
    assert len(calls) == 1
    loss.backward()
    assert len(calls) == 2
    calls.clear()
    policy.sequence_logprobs(ROWS).sum().backward()
    # Outside, the prompt that rows share is encoded apart: two calls, none of them repeated.
    assert len(calls) in (1, 2)
    assert not any(m.training for m in policy.model.modules())
