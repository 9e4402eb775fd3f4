"""Made-up papers with summaries, as the world `scitldr` reads them, and a tiny model of bytes.

A summary is the abstract's last words, so that a reader who knows where to look can write it.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.conftest import tiny_config
from tests.data.synthetic import byte_tokenizer
from tests.words import NOUNS, VERBS

COUNTS = {"train": 60, "dev": 30, "test": 30}
OPTIONS: dict[str, Any] = {"prompt_tokens": 128, "max_new_tokens": 24}
"""Bytes: nothing is cut."""


def made_up(part: str, count: int) -> list[dict[str, Any]]:
    """Rows of one part; the test papers have two summaries."""
    rng = random.Random(part)
    rows = []
    for number in range(count):
        told = [rng.choice(NOUNS), rng.choice(VERBS), rng.choice(NOUNS)]
        words = [rng.choice(NOUNS + VERBS) for _ in range(12)] + told
        other = [" ".join(told[:2])] if part == "test" else []
        rows.append(
            {
                "title": f"what {rng.choice(NOUNS)} {part}-{number} does",
                "abstract": " ".join(words),
                "tldr": [" ".join(told), *other],
            }
        )
    return rows


def save_bytes_model(folder: Path) -> Path:
    """A model folder whose tokens are bytes, which reads and writes any text."""
    tokenizer = byte_tokenizer()
    config = tiny_config("llama")
    config.update(
        {"vocab_size": len(tokenizer), "max_position_embeddings": 256}
        | {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_papers(folder: Path) -> Path:
    """The three files."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in COUNTS.items():
        write_part(folder / f"scitldr_{part}.jsonl.gz", made_up(part, count))
    return folder


def write_part(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSONL, compressed where the name says so."""
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
