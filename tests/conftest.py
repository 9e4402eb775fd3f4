"""Shared by all tests: one thread (tiny models only lose by two), tiny models of three families."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
)

from allroads.models.policy import Policy

torch.set_num_threads(1)

EOS = 0
VOCABULARY = 23

_COMMON = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": EOS, "pad_token_id": EOS}

FAMILIES = {
    # Absolute positions.
    "gpt2": lambda: GPT2Config(
        **_COMMON,
        n_positions=64,
        n_embd=16,
        n_layer=2,
        n_head=2,
        resid_pdrop=0.1,
        embd_pdrop=0.1,
        attn_pdrop=0.1,
    ),
    # Rotary positions, parallel residual.
    "gpt-neox": lambda: GPTNeoXConfig(
        **_COMMON,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    ),
    # Rotary positions, grouped queries.
    "llama": lambda: LlamaConfig(
        **_COMMON,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        max_position_embeddings=64,
    ),
    # Caps its logits after the head, so the head cannot be applied to hidden states alone.
    "gemma2": lambda: Gemma2Config(
        **_COMMON,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=32,
        max_position_embeddings=64,
        final_logit_softcapping=1.0,
        sliding_window=64,
    ),
}


def tiny_policy(
    family: str = "gpt2", *, seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 2
) -> Policy:
    """A policy with random weights, far enough from uniform for differences to show."""
    torch.manual_seed(seed)
    config = FAMILIES[family]()
    config.num_hidden_layers = layers
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    return Policy(model, EOS)


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param
