"""Tiny models of several families with a tokenizer of whole words, and preferences in that tongue.

A planted word decides every preference, so that a grader has something to find.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.conftest import tiny_config

NOUNS = "fox owl elk hen cod bee ant ram".split()
VERBS = "runs eats naps sings digs hides".split()
GOOD, BAD = "gladly", "sadly"
WORDS = ("<eos>", "what", "does", "the", "do", *NOUNS, *VERBS, GOOD, BAD)
"""As many as the tiny models of the other tests have tokens."""


def save_model(folder: Path, family: str = "gpt2", *, seed: int = 0) -> Path:
    """A model folder as transformers writes it: weights, configuration, tokenizer."""
    torch.manual_seed(seed)
    config = tiny_config(family)
    assert config.vocab_size >= len(WORDS)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=WORDS[0]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=WORDS[0]).save_pretrained(folder)
    return folder


def preferences(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Pairs of which the better one is always glad."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        subjects = " ".join(rng.choice(NOUNS) for _ in range(4))
        acts = [" ".join(rng.choice(VERBS) for _ in range(rng.randint(1, 4))) for _ in range(2)]
        rows.append(
            {
                "prompt": f"what does the {subjects} do",
                "chosen": f" {acts[0]} {GOOD}",
                "rejected": f" {acts[1]} {BAD}",
            }
        )
    return rows


def write_preferences(path: Path, count: int, *, seed: int = 0) -> Path:
    """The pairs as JSONL."""
    return write_rows(path, preferences(count, seed=seed))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
