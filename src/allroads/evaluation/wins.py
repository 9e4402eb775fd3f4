"""Wins over the start policy: the metric where no truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from allroads.evaluation.graders import Grader
from allroads.evaluation.graders.protocol import Decode
from allroads.types import Completion, Prompt

Draw = Callable[[Sequence[Prompt]], Sequence[Completion]]
"""The opponent's answer to each prompt."""


class _Opponent(NamedTuple):
    score: float
    length: int


class Wins:
    """Whether a grader prefers an answer to the opponent's own answer to the same prompt.

    Args:
        grader: scores texts.
        decode: tokens to text.
        draw: the opponent's answer to each prompt; asked once for a prompt.
    """

    def __init__(
        self,
        grader: Grader,
        decode: Decode,
        draw: Draw,
    ) -> None:
        self._grader, self._decode, self._draw = grader, decode, draw
        self._opponents: dict[str, _Opponent] = {}

    def __call__(self, answers: Sequence[Completion]) -> list[float]:
        """1 for a win, 1/2 for a tie, 0 for a loss, for each answer."""
        own = self._scores(answers)
        rivals = np.array([one.score for one in self._against([a.prompt for a in answers])])
        return ((own > rivals) + 0.5 * (own == rivals)).tolist()

    def opponent_lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of the opponent's answer to each prompt."""
        return [one.length for one in self._against(prompts)]

    def _against(self, prompts: Sequence[Prompt]) -> list[_Opponent]:
        distinct = {prompt.prompt_id: prompt for prompt in prompts}
        missing = [p for key, p in distinct.items() if key not in self._opponents]
        if missing:
            drawn = self._draw(missing)
            for answer, score in zip(drawn, self._scores(drawn), strict=True):
                self._opponents[answer.prompt.prompt_id] = _Opponent(
                    float(score), len(answer.tokens)
                )
        return [self._opponents[prompt.prompt_id] for prompt in prompts]

    def _scores(self, answers: Sequence[Completion]) -> np.ndarray:
        return self._grader.scores(
            [self._decode(a.prompt.tokens) for a in answers],
            [self._decode(a.tokens) for a in answers],
        )
