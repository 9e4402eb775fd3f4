"""The one log-probability, against the model's own full logits, and its invariances."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from allroads.errors import ModelError
from allroads.models import policy as policy_module
from allroads.models.policy import Policy
from allroads.models.states import Rows
from tests.conftest import tiny_policy

PROMPTS = [(3, 4, 5, 6, 7, 8), (3, 4, 5, 6, 7, 8), (9, 2), (3, 4, 5, 6, 7, 8)]
COMPLETIONS = [(1, 2, 3, 0), (4, 4), (5, 6, 7, 8, 9, 10, 0), (11, 0)]
ROWS = Rows(PROMPTS, COMPLETIONS)


def by_definition(
    policy: Policy, prompt: tuple[int, ...], completion: tuple[int, ...], temperature: float
) -> torch.Tensor:
    """One unpadded row through the model's own forward: log softmax of the full logits."""
    ids = torch.tensor([[*prompt, *completion]])
    logits = policy.model(input_ids=ids).logits[0] / temperature
    return torch.stack(
        [logits[len(prompt) - 1 + t].log_softmax(-1)[token] for t, token in enumerate(completion)]
    )


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@torch.no_grad()
def test_equals_the_definition(family: str, temperature: float):
    policy = tiny_policy(family)
    logprobs, mask = policy.token_logprobs(ROWS, temperature=temperature)
    for b, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        truth = by_definition(policy, prompt, completion, temperature)
        torch.testing.assert_close(logprobs[b, : len(completion)], truth, atol=1e-5, rtol=1e-5)
        assert mask[b].tolist() == [t < len(completion) for t in range(mask.shape[1])]
        assert (logprobs[b, len(completion) :] == 0).all()


def gradients(policy: Policy, rows: Rows) -> list[torch.Tensor]:
    policy.model.zero_grad()
    policy.sequence_logprobs(rows).sum().backward()
    return [p.grad.clone() for p in policy.model.parameters() if p.grad is not None]


def test_sharing_the_prompt_is_exact_in_value_and_gradient(
    family: str, monkeypatch: pytest.MonkeyPatch
):
    from allroads.models import states

    policy = tiny_policy(family, dtype=torch.float64)
    monkeypatch.setattr(states, "_WORTH_SHARING", 2.0)
    apart, grad_apart = policy.sequence_logprobs(ROWS).detach(), gradients(policy, ROWS)
    calls = []
    monkeypatch.setattr(states, "_WORTH_SHARING", 0.0)
    for name in ("_shared", "shared"):  # Through the library's forward pass, and packed.
        real = getattr(states, name)
        monkeypatch.setattr(states, name, lambda *a, real=real: calls.append(1) or real(*a))
    shared, grad_shared = policy.sequence_logprobs(ROWS).detach(), gradients(policy, ROWS)
    assert bool(calls) == policy.head_is_last
    # Rotary angles and RMS norms are computed in float32 by transformers, whatever the dtype.
    tolerance = 1e-9 if family == "gpt2" else 1e-5
    torch.testing.assert_close(shared, apart, atol=tolerance, rtol=tolerance)
    for a, b in zip(grad_apart, grad_shared, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def test_batch_mates_and_padding_change_nothing(family: str):
    policy = tiny_policy(family, dtype=torch.float64)
    together = policy.sequence_logprobs(ROWS)
    for b in range(len(ROWS)):
        alone = policy.sequence_logprobs(Rows([PROMPTS[b]], [COMPLETIONS[b]]))
        tolerance = 1e-9 if family == "gpt2" else 1e-5
        torch.testing.assert_close(together[b], alone[0], atol=tolerance, rtol=tolerance)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    policy = tiny_policy(dtype=torch.float64)
    whole, grad_whole = policy.sequence_logprobs(ROWS).detach(), gradients(policy, ROWS)
    small = partial(policy_module.target_logprobs, at_once=2 * 23)
    monkeypatch.setattr(policy_module, "target_logprobs", small)
    chunked, grad_chunked = policy.sequence_logprobs(ROWS).detach(), gradients(policy, ROWS)
    torch.testing.assert_close(whole, chunked, atol=1e-12, rtol=1e-12)
    for a, b in zip(grad_whole, grad_chunked, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_a_head_of_another_kind_is_scored_in_chunks_too(monkeypatch: pytest.MonkeyPatch):
    class Wrapped(torch.nn.Linear):
        pass

    policy = tiny_policy(dtype=torch.float64)
    whole, grad_whole = policy.sequence_logprobs(ROWS).detach(), gradients(policy, ROWS)
    policy.model.get_output_embeddings().__class__ = Wrapped
    seen = []
    real = policy.logits_of
    monkeypatch.setattr(policy_module, "LOGITS_AT_ONCE", 2 * 23)
    monkeypatch.setattr(policy, "logits_of", lambda part: seen.append(len(part)) or real(part))
    chunked, grad_chunked = policy.sequence_logprobs(ROWS).detach(), gradients(policy, ROWS)
    assert seen
    assert max(seen) == 2
    torch.testing.assert_close(whole, chunked, atol=1e-12, rtol=1e-12)
    for a, b in zip(grad_whole, grad_chunked, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_all_completions_of_one_token_sum_to_one(family: str):
    policy = tiny_policy(family, dtype=torch.float64)
    rows = Rows([(5, 6)] * 23, [(token,) for token in range(23)])
    assert policy.sequence_logprobs(rows).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def test_dropout_is_off():
    policy = tiny_policy("gpt2")
    assert torch.equal(policy.sequence_logprobs(ROWS), policy.sequence_logprobs(ROWS))


def test_too_long_and_empty_are_refused():
    policy = tiny_policy()
    with pytest.raises(ModelError, match="64 positions"):
        policy.check_fits(60, 5)
    with pytest.raises(ModelError, match="at least one token"):
        Rows([(1,)], [()])
