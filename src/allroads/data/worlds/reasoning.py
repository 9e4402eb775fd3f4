"""A task of the package `reasoning-gym`: its questions, its answers, its own scorer as the truth.

Source: Stojanovski et al. 2025, "Reasoning Gym", arXiv:2505.24760; the package in the extra
`reasoning`.

Prompt = what differs between questions: what all of them begin and end with is left out. Words are
single characters, a space shown as ␣ and a line break as ⏎. A demonstrator knows the package's
answer. The true reward is the package's `score_answer` of the text written.

What verifying and generating take depends on the task; those with settings of their own here:

- `palindrome_generation`: letters in, a palindrome of exactly these letters out. Verifying:
  mirrored positions are equal, and no letter is missing. Generating also has to choose an order.
- `spell_backward`: a word in, the word backwards out, scored by the share of letters in place.
  Verifying compares the letters that generating copies: neither is easier.

Scorers have their own habits: many give some hundredths for any answer (see `least`), and that of
`spell_backward` gives almost full marks to a right answer that goes on behind its end.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, ClassVar, final

import numpy as np

from allroads.data.worlds.synthetic import Draws, Problem
from allroads.errors import ConfigError, nearest
from allroads.types import Tokens

_PACKAGE, _DISTRIBUTION = "reasoning_gym", "reasoning-gym"
_PROBE, _PROBE_SEED = 500, 0
"""Questions that decide which words there are, how long texts get, and what all questions share."""
_MOST = 1 << 30
"""Questions in a dataset: they are made when they are asked for."""
_LONGEST = 256
"""Characters of a question and its answer together, at most."""
_SHOWN = {" ": "␣", "\n": "⏎", "\t": "⇥"}
_READ = {shown: character for character, shown in _SHOWN.items()}
_EVALUATED = (
    *("binary_matrix", "countdown", "intermediate_integration", "n_queens"),
    *("polynomial_multiplication", "puzzle24", "simple_integration", "spiral_matrix"),
    "string_insertion",
)
"""Their scorers evaluate an answer as code: 9**9**9**9, from a policy, would never end."""
PRESETS: dict[str, str] = {
    "palindrome_generation": "min_length=4, max_length=6",
    "spell_backward": "min_word_len=3, max_word_len=5",
}
"""Settings of tasks that a transformer of 100,000 weights learns in part."""


@final
@dataclass(frozen=True, kw_only=True)
class Reasoning:
    """A dataset of the package, with its settings.

    Attributes:
        task: the dataset's name in the package.
        config: its settings as 'name=number, name=number', over those of `PRESETS`: its own dials
            of difficulty. Most move verifying and generating together, by the length of both.
        least: a score below counts as 0.
    """

    task: str = "palindrome_generation"
    config: str = ""
    least: float = 0.1
    name: str = field(default="reasoning", init=False)

    usual: ClassVar[Draws] = Draws(slip=0.1)
    unit = "reward, 0 to 1"

    def __post_init__(self) -> None:
        self.settings()
        if not 0 <= self.least <= 1:
            raise ConfigError(f"reasoning: least must be 0 to 1, got {self.least}")
        if self.task in _EVALUATED:
            raise ConfigError(
                f"reasoning: the scorer of task {self.task!r} evaluates answers as code, which a "
                "policy's samples must not; choose another task"
            )

    def settings(self) -> dict[str, Any]:
        """The dataset's settings: the preset, and over it the dial `config`.

        Raises:
            ConfigError: when the dial cannot be read.
        """
        out: dict[str, Any] = {}
        for entry in f"{PRESETS.get(self.task, '')},{self.config}".split(","):
            if not entry.strip():
                continue
            name, equals, value = (part.strip() for part in entry.partition("="))
            if not equals or not name.isidentifier() or not value:
                raise ConfigError(
                    f"reasoning: config must be 'name=value, name=value', got {self.config!r}"
                )
            out[name] = _value(value)
        return out

    @property
    def identity(self) -> object:
        """All dials with the settings behind them, and the package's version."""
        _package()
        version = importlib.metadata.version(_DISTRIBUTION)
        return [self.task, self.settings(), self.least, version]

    @property
    def truth(self) -> str:
        """The package's scorer."""
        return (
            f"the score that reasoning-gym gives the answer (task {self.task}), by its own scorer; "
            f"below {self.least:g} it counts as 0"
        )

    def _dataset(self, seed: int, size: int) -> Any:
        package = _package()
        known = importlib.import_module(f"{_PACKAGE}.factory").DATASETS
        if self.task not in known:
            raise ConfigError(
                f"reasoning: task {self.task!r} is unknown: {nearest(self.task, known)}"
            )
        try:
            return package.create_dataset(self.task, seed=seed, size=size, **self.settings())
        except (AssertionError, TypeError, ValueError) as error:
            raise ConfigError(
                f"reasoning: reasoning-gym refuses the settings {self.settings()} of task "
                f"{self.task!r}: {error}; mend world_options.config"
            ) from error

    @cached_property
    def _scorer(self) -> Any:
        return self._dataset(_PROBE_SEED, 1)

    @cached_property
    def _probe(self) -> list[tuple[str, str]]:
        """Question and answer of the probe, as the package writes them."""
        dataset = self._dataset(_PROBE_SEED, _PROBE)
        rows = [dataset[i] for i in range(_PROBE)]
        return [(row["question"], row["answer"]) for row in rows if isinstance(row["answer"], str)]

    @cached_property
    def _frame(self) -> tuple[str, str]:
        """What all questions begin and end with."""
        questions = [question for question, _ in self._probe]
        before = _shared(questions)
        behind = _shared([question[len(before) :][::-1] for question in questions])
        return before, behind[::-1]

    def content(self, question: str) -> str | None:
        """What is this question's own; None for one that is framed as no other."""
        before, behind = self._frame
        if not question.startswith(before) or not question[len(before) :].endswith(behind):
            return None
        return question[len(before) : len(question) - len(behind)]

    @cached_property
    def _sizes(self) -> tuple[int, int]:
        """Characters of the probe's longest question and answer."""
        if not self._probe:
            raise ConfigError(f"reasoning: task {self.task!r} has no answers as text")
        question = max(len(self.content(question) or "") for question, _ in self._probe)
        answer = max(len(answer) for _, answer in self._probe)
        if question + answer > _LONGEST or not question:
            raise ConfigError(
                f"reasoning: task {self.task!r} has questions of {question} and answers of "
                f"{answer} characters; {_LONGEST} together are too many for a small "
                "transformer, and 0 ask nothing; choose smaller sizes in world_options.config, or "
                "another task"
            )
        return question, answer

    @property
    def words(self) -> tuple[str, ...]:
        """The characters of the probe, in their order."""
        return self._words

    @cached_property
    def _words(self) -> tuple[str, ...]:
        texts = [(self.content(question) or "") + answer for question, answer in self._probe]
        return tuple(_SHOWN.get(c, c) for c in sorted(set("".join(texts))))

    @cached_property
    def _token(self) -> dict[str, int]:
        return {_READ.get(word, word): i + 1 for i, word in enumerate(self.words)}

    @property
    def longest_prompt(self) -> int:
        """Of the probe; longer questions are left out."""
        return self._sizes[0]

    @property
    def longest_answer(self) -> int:
        """Of the probe; questions with longer answers are left out."""
        return self._sizes[1]

    def _tokens(self, text: str | None, longest: int) -> Tokens | None:
        if not isinstance(text, str) or not 0 < len(text) <= longest:
            return None
        tokens = tuple(self._token.get(character, 0) for character in text)
        return tokens if all(tokens) else None

    def problems(self, rng: np.random.Generator) -> Iterator[Problem]:
        """The package's questions that fit the probe's words and lengths."""
        question_size, answer_size = self._sizes
        dataset = self._dataset(int(rng.integers(1 << 31)), _MOST)
        for i in range(_MOST):
            row = dataset[i]
            prompt = self._tokens(self.content(row["question"]), question_size)
            answer = self._tokens(row["answer"], answer_size)
            yield Problem(prompt, (row, answer)) if prompt and answer else Problem(())

    def demonstrate(self, problem: Problem, rng: np.random.Generator) -> Tokens:
        """The package's answer."""
        return problem.known[1]

    @cached_property
    def _score(self) -> Any:
        """Scores by answer and prompt, kept: a policy writes the same answers many times."""
        rows: dict[Tokens, dict[str, Any]] = {}

        @cache
        def score(prompt: Tokens, answer: Tokens) -> float:
            return _checked(self._scorer, self.written(answer), rows[prompt])

        def scored(problem: Problem, answer: Tokens) -> float:
            rows[problem.prompt] = problem.known[0]
            return score(problem.prompt, answer)

        return scored

    def score(self, problems: Sequence[Problem], answers: Sequence[Tokens]) -> list[float]:
        """The package's scores, 0 below `least`.

        0 too for an answer that was cut before its end, is empty, or is none that the scorer can
        read (it raises an error).
        """
        return [self._one(p, a) for p, a in zip(problems, answers, strict=True)]

    def _one(self, problem: Problem, answer: Tokens) -> float:
        if not 0 < len(answer) <= self.longest_answer:
            return 0.0
        score = self._score(problem, answer)
        return score if score >= self.least else 0.0

    def written(self, tokens: Sequence[int]) -> str:
        """The text as the package reads it."""
        words = (self.words[token - 1] for token in tokens)
        return "".join(_READ.get(word, word) for word in words)

    def text(self, tokens: Sequence[int]) -> str:
        """The characters, white space shown."""
        return "".join(self.words[token - 1] for token in tokens)


def _checked(dataset: Any, text: str, row: dict[str, Any]) -> float:
    try:
        score = float(dataset.score_answer(text, row))
    except Exception:
        # Scorers parse what they expect; each fails in its own way on anything else.
        return 0.0
    return score if math.isfinite(score) else 0.0


def _shared(texts: Sequence[str]) -> str:
    """What all texts begin with: what the first and the last of them in order do."""
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _package() -> Any:
    try:
        return importlib.import_module(_PACKAGE)
    except ImportError as error:
        raise ConfigError(
            f"world 'reasoning' needs the package reasoning-gym ({error}): "
            "pip install 'allroads[reasoning]', or pip install reasoning-gym==0.1.25"
        ) from error
