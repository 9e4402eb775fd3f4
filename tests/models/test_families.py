"""The plain pass over packed tokens against the library's own, and when it steps back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from allroads.models import families
from allroads.models.accumulation import accumulating
from allroads.models.families import transformer_of
from allroads.models.lora import Lora, add_adapter
from allroads.models.packing import alone, shared
from tests.conftest import tiny_policy
from tests.models.test_policy import COMPLETIONS, PROMPTS, ROWS

COMMON: dict[str, Any] = {"vocab_size": 23, "bos_token_id": None, "eos_token_id": 0}
ROTARY: dict[str, Any] = {
    **{"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6},
    **{"intermediate_size": 20, "max_position_embeddings": 64},
}
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_embd": 24, "n_layer": 2, "n_head": 6, "n_positions": 64}),
    "gpt2, scaled by layer, erf": (
        "gpt2",
        {
            **{"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64},
            **{"scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu"},
        },
    ),
    "gpt-neox, a part turned": ("gpt_neox", {**ROTARY, "rotary_pct": 0.5}),
    "gpt-neox, all turned, in sequence": (
        "gpt_neox",
        {**ROTARY, "rotary_pct": 1.0, "use_parallel_residual": False},
    ),
    "llama, grouped": ("llama", {**ROTARY, "num_key_value_heads": 2}),
    "llama, wide heads, biases": (
        "llama",
        {**ROTARY, "head_dim": 10, "attention_bias": True, "mlp_bias": True},
    ),
    "mistral": ("mistral", {**ROTARY, "num_key_value_heads": 3, "sliding_window": None}),
    "qwen2": ("qwen2", {**ROTARY, "num_key_value_heads": 3}),
}
UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "a window": ("mistral", {**ROTARY, "num_key_value_heads": 3, "sliding_window": 8}),
    "cross-attention": ("gpt2", {**KNOWN["gpt2"][1], "add_cross_attention": True}),
    "another family": (
        "gemma2",
        {**ROTARY, "num_key_value_heads": 3, "head_dim": 4, "sliding_window": 64},
    ),
}


def backbone_of(kind: str, options: dict[str, Any], dtype: torch.dtype = torch.float64) -> Any:
    """With weights far from their start, norms' and biases' too."""
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **COMMON, **options)).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def by_library(backbone: nn.Module) -> Tensor:
    """States of every token of every row, each row alone."""
    states = [
        backbone(input_ids=torch.tensor([[*p, *c]]), use_cache=False).last_hidden_state[0]
        for p, c in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    return torch.cat([s[len(p) :] for s, p in zip(states, PROMPTS, strict=True)])


def gradients(backbone: nn.Module, states: Tensor) -> list[Tensor]:
    backbone.zero_grad()
    states.sin().sum().backward()
    return [p.grad.clone() for p in backbone.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("together", [False, True])
def test_states_and_gradients_are_the_librarys(name: str, together: bool):
    """Rows in full, and completions beside prompts that are there once."""
    backbone = backbone_of(*KNOWN[name])
    transformer = transformer_of(backbone)
    assert transformer is not None
    like = next(backbone.parameters())
    if together:
        unique = list(dict.fromkeys(PROMPTS))
        owner = [unique.index(p) for p in PROMPTS]
        packing = shared(unique, owner, COMPLETIONS, [range(len(c)) for c in COMPLETIONS], like)
    else:
        full = [(*p, *c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
        read = [range(len(p), len(f)) for p, f in zip(PROMPTS, full, strict=True)]
        packing = alone(full, read, like)
    ours = transformer.states(packing.ids, packing.positions, packing.attend, read=packing.read)
    truth = by_library(backbone)
    torch.testing.assert_close(ours, truth, atol=1e-9, rtol=1e-9)
    # A Llama's norms round gradients to single precision, which adds up in another order.
    close = 1e-8 if KNOWN[name][0].startswith("gpt") else 1e-5
    expected = gradients(backbone, truth)
    for mine, theirs in zip(gradients(backbone, ours), expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=close, rtol=close)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox, a part turned", "llama, grouped"])
def test_a_second_piece_adds_its_gradient_to_the_firsts(name: str):
    """The embedding's rows among them, a token that occurs in both included."""
    backbone = backbone_of(*KNOWN[name])
    transformer = transformer_of(backbone)
    assert transformer is not None
    like = next(backbone.parameters())

    def piece(*rows: tuple[int, ...]) -> Tensor:
        packing = alone(rows, [range(len(row)) for row in rows], like)
        return transformer.states(packing.ids, packing.positions, packing.attend).sin().sum()

    apart = [(3, 4, 5), (4, 7, 4, 1)]
    piece(*apart).backward()
    whole = [p.grad.clone() for p in backbone.parameters()]
    backbone.zero_grad()
    with accumulating():
        for row in apart:
            piece(row).backward()
    for parameter, expected in zip(backbone.parameters(), whole, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.layout == torch.strided
        torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", KNOWN)
@torch.no_grad()
def test_other_precisions_agree_too(name: str, dtype: torch.dtype):
    assert transformer_of(backbone_of(*KNOWN[name], dtype)) is not None


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_the_plain_pass_would_not_do_is_left_to_the_library(name: str):
    assert transformer_of(backbone_of(*UNKNOWN[name])) is None


def test_a_subclass_is_not_taken_for_its_family():
    class Mine(type(backbone_of(*KNOWN["gpt2"]))):
        pass

    backbone = backbone_of(*KNOWN["gpt2"])
    backbone.__class__ = Mine
    assert transformer_of(backbone) is None


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox, a part turned", "llama, grouped"])
def test_a_pass_that_disagrees_with_the_library_is_not_used(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    """As after a change of the library: here its attention has another scale than it says."""
    backbone = backbone_of(*KNOWN[name])
    reader = families._READERS[type(backbone).__name__]

    def wrong(model: Any) -> Any:
        found = reader(model)
        blocks = tuple(type(b)(**{**b.__dict__, "scale": 1.01 * b.scale}) for b in found.blocks)
        return type(found)(**{**found.__dict__, "blocks": blocks})

    monkeypatch.setitem(families._READERS, type(backbone).__name__, wrong)
    assert transformer_of(backbone) is None


def test_an_adapter_that_is_added_or_trained_is_seen(family: str):
    """Nothing of a module is kept from an earlier pass."""
    pytest.importorskip("peft", reason="the package peft is not installed")
    policy = tiny_policy(family)
    before = policy.sequence_logprobs(ROWS).detach()
    add_adapter(policy.model, Lora(rank=3, alpha=6.0), seed=1)
    torch.testing.assert_close(policy.sequence_logprobs(ROWS).detach(), before)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3)
    after = policy.sequence_logprobs(ROWS).detach()
    assert (after - before).abs().max() > 0.1
    plain = policy.merged()
    for b, (prompt, completion) in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        logits = plain(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
        each = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        truth = each.gather(1, torch.tensor(completion)[:, None]).sum()
        torch.testing.assert_close(after[b], truth, atol=1e-3, rtol=1e-4)


def test_a_gradient_cleared_after_the_forward_pass_is_whole():
    """Outside `accumulating` anybody may do that, as most loops do."""
    backbone = backbone_of(*KNOWN["gpt2"])
    for _ in range(2):
        transformer = transformer_of(backbone)
        assert transformer is not None
        packing = alone([(3, 4)], [range(2)], next(backbone.parameters()))
        states = transformer.states(packing.ids, packing.positions, packing.attend)
        backbone.zero_grad()
        states.sum().backward()
    assert all(p.grad.layout == torch.strided for p in backbone.parameters() if p.grad is not None)
