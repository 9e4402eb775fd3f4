"""One measurement: what is trained, on which tokens, and the clock beside it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

UNITS = {"reward": "pairs", "dpo": "pairs", "kto": "pairs"}
"""What a row of the table counts, where it is not completions."""
LENGTH = 32
"""Tokens of a prompt, and of a completion with its end."""
GROUP = 4
"""Completions a prompt, of RLOO and GRPO."""
SKIP = 2
"""Steps before the clock counts."""
BETA, RATE = 0.1, 1e-5
EOS, PAD = 0, 1


@dataclass(frozen=True)
class Task:
    """One measurement; with `count` of FLOPs too. `length` is that of a completion."""

    side: str
    work: str
    folder: str
    vocabulary: int
    batch: int
    adapter: bool
    steps: int
    count: bool = False
    length: int = LENGTH
    token_budget: int = 4096
    sample_batch: int = 256

    @property
    def prompts(self) -> int:
        """Of one step."""
        return self.batch // GROUP if self.work in ("rloo", "grpo") else self.batch

    @property
    def completions(self) -> int:
        """Of one step."""
        return self.batch * (1 if self.work in ("sft", "rloo", "grpo") else 2)

    @property
    def done(self) -> int:
        """What a step handles, in the unit of the table."""
        return self.batch if self.work in UNITS else self.completions

    def texts(self) -> list[tuple[list[int], list[int], list[int]]]:
        """(prompt, better, worse) for every step."""
        rng = random.Random(0)

        def draw(count: int) -> list[int]:
            return [rng.randrange(PAD + 1, self.vocabulary) for _ in range(count)]

        return [
            (draw(LENGTH), [*draw(self.length - 1), EOS], [*draw(self.length - 1), EOS])
            for _ in range(self.prompts * self.steps)
        ]


class Clock:
    """Wall and processor time at the end of every step, and of what is done once for all."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []
        self.once = (0.0, 0.0)

    def tick(self, *_: object) -> None:
        """A step is over."""
        self.ends.append(_now())

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is shared out over the steps."""

        def timed(*args: Any, **options: Any) -> Any:
            since = _now()
            out = function(*args, **options)
            wall, cpu = _now()
            self.once = (self.once[0] + wall - since[0], self.once[1] + cpu - since[1])
            return out

        return timed

    def seconds(self) -> dict[str, float]:
        """Of one step, wall and processor; `once` is the share that was spent before."""
        first, last, count = self.ends[SKIP - 1], self.ends[-1], len(self.ends)
        step, cpu = ((b - a) / (count - SKIP) for a, b in zip(first, last, strict=True))
        wall, once_cpu = (value / count for value in self.once)
        return {"seconds": step + wall, "cpu": cpu + once_cpu, "once": wall}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def reward(completions: list[Any]) -> list[float]:
    """The mean token id."""
    return [sum(ids) / len(ids) for ids in completions]
