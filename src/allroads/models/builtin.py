"""The built-in base model and tokenizer: a small transformer for built-in worlds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

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


def world_tokenizer(vocabulary: Sequence[str], eos_id: int) -> PreTrainedTokenizerBase:
    """A word-level tokenizer for a world's vocabulary, so that its checkpoints are complete."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=None))
    words.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    eos = vocabulary[eos_id]
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=eos, pad_token=eos)
