"""The nouns that every room shares. Plain frozen values; no torch.

`Tokens` are vocabulary ids. A completion's tokens end with the end-of-sequence id when it is
finished; an unfinished completion (cut at the length limit) does not. Only where the task itself
ends at a fixed length is a completion of that length finished without one.
"""

from __future__ import annotations

import math
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
Stop = Literal["eos", "length", "task"]
"""Why a completion ends. eos: with end-of-sequence, which is its last token (on the last step too);
length: cut at the length limit; task: the task itself ends at this length."""


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

    `token_logprobs` are in nats, one per token (end-of-sequence included): what the policy that
    wrote it gave to each token after those before it, at the sampling temperature. They are of the
    very logits that were drawn from: whoever scores the tokens again, in other batches or
    precision, finds the same numbers up to rounding.

    Raises:
        ValueError: when there is not one log-probability per token.
    """

    prompt: Prompt
    tokens: Tokens
    token_logprobs: tuple[float, ...]
    stop: Stop

    def __post_init__(self) -> None:
        if len(self.token_logprobs) != len(self.tokens):
            raise ValueError(
                f"token_logprobs: expected one per token, {len(self.tokens)}; "
                f"got {len(self.token_logprobs)}"
            )

    @property
    def logprob(self) -> float:
        """Log-probability of the whole completion in nats: the sum over its tokens."""
        return math.fsum(self.token_logprobs)

    @property
    def finished(self) -> bool:
        """Whether it ended itself or where the task does; False: cut at the length limit."""
        return self.stop != "length"


class Verifier(Protocol):
    """A programmatic judge of completions: true rewards, in reward units, higher is better."""

    def __call__(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> Sequence[float]:
        """One score a completion."""
        ...
