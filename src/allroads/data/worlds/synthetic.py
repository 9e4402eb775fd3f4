"""What all worlds with a vocabulary of their own share; a `Task` is what differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, final

import numpy as np

from allroads.errors import ConfigError
from allroads.records import Metric
from allroads.seeding import child
from allroads.types import Demonstration, Prompt, Split, Tokens

EOS = 0
"""Token of end-of-sequence; word w of a task is token w + 1."""
_PATIENCE = 1000
"""Problems passed over in a row, after which a task is taken to have no new one."""


@dataclass(frozen=True)
class Problem:
    """One prompt, and what its task knows about it.

    Attributes:
        prompt: what policies and verifiers see.
        known: what the task needs to demonstrate and to score; nobody else reads it.
    """

    prompt: Tokens
    known: Any = None


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How much is drawn, and how good demonstrators and labels are: the dials of all tasks.

    Attributes:
        train_prompts: prompts that the roads may see, at most; fewer where the task has no more.
        test_prompts: prompts that nobody trains on.
        selection_prompts: prompts for the selection scorer alone.
        slip: chance, for each word of a demonstration, that any other word stands in its place.
        stray: chance that a demonstration answers another training prompt.
        label_temperature: chosen beats rejected with probability sigma(temperature * lead). 0 is
            a coin; the higher, the fewer labels are wrong.
        split_seed: draws the prompts and their split; the same for every training seed.
    """

    train_prompts: int = 4000
    test_prompts: int = 400
    selection_prompts: int = 160
    slip: float = 0.0
    stray: float = 0.0
    label_temperature: float = 10.0
    split_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train_prompts", "test_prompts", "selection_prompts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("slip", "stray"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a chance, 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.label_temperature < np.inf:
            raise ConfigError(
                f"label_temperature must be finite and not negative, got {self.label_temperature}"
            )


class Task(Protocol):
    """What differs from one world to the next: words, problems, answers and their truth."""

    usual: ClassVar[Draws]
    """The common dials where the user sets none."""

    @property
    def name(self) -> str:
        """As `--world` names it."""
        ...

    @property
    def identity(self) -> object:
        """A plain value that changes whenever the task does."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """The text of every token but end-of-sequence: different, without white space."""
        ...

    @property
    def longest_prompt(self) -> int:
        """Words of a prompt, at most."""
        ...

    @property
    def longest_answer(self) -> int:
        """Words of an answer, at most; a policy may write one token more, end-of-sequence."""
        ...

    @property
    def truth(self) -> str:
        """What the true reward is, in words that end the sentence "true reward: ..."."""
        ...

    @property
    def unit(self) -> str:
        """Unit and range of the true reward."""
        ...

    def problems(self, rng: np.random.Generator) -> Iterator[Problem]:
        """Problems in random order, as many as there are.

        One whose prompt came before, or is empty, is passed over.
        """
        ...

    def demonstrate(self, problem: Problem, rng: np.random.Generator) -> Tokens:
        """One good answer, without end-of-sequence."""
        ...

    def score(self, problems: Sequence[Problem], answers: Sequence[Tokens]) -> list[float]:
        """The true reward of each answer, without end-of-sequence.

        An answer with more words than `longest_answer` was cut before its end.
        """
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Readable text of tokens without end-of-sequence."""
        ...


@final
@dataclass(frozen=True)
class Synthetic:
    """The world of a task: prompts and their split, demonstrators with faults, the truth."""

    task: Task
    draws: Draws

    needs_model: ClassVar[bool] = False
    fixed_length = False
    second_opinion = None
    eos_id = EOS
    what_seeds_vary = (
        "each seed redraws everything but the task and the prompts: first weights, demonstrations, "
        "preference pairs and their labels, order of the data, samples"
    )

    @property
    def name(self) -> str:
        """The task's."""
        return self.task.name

    @property
    def identity(self) -> object:
        """The task's, and all common dials."""
        return [self.task.identity, repr(self.draws)]

    @property
    def label_temperature(self) -> float:
        """As dialled."""
        return self.draws.label_temperature

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """End-of-sequence, then the task's words."""
        return ("<eos>", *self.task.words)

    @property
    def max_new_tokens(self) -> int:
        """Longest completion, end-of-sequence included."""
        return self.task.longest_answer + 1

    @property
    def context(self) -> int:
        """Positions that a model of this world needs."""
        return self.task.longest_prompt + self.max_new_tokens

    @property
    def metric(self) -> Metric:
        """The task's truth in words."""
        return Metric(
            name="true reward",
            unit=self.task.unit,
            meaning=f"{self.task.truth}; no road saw these prompts",
            source="truth",
        )

    def prepare(self) -> None:
        """Nothing here is slow."""

    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    @cached_property
    def _split(self) -> dict[Split, tuple[Problem, ...]]:
        held_out = self.draws.test_prompts + self.draws.selection_prompts
        found = _different(
            self.task.problems(child(self.draws.split_seed, "world", "prompts")),
            held_out + self.draws.train_prompts,
        )
        if len(found) <= held_out:
            raise ConfigError(
                f"--world {self.name}: test_prompts + selection_prompts = {held_out} leave no "
                f"training prompt of the {len(found)} different ones that it has; lower them in "
                "world_options"
            )
        cut = self.draws.test_prompts
        return {
            "test": tuple(found[:cut]),
            "selection": tuple(found[cut:held_out]),
            "train": tuple(found[held_out:]),
        }

    @cached_property
    def _prompts(self) -> dict[Split, tuple[Prompt, ...]]:
        return {
            split: tuple(
                Prompt(prompt_id=self.decode(problem.prompt), tokens=problem.prompt)
                for problem in problems
            )
            for split, problems in self._split.items()
        }

    @cached_property
    def _problem(self) -> dict[Tokens, Problem]:
        return {one.prompt: one for problems in self._split.values() for one in problems}

    def prompts(self, split: Split) -> tuple[Prompt, ...]:
        """Different prompts, none of them in two splits; the grader has none."""
        return self._prompts.get(split, ())

    def demonstrations(self, count: int, *, seed: int) -> tuple[Demonstration, ...]:
        """Answers with `slip` and `stray`, for training prompts drawn at random with repetition."""
        rng = child(seed, "world", "demonstrations")
        problems, prompts = self._split["train"], self._prompts["train"]
        return tuple(
            Demonstration(
                prompt_id=prompts[i].prompt_id,
                prompt=prompts[i].tokens,
                completion=(*self._answer(problems[i], rng), EOS),
            )
            for i in rng.integers(len(problems), size=count).tolist()
        )

    def demonstrate(self, prompt: Prompt, rng: np.random.Generator) -> Tokens:
        """One more answer to any prompt, distributed as `demonstrations` are."""
        return (*self._answer(self._problem[prompt.tokens], rng), EOS)

    def _answer(self, problem: Problem, rng: np.random.Generator) -> Tokens:
        if rng.random() < self.draws.stray:
            problem = self._split["train"][int(rng.integers(len(self._split["train"])))]
        answer = np.array(self.task.demonstrate(problem, rng), dtype=int)
        slips = rng.random(len(answer)) < self.draws.slip
        words = len(self.task.words)
        # Another word than the right one: 1 to words - 1 further on, round the vocabulary.
        further = rng.integers(1, max(words, 2), size=len(answer))
        return tuple(np.where(slips, (answer - 1 + further) % words + 1, answer).tolist())

    def verify(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
        """The task's true rewards of what stands before end-of-sequence, or before the cut.

        Raises:
            ConfigError: for a prompt that is none of this world's.
        """
        problems = []
        for prompt in prompts:
            if prompt not in self._problem:
                raise ConfigError(
                    f"--world {self.name}: no truth is known for the prompt "
                    f"{self.decode(prompt)!r}, which is none of its own"
                )
            problems.append(self._problem[prompt])
        answers = [c[: c.index(EOS)] if EOS in c else c for c in completions]
        if len(problems) != len(answers):
            raise ValueError(f"{len(problems)} prompts, but {len(answers)} completions")
        return self.task.score(problems, answers)

    def decode(self, tokens: Sequence[int]) -> str:
        """Readable text; end-of-sequence is not shown."""
        return self.task.text([t for t in tokens if t != EOS])


def _different(problems: Iterator[Problem], wanted: int) -> list[Problem]:
    """The first `wanted` problems with different prompts, or all that a patient search finds."""
    found: dict[Tokens, Problem] = {}
    passed = 0
    for problem in problems:
        if not problem.prompt or problem.prompt in found:
            passed += 1
            if passed == _PATIENCE:
                break
            continue
        passed = 0
        found[problem.prompt] = problem
        if len(found) == wanted:
            break
    return list(found.values())


def letters(count: int) -> tuple[str, ...]:
    """The first `count` letters, as words."""
    return tuple("abcdefghijklmnopqrstuvwxyz"[:count])


def spoken(words: Sequence[str], tokens: Sequence[int]) -> str:
    """Words with spaces between them."""
    return " ".join(words[token - 1] for token in tokens)
