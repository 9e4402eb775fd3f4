"""What the lab needs of a built-in world: a task whose true reward is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from allroads.records import Metric
from allroads.types import Demonstration, Prompt, Split, Tokens, Verifier


class World(Protocol):
    """Prompts, demonstrations and a truth. Making one reads nothing: files are opened when used.

    A world either brings a vocabulary, for which the lab builds a small transformer and a
    tokenizer, or needs the user's base model (`needs_model`), whose tokenizer it then uses.
    """

    needs_model: ClassVar[bool]

    @property
    def name(self) -> str:
        """As `--world` names it."""
        ...

    @property
    def identity(self) -> object:
        """A plain value that changes whenever the task does."""
        ...

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of every token; empty where the base model's tokenizer decides."""
        ...

    @property
    def eos_id(self) -> int:
        """The token that ends a completion."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """Longest completion, end-of-sequence included."""
        ...

    @property
    def fixed_length(self) -> bool:
        """Whether the task ends at `max_new_tokens`: a completion that reaches them is whole.

        Otherwise it was cut before its end, and ranks below every finished one.
        """
        ...

    @property
    def context(self) -> int:
        """Most tokens of prompt and completion together."""
        ...

    @property
    def label_temperature(self) -> float:
        """Chosen beats rejected with probability sigma(label_temperature * lead in truth)."""
        ...

    @property
    def metric(self) -> Metric:
        """The truth in words."""
        ...

    @property
    def what_seeds_vary(self) -> str:
        """One sentence for the report."""
        ...

    def prepare(self) -> None:
        """Make now what is slow to make, before worker processes need it."""
        ...

    def prompts(self, split: Split) -> tuple[Prompt, ...]:
        """The prompts of one split; 'grader' has none, for the truth is the grader."""
        ...

    def demonstrations(self, count: int, *, seed: int) -> tuple[Demonstration, ...]:
        """Demonstrations for training prompts."""
        ...

    def verify(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
        """The true reward of each completion, in `metric.unit`."""
        ...

    @property
    def second_opinion(self) -> Verifier | None:
        """Another judge in the same unit that no road meets, or None where the truth is exact."""
        ...

    def notes(self) -> tuple[str, ...]:
        """Sentences about the data and the truth, for the audit."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Readable text; special tokens are not shown."""
        ...


@runtime_checkable
class Demonstrator(Protocol):
    """A world whose demonstrators answer any training prompt, as often as they are asked."""

    def demonstrate(self, prompt: Prompt, rng: np.random.Generator) -> Tokens:
        """One more answer, distributed as `World.demonstrations` are for this prompt."""
        ...


@runtime_checkable
class Multilingual(Protocol):
    """A world in which the same answer can be given in other tokens, and is worth the same.

    Prompts are in dialect 0, demonstrations in any, preference pairs in dialect 0 alone. Whoever
    judges answers by their tokens rather than by what they say is at a loss in the others
    (Razin et al. 2025, arXiv:2507.07981).
    """

    @property
    def dialects(self) -> int:
        """How many there are; 1 is the world without this dial."""
        ...

    def in_dialect(self, tokens: Tokens, dialect: int) -> Tokens:
        """The same completion, all of it in one dialect; `verify` sees no difference."""
        ...
