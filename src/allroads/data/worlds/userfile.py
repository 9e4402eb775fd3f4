"""A world in a Python file of the user's: words, prompts, a verifier and a demonstrator.

The file defines

    VOCABULARY = "a b c d".split()     # every word of prompts and answers
    MAX_NEW_TOKENS = 5                 # words of the longest answer, and one for its end

    def prompts() -> list[str]: ...
    def demonstrate(prompt: str, rng: np.random.Generator) -> str: ...
    def verify(prompts: list[str], completions: list[str]) -> list[float]: ...

Texts are words with spaces between them. It is run whenever a process opens the world, so its
prompts must not depend on chance of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NoReturn, final

import numpy as np

from allroads.data.worlds.synthetic import Draws, Problem, spoken
from allroads.errors import ConfigError
from allroads.types import Tokens
from allroads.usercode import UserCode, load_code, shown

_FUNCTIONS = {
    "prompts": "prompts()",
    "demonstrate": "demonstrate(prompt, rng)",
    "verify": "verify(prompts, completions)",
}
_CONTENTS = f"VOCABULARY, MAX_NEW_TOKENS, {', '.join(_FUNCTIONS.values())}"


@final
@dataclass(frozen=True)
class UserFile:
    """The task of one file, read and tried when it is first used.

    Attributes:
        path: the file as the user gave it.

    Raises:
        ConfigError: on first use, when the file or what it defines cannot be used.
        VerifierError: when one of its functions raises an error, or returns what cannot be used.
    """

    path: str

    usual: ClassVar[Draws] = Draws()
    unit = "reward"

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    @property
    def truth(self) -> str:
        """The user's function."""
        return f"what verify() of {self.path} gives the completion"

    @property
    def identity(self) -> object:
        """The file's content, wherever it lies."""
        return self._code.fingerprint

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigError(f"--world {self.path}: {what}")

    @cached_property
    def _code(self) -> UserCode:
        code = load_code("--world", self.path, f"a Python file that defines {_CONTENTS}")
        for name, call in _FUNCTIONS.items():
            if not callable(getattr(code.module, name, None)):
                self._refuse(f"expected a function {call} in it; a world defines {_CONTENTS}")
        return code

    def _constant(self, name: str) -> Any:
        value = getattr(self._code.module, name, None)
        if value is None:
            self._refuse(f"expected {name} in it; a world defines {_CONTENTS}")
        return value

    @property
    def words(self) -> tuple[str, ...]:
        """VOCABULARY of the file."""
        return self._words

    @cached_property
    def _words(self) -> tuple[str, ...]:
        words = self._constant("VOCABULARY")
        if isinstance(words, str) or not isinstance(words, Sequence) or not words:
            self._refuse(f"VOCABULARY must be a list of words, got {shown(words)}")
        for word in words:
            if not isinstance(word, str) or word.split() != [word] or word == "<eos>":
                self._refuse(
                    "VOCABULARY: a word is a text without white space, and <eos> is taken; got "
                    f"{shown(word)}"
                )
        if len(set(words)) < len(words):
            twice = next(word for word in words if list(words).count(word) > 1)
            self._refuse(f"VOCABULARY: the word {twice!r} stands in it twice")
        return tuple(words)

    @cached_property
    def _token(self) -> dict[str, int]:
        return {word: i + 1 for i, word in enumerate(self.words)}

    @property
    def longest_answer(self) -> int:
        """MAX_NEW_TOKENS of the file but one, for the end."""
        return self._longest_answer

    @cached_property
    def _longest_answer(self) -> int:
        most = self._constant("MAX_NEW_TOKENS")
        if isinstance(most, bool) or not isinstance(most, int) or most < 2:
            self._refuse(f"MAX_NEW_TOKENS must be a whole number, at least 2, got {shown(most)}")
        return most - 1

    def _tokens(self, name: str, text: object) -> Tokens:
        """Tokens of what a function wrote."""
        if not isinstance(text, str) or not text.split():
            self._code.refuse(
                name, f"gave {shown(text)}; expected a text of words with spaces between them"
            )
        for word in text.split():
            if word not in self._token:
                self._code.refuse(name, f"wrote the word {word!r}, which is not in VOCABULARY")
        return tuple(self._token[word] for word in text.split())

    @cached_property
    def _prompts(self) -> tuple[Tokens, ...]:
        found = self._code.call("prompts")
        if isinstance(found, str) or not isinstance(found, Sequence) or not found:
            self._code.refuse("prompts", f"returned {shown(found)}; expected a list of texts")
        prompts = tuple(dict.fromkeys(self._tokens("prompts", text) for text in found))
        # One of each is tried here, so that a slip is told before anything is trained.
        first = Problem(prompts[0])
        self.score([first], [self.demonstrate(first, np.random.default_rng(0))])
        return prompts

    @property
    def longest_prompt(self) -> int:
        """Of its prompts."""
        return max(map(len, self._prompts))

    def problems(self, rng: np.random.Generator) -> Iterator[Problem]:
        """Its different prompts, in random order."""
        for i in rng.permutation(len(self._prompts)).tolist():
            yield Problem(self._prompts[i])

    def demonstrate(self, problem: Problem, rng: np.random.Generator) -> Tokens:
        """What the file's own demonstrator writes."""
        answer = self._tokens(
            "demonstrate", self._code.call("demonstrate", self.text(problem.prompt), rng)
        )
        if len(answer) > self.longest_answer:
            self._code.refuse(
                "demonstrate",
                f"wrote {len(answer)} words; with MAX_NEW_TOKENS = {self.longest_answer + 1} an "
                f"answer has {self.longest_answer} at most, because its end counts as one",
            )
        return answer

    def score(self, problems: Sequence[Problem], answers: Sequence[Tokens]) -> list[float]:
        """What its verify() says; an answer that was cut is judged as it stands."""
        found = self._code.call(
            "verify",
            [self.text(problem.prompt) for problem in problems],
            [self.text(answer) for answer in answers],
        )
        out: list[float] = []
        for score in self._code.scores("verify", found, len(answers)):
            if score is None or np.isnan(score):
                self._code.refuse("verify", "gave no score; a world's truth is always a number")
            out.append(score)
        return out

    def text(self, tokens: Sequence[int]) -> str:
        """Words with spaces between them."""
        return spoken(self.words, tokens)
