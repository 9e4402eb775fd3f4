"""A language model as labeller: a completion's score is its share of wins over its rivals.

A judge of this kind compares two answers and knows no scale, so a completion is scored among the
others of the same prompt: it meets every one of them, in both orders, as `PairJudge` asks. Scores
of two prompts, or of two calls with other rivals, say nothing about each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from allroads.errors import JudgeError
from allroads.judges.llm import UNPARSABLE, Duel, PairJudge, Ruling
from allroads.models.states import Rows
from allroads.types import Tokens


@dataclass(frozen=True)
class JudgeLabeller:
    """Shares of wins, from 0 to 1, among the completions of one prompt.

    Attributes:
        judge: whom to ask; what it has answered is kept and never asked again.
        decode: text of tokens.
    """

    judge: PairJudge
    decode: Callable[[Tokens], str]
    origin: Literal["data", "outside"] = "outside"
    forward_parameters: int = 0

    def queries(self, rows: Rows) -> int:
        """Distinct requests about `rows`, also where an earlier run has the answer."""
        return self.judge.requests(self._duels(rows, _pairs(rows)))

    def __call__(self, rows: Rows) -> list[float]:
        """The mean of 1 (won), 1/2 (tied) and 0 (lost) over a completion's duels with a ruling.

        NaN where no duel has one: all failed, or there is no other completion of that prompt.

        Raises:
            JudgeError: when the server is gone; what it has answered so far is kept.
        """
        pairs = _pairs(rows)
        rulings = self.judge.rule(self._duels(rows, pairs), lambda done, total: None)
        self._refuse_silence(rulings)
        points: list[list[float]] = [[] for _ in range(len(rows))]
        for (a, b), ruling in zip(pairs, rulings, strict=True):
            if ruling.winner is not None:
                won = {"a": 1.0, "tie": 0.5, "b": 0.0}[ruling.winner]
                points[a].append(won)
                points[b].append(1.0 - won)
        return [sum(own) / len(own) if own else math.nan for own in points]

    def _duels(self, rows: Rows, pairs: Sequence[tuple[int, int]]) -> list[Duel]:
        prompts = {prompt: self.decode(prompt) for prompt in set(rows.prompts)}
        texts = [self.decode(completion) for completion in rows.completions]
        return [Duel(prompt=prompts[rows.prompts[a]], a=texts[a], b=texts[b]) for a, b in pairs]

    def _refuse_silence(self, rulings: Sequence[Ruling]) -> None:
        """A server that gives no reply at all is no judge that failed now and then."""
        asked = [ruling for ruling in rulings if not ruling.identical]
        if asked and all(r.failure not in (None, UNPARSABLE) and not r.replies for r in asked):
            last = asked[-1]
            raise JudgeError(
                f"no request to the judge at {self.judge.chat.url} got a reply (the last: "
                f"{last.failure}, {last.detail}). What it has answered before is kept, and so is "
                "all finished work: run the same command again when the server is well"
            )


def _pairs(rows: Rows) -> list[tuple[int, int]]:
    """Places of every two completions of one prompt."""
    groups: dict[Tokens, list[int]] = {}
    for place, prompt in enumerate(rows.prompts):
        groups.setdefault(prompt, []).append(place)
    return [pair for group in groups.values() for pair in itertools.combinations(group, 2)]
