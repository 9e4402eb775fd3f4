"""The built-in base model: a small transformer with random weights, for built-in worlds."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from allroads.models.policy import Policy
from allroads.seeding import address


def small_transformer(
    *,
    vocabulary: int,
    context: int,
    eos_id: int,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    seed: int,
) -> Policy:
    """A fresh GPT-2 of `layers` x `width`, its weights drawn at an address of `seed`."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=context,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        activation_function="gelu_pytorch_tanh",
        bos_token_id=None,
        eos_token_id=eos_id,
        pad_token_id=eos_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(address(seed, "base-model"))
        model = GPT2LMHeadModel(config)
    return Policy(model, eos_id)
