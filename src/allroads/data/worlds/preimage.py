"""Preimages: verifying applies a map that looks at neighbours only, generating inverts it.

A string of symbols lies on a ring. One round of the map replaces every symbol by a fixed table's
entry for it and its right neighbour. Prompt = what `steps` rounds make of a hidden string;
completion = any string that they send there too. The true reward is the share of positions at
which its image equals the prompt.

What verifying takes: at each position, one table entry a round; position i of the image depends on
`steps` + 1 neighbours of the completion, and on nothing else.
What generating takes: at `steps` 0 copying. Else each word has to go on from the words before it
and leave a way to go on behind it, and the last has to fit the first. With `one_way` 0 every table
row is a permutation: whatever stands on the left, exactly one symbol gives the wanted image, so
writing greedily misses only where the ring closes (at one step). With `one_way` 1 a row misses some
symbols and has others twice: writing greedily runs into dead ends, and avoiding them takes looking
ahead over the whole prompt, through all rounds.
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


@final
@dataclass(frozen=True, kw_only=True)
class Preimage:
    """A table, how often it is applied, and how much of a solution the prompt gives away.

    Attributes:
        steps: rounds of the map. 0 is the identity. More make both verifying and generating
            harder; generating faster, because its search grows with every round.
        symbols: different symbols, 2 to 26. The table has symbols x symbols entries to know, for
            the verifier as for the generator.
        length: symbols of a string, 2 to 64.
        one_way: share of the table that is shuffled, 0 to 1. Moves generating alone.
        hint: words of one solution that stand in the prompt behind the image. Moves generating
            alone: at `length` it is copying, whatever the map.
        map_seed: draws the table; the same for every training seed.
    """

    steps: int = 1
    symbols: int = 4
    length: int = 8
    one_way: float = 1.0
    hint: int = 0
    map_seed: int = 0
    name: str = field(default="preimage", init=False)

    usual: ClassVar[Draws] = Draws(slip=0.25)
    unit = "reward, 0 to 1"
    truth = (
        "the share of positions at which the completion's image under the map equals the prompt, "
        "by the world's own verifier"
    )

    def __post_init__(self) -> None:
        for name, low, high in (
            ("steps", 0, 64),
            ("symbols", 2, 26),
            ("length", 2, 64),
            ("hint", 0, self.length),
            ("one_way", 0, 1),
        ):
            if not low <= (value := getattr(self, name)) <= high:
                raise ConfigError(f"preimage: {name} must be {low} to {high}, got {value}")

    @property
    def identity(self) -> object:
        """All dials."""
        return repr(self)

    @property
    def words(self) -> tuple[str, ...]:
        """One letter a symbol; symbol s is token s + 1."""
        return letters(self.symbols)

    @property
    def longest_prompt(self) -> int:
        """The image, and the hint."""
        return self.length + self.hint

    @property
    def longest_answer(self) -> int:
        """As long as the image."""
        return self.length

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """(symbols, symbols) image of a symbol (row) with its right neighbour (column).

        Every symbol stands in it equally often.
        """
        rng = child(self.map_seed, "preimage", "table")
        rows = [rng.permutation(self.symbols) for _ in range(self.symbols)]
        flat = np.array(rows, dtype=np.int64).ravel()
        # Nested in one_way: what is shuffled at a half is shuffled at one too.
        loose = rng.permutation(flat.size)[: round(self.one_way * flat.size)]
        flat[loose] = flat[loose][rng.permutation(loose.size)]
        return flat.reshape(self.symbols, self.symbols)

    def image(self, symbols: Sequence[int]) -> tuple[int, ...]:
        """What `steps` rounds make of a ring of symbols (counted from 0)."""
        ring = np.array(symbols, dtype=np.int64)
        for _ in range(self.steps):
            ring = self.table[ring, np.roll(ring, -1)]
        return tuple(ring.tolist())

    def problems(self, rng: np.random.Generator) -> Iterator[Problem]:
        """Images of strings drawn at random; the string is known to the demonstrator."""
        while True:
            hidden = rng.integers(self.symbols, size=self.length).tolist()
            solution = tuple(symbol + 1 for symbol in hidden)
            image = tuple(symbol + 1 for symbol in self.image(hidden))
            yield Problem((*image, *solution[: self.hint]), solution)

    def demonstrate(self, problem: Problem, rng: np.random.Generator) -> Tokens:
        """The string that the prompt was made of."""
        return problem.known

    def score(self, problems: Sequence[Problem], answers: Sequence[Tokens]) -> list[float]:
        """Share of positions of the image that equal the prompt's.

        A shorter or longer answer is a smaller or larger ring. Its image is compared position by
        position from the left, and positions without a partner are wrong: the share is of the
        longer of both. Nothing at all scores 0.
        """
        return [
            self._share(problem.prompt[: self.length], answer)
            for problem, answer in zip(problems, answers, strict=True)
        ]

    def _share(self, wanted: Tokens, answer: Tokens) -> float:
        found = self.image([token - 1 for token in answer])
        hits = sum(a + 1 == b for a, b in zip(found, wanted, strict=False))
        return hits / max(len(wanted), len(answer))

    def text(self, tokens: Sequence[int]) -> str:
        """Letters with spaces between them."""
        return spoken(self.words, tokens)
