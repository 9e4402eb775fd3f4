"""Pairs of made-up texts; what makes the better one better is the kind."""

from __future__ import annotations

import numpy as np
import pytest

from allroads.evaluation.graders import INSTALL, TF_IDF, TextPairs, resolve

needs_minilm = pytest.mark.skipif(
    resolve("auto") == TF_IDF, reason=f"MiniLM is not installed: {INSTALL}"
)
WORDS = [f"word{i}" for i in range(30)]


def text_pairs(count: int, *, seed: int, kind: str, per_prompt: int = 1) -> TextPairs:
    """Random texts of eight words.

    'planted': the better one holds the word "planted"; 'length': it is longer; 'nothing': neither.
    """
    rng = np.random.default_rng(seed)
    chosen, rejected = [], []
    for _ in range(count):
        better, worse = ([WORDS[i] for i in rng.integers(30, size=8)] for _ in range(2))
        if kind == "planted":
            better[4] = "planted"
        if kind == "length":
            worse = worse[:3]
        chosen.append(" ".join(better))
        rejected.append(" ".join(worse))
    ids = tuple(f"{seed}-{i // per_prompt}" for i in range(count))
    return TextPairs(ids, ("a prompt",) * count, tuple(chosen), tuple(rejected))


def swapped(pairs: TextPairs) -> TextPairs:
    """The same pairs with the opposite labels."""
    return TextPairs(pairs.clusters, pairs.prompts, pairs.rejected, pairs.chosen)
