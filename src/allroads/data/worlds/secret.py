"""Secrets: every prompt has one hidden reference, and the reward is similarity with it.

The analogue of ROUGE-L against a reference that only the grader has. The word at position i of the
reference is an entry of table i, looked up by `reads` words of the prompt at positions that are
fixed for i. Whoever knows the tables can write the reference word by word, and whoever cannot
write it cannot judge it either: verifying a word and generating it look up the same entry. Held-out
prompts are new combinations of entries that training prompts show.

Nothing easier tells good from bad: all references have the same length, every word stands in a
table equally often, none is illegal anywhere, and no position copies the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from allroads.data.worlds.synthetic import Draws, Problem, letters, spoken
from allroads.errors import ConfigError
from allroads.seeding import child
from allroads.types import Tokens

_ENTRIES = 1 << 16
"""Entries of one table, at most."""


@final
@dataclass(frozen=True, kw_only=True)
class Secret:
    """The tables. All its dials move verifying and generating together.

    Attributes:
        length: words of a reference, 1 to 64; one table each.
        prompt_length: words of a prompt, 1 to 64.
        symbols: different words, 2 to 26.
        reads: words of the prompt that one word of the reference depends on; a table has
            symbols ** reads entries to know. With 2 and 8 symbols the built-in transformer learns
            nothing from 12,000 demonstrations; with 2 and 4 symbols it does.
        similarity: 'positions', the share of positions with the reference's word, or 'rouge-l',
            F1 of the longest common subsequence (which chance alone makes well above 0).
        map_seed: draws the tables and what they read; the same for every training seed.
    """

    length: int = 8
    prompt_length: int = 6
    symbols: int = 8
    reads: int = 1
    similarity: str = "positions"
    map_seed: int = 0
    name: str = field(default="secret", init=False)

    usual: ClassVar[Draws] = Draws(slip=0.4)
    unit = "reward, 0 to 1"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("length", 1, 64),
            ("prompt_length", 1, 64),
            ("symbols", 2, 26),
            ("reads", 1, self.prompt_length),
        ):
            if not low <= (value := getattr(self, name)) <= high:
                raise ConfigError(f"secret: {name} must be {low} to {high}, got {value}")
        if self.symbols**self.reads > _ENTRIES:
            raise ConfigError(
                f"secret: symbols ** reads = {self.symbols**self.reads} entries a table, at most "
                f"{_ENTRIES}; lower one of them"
            )
        if self.similarity not in ("positions", "rouge-l"):
            raise ConfigError(
                f"secret: similarity must be 'positions' or 'rouge-l', got {self.similarity!r}"
            )

    @property
    def identity(self) -> object:
        """All dials."""
        return repr(self)

    @property
    def truth(self) -> str:
        """By the chosen similarity."""
        how = {
            "positions": "the share of positions with the word of the prompt's hidden reference",
            "rouge-l": "ROUGE-L (F1 of the longest common subsequence) with the prompt's hidden "
            "reference",
        }
        return f"{how[self.similarity]}, by the world's own verifier"

    @property
    def words(self) -> tuple[str, ...]:
        """Letters, the same in prompt and reference."""
        return letters(self.symbols)

    @property
    def longest_prompt(self) -> int:
        """All prompts are of one length."""
        return self.prompt_length

    @property
    def longest_answer(self) -> int:
        """All references are of one length."""
        return self.length

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """(length, reads) positions of the prompt that each table reads, different in a row.

        Shuffled decks of the positions are dealt out, so that all are read about equally often.
        """
        rng = child(self.map_seed, "secret", "places")
        hands = self.prompt_length // self.reads
        decks = [
            rng.permutation(self.prompt_length)[: hands * self.reads].reshape(hands, self.reads)
            for _ in range(-(-self.length // hands))
        ]
        return np.concatenate(decks)[: self.length].astype(np.int64)

    @cached_property
    def tables(self) -> NDArray[np.int64]:
        """(length, symbols ** reads) symbols; each stands in a table equally often."""
        rng = child(self.map_seed, "secret", "tables")
        every = np.arange(self.symbols**self.reads) % self.symbols
        return np.array([rng.permutation(every) for _ in range(self.length)], dtype=np.int64)

    def reference(self, prompt: Sequence[int]) -> Tokens:
        """The hidden reference of a prompt's tokens."""
        symbols = np.array(prompt)[self.places] - 1
        entry = symbols @ self.symbols ** np.arange(self.reads - 1, -1, -1)
        return tuple((self.tables[np.arange(self.length), entry] + 1).tolist())

    def problems(self, rng: np.random.Generator) -> Iterator[Problem]:
        """Prompts of words drawn at random."""
        while True:
            prompt = tuple((rng.integers(self.symbols, size=self.prompt_length) + 1).tolist())
            yield Problem(prompt, self.reference(prompt))

    def demonstrate(self, problem: Problem, rng: np.random.Generator) -> Tokens:
        """The reference."""
        return problem.known

    def score(self, problems: Sequence[Problem], answers: Sequence[Tokens]) -> list[float]:
        """Similarity with the reference; words beyond its end, or missing, are wrong."""
        alike = positions if self.similarity == "positions" else rouge_l
        return [alike(p.known, a) for p, a in zip(problems, answers, strict=True)]

    def text(self, tokens: Sequence[int]) -> str:
        """Letters with spaces between them."""
        return spoken(self.words, tokens)


def positions(reference: Tokens, answer: Tokens) -> float:
    """Positions with the same word, as a share of the longer of both."""
    hits = sum(a == b for a, b in zip(reference, answer, strict=False))
    return hits / max(len(reference), len(answer))


def rouge_l(reference: Tokens, answer: Tokens) -> float:
    """F1 of the longest common subsequence: twice its length over the sum of both lengths.

    Source: Lin 2004, "ROUGE", section 3.1, with beta 1.
    """
    longest = [0] * (len(answer) + 1)
    for word in reference:
        before = longest
        longest = [0]
        for j, other in enumerate(answer):
            best = before[j] + 1 if word == other else max(before[j + 1], longest[j])
            longest.append(best)
    return 2 * longest[-1] / (len(reference) + len(answer))
