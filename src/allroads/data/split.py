"""Which rows may be used for what: a function of the prompt alone.

The same prompt falls into the same split whatever else the file holds, so that a file may grow,
a limit may change, and demonstrations and pairs may come from different files without a leak.
Prompts that continue one conversation fall into one split: a later turn repeats the earlier ones.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import astuple, dataclass
from typing import get_args

from allroads.errors import ConfigError
from allroads.seeding import address
from allroads.types import PromptText, Split

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, kw_only=True)
class SplitFractions:
    """Expected share of the prompts in each split. They add up to 1."""

    train: float = 0.60
    selection: float = 0.12
    grader: float = 0.13
    test: float = 0.15

    def __post_init__(self) -> None:
        """Refuse fractions that are no split."""
        parts = astuple(self)
        if not all(part >= 0 for part in parts) or not math.isclose(sum(parts), 1, abs_tol=1e-9):
            raise ConfigError(f"split fractions must be >= 0 and add up to 1, got {self}")


def prompt_id_of(prompt: PromptText) -> str:
    """A short name of a prompt, the same for all rows with that prompt.

    White space does not count, and a lone user message equals the same words as plain text.
    """
    if isinstance(prompt, str):
        turns = [prompt]
    elif len(prompt) == 1 and prompt[0]["role"] == "user":
        turns = [prompt[0]["content"]]
    else:
        turns = [part for message in prompt for part in (message["role"], message["content"])]
    text = "\0".join(" ".join(turn.split()) for turn in turns)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def conversation_id_of(prompt: PromptText) -> str:
    """The name of the conversation that a prompt continues: that of its first user message alone.

    A prompt of one turn, and plain text, is a conversation of its own and has its own name. The
    system prompt does not count: one may stand before every conversation of a file.
    """
    if not isinstance(prompt, str):
        for message in prompt:
            if message["role"] == "user":
                return prompt_id_of((message,))
    return prompt_id_of(prompt)


def split_of(conversation_id: str, seed: int, fractions: SplitFractions) -> Split:
    """The split of one conversation: a uniform draw at its own address in the seed tree."""
    draw = address(seed, "split", conversation_id) / 2**63
    reached = 0.0
    for split in SPLITS:
        reached += getattr(fractions, split)
        if draw < reached:
            return split
    return next(split for split in reversed(SPLITS) if getattr(fractions, split) > 0)
