"""The nouns that every room shares. Plain frozen values; no torch.

`Tokens` are vocabulary ids. A completion's tokens end with the end-of-sequence id when it is
finished; an unfinished completion (cut at the length limit) does not. Only where the task itself
ends at a fixed length is a completion of that length finished without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Tokens = tuple[int, ...]
Message = dict[str, str]
"""One turn of a conversation: {"role": ..., "content": ...}."""
PromptText = str | tuple[Message, ...]
"""A plain prompt, or the messages that come before the completion."""
Split = Literal["train", "selection", "grader", "test"]
"""train: what the roads learn from; selection: fits the selection scorer; grader: fits the grader
(real data only); test: never trained on by anybody."""


@dataclass(frozen=True, kw_only=True)
class PairText:
    """One human preference, as text: `chosen` was preferred to `rejected` for the same prompt."""

    prompt: PromptText
    chosen: str
    rejected: str
    where: str
    """File and line, for messages."""


@dataclass(frozen=True, kw_only=True)
class DemonstrationText:
    """One demonstration, as text."""

    prompt: PromptText
    completion: str
    where: str


@dataclass(frozen=True, kw_only=True)
class UnpairedText:
    """One completion with a thumb up (True) or down (False), as text."""

    prompt: PromptText
    completion: str
    label: bool
    where: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One preference in tokens. `prompt_id` is the same for all rows with the same prompt."""

    prompt_id: str
    prompt: Tokens
    chosen: Tokens
    rejected: Tokens
    conversation_id: str = ""
    """The same for all prompts that continue one conversation; "" where a prompt stands alone."""

    @property
    def cluster(self) -> str:
        """What is split, and drawn from the world, as one: the conversation, else the prompt."""
        return self.conversation_id or self.prompt_id


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One demonstration in tokens."""

    prompt_id: str
    prompt: Tokens
    completion: Tokens


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt in tokens. See `Pair` for its conversation."""

    prompt_id: str
    tokens: Tokens
    conversation_id: str = ""

    @property
    def cluster(self) -> str:
        """What is split, and drawn from the world, as one: the conversation, else the prompt."""
        return self.conversation_id or self.prompt_id


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One sampled completion.

    `logprob` is its log-probability under the policy that wrote it, at the sampling temperature,
    in nats, summed over its tokens (end-of-sequence included). `finished` tells whether it ends
    with end-of-sequence, or where the task itself does; otherwise it was cut at the length limit.
    """

    prompt: Prompt
    tokens: Tokens
    logprob: float
    finished: bool


class Verifier(Protocol):
    """A programmatic judge of completions: true rewards, in reward units, higher is better."""

    def __call__(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> Sequence[float]:
        """One score a completion."""
        ...
