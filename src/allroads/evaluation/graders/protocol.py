"""What every grader is, log-odds of texts; and the pairs that it is fitted and judged on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from allroads.types import Pair

Decode = Callable[[Sequence[int]], str]


class Grader(Protocol):
    """A score of answers that knows nothing of the policy that wrote them."""

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """(N,) log-odds, one for each prompt with its answer.

        Only the difference of two answers to one prompt means anything: the log-odds that the
        first is preferred. Equal texts get equal scores, whatever stands beside them.
        """
        ...


@dataclass(frozen=True)
class TextPairs:
    """Preference pairs as columns of text, all of one length.

    Pairs of one cluster (a prompt, or the conversation that it continues) are not independent.
    """

    clusters: tuple[str, ...]
    prompts: tuple[str, ...]
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]

    @staticmethod
    def of(pairs: Sequence[Pair], decode: Decode) -> TextPairs:
        """Pairs of tokens as text."""
        return TextPairs(
            clusters=tuple(pair.cluster for pair in pairs),
            prompts=tuple(decode(pair.prompt) for pair in pairs),
            chosen=tuple(decode(pair.chosen) for pair in pairs),
            rejected=tuple(decode(pair.rejected) for pair in pairs),
        )

    def __len__(self) -> int:
        return len(self.clusters)


def margins(grader: Grader, pairs: TextPairs) -> NDArray[np.float64]:
    """(N,) log-odds by which the grader prefers the chosen answers; 0 is a tie."""
    chosen = grader.scores(pairs.prompts, pairs.chosen)
    return chosen - grader.scores(pairs.prompts, pairs.rejected)
