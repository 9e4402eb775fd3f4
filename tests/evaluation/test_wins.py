"""Wins over the start policy, by a grader that prefers the longer text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allroads.evaluation.wins import Wins
from allroads.types import Completion, Prompt

PROMPTS = [Prompt(prompt_id=str(i), tokens=(i,)) for i in range(3)]


class Longer:
    """The longer text is the better one."""

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        assert len(prompts) == len(answers)
        return np.array([len(answer) for answer in answers], dtype=float)


def answer(prompt: Prompt, length: int) -> Completion:
    return Completion(
        prompt=prompt, tokens=(7,) * length, token_logprobs=(-1.0,) * length, stop="eos"
    )


def test_win_tie_and_loss_against_an_opponent_that_is_asked_once():
    asked: list[str] = []

    def draw(prompts: Sequence[Prompt]) -> list[Completion]:
        asked.extend(prompt.prompt_id for prompt in prompts)
        return [answer(prompt, 2 + int(prompt.prompt_id)) for prompt in prompts]

    wins = Wins(Longer(), lambda tokens: "x" * len(tokens), draw)
    # Opponents of 2, 3 and 4 tokens; two answers to the first prompt.
    answers = [answer(PROMPTS[0], 3), answer(PROMPTS[0], 1), answer(PROMPTS[1], 3)]
    assert wins(answers) == [1.0, 0.0, 0.5]
    assert wins([answer(PROMPTS[2], 3)]) == [0.0]
    assert wins.opponent_lengths(PROMPTS) == [2, 3, 4]
    assert wins.opponent_lengths(PROMPTS[:1]) == [2]
    assert asked == ["0", "1", "2"]
