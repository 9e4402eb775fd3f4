"""A user's own verifier: a function of texts in a Python file.

Anything it does wrong stops the run with one sentence (finished work is kept), because a verifier
that half works would train a policy on its mistakes. Only None (or NaN) is a failure to score.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

from allroads.errors import ConfigError, VerifierError

DEFAULT = "verify"
"""The function that is called where none is named."""


@dataclass(frozen=True)
class UserVerifier:
    """The function, and where it comes from.

    Attributes:
        path: the file as the user gave it.
        name: the function in it.
        function: takes prompts and completions as texts, one each; returns one score each.
        fingerprint: of the file's bytes and the function's name.
    """

    path: Path
    name: str
    function: Callable[[list[str], list[str]], Any]
    fingerprint: str

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """One finite score a completion, higher is better; NaN where the function says None.

        Raises:
            VerifierError: when it raises, or returns anything but one number or None each.
        """
        try:
            found = self.function(list(prompts), list(completions))
        except Exception as error:
            self._refuse(f"raised {_told(error, self.path)}")
        try:
            scores = list(found)
        except TypeError:
            self._refuse(f"returned {_shown(found)}; {_expected(completions)}")
        if len(scores) != len(completions):
            self._refuse(f"returned {len(scores)} scores; {_expected(completions)}")
        return [self._score(score) for score in scores]

    def _score(self, score: Any) -> float:
        if score is None:
            return math.nan
        if not isinstance(score, SupportsFloat):
            self._refuse(f"returned the score {_shown(score)}; expected a number, or None")
        try:
            value = float(score)
        except (TypeError, ValueError):  # an array of several numbers, for example
            self._refuse(f"returned the score {_shown(score)}; expected a number, or None")
        if math.isinf(value):
            self._refuse(f"returned the score {value}; expected a finite number, or None")
        return value

    def _refuse(self, what: str) -> Any:
        raise VerifierError(f"--verifier {self.path}: {self.name}() {what}") from None


def load_verifier(given: str) -> UserVerifier:
    """The function that FILE.py or FILE.py:FUNCTION names. The file is run, as an import would.

    Raises:
        ConfigError: when there is no such file or function, or the file cannot be imported.
    """
    file, name = _parts(given)
    path = Path(file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"--verifier {file}: {error.strerror}; expected a Python file with a function "
            f"{name}(prompts, completions)"
        ) from error
    fingerprint = hashlib.blake2b(source + b"\0" + name.encode(), digest_size=16).hexdigest()
    module = _imported(path, fingerprint)
    function = getattr(module, name, None)
    if not callable(function):
        own = [
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        ]
        raise ConfigError(
            f"--verifier {file}: expected a function {name}(prompts, completions) in it, found "
            f"{', '.join(own) or 'no function'}; define it, or name one: {file}:FUNCTION"
        )
    return UserVerifier(path, name, function, fingerprint)


def _parts(given: str) -> tuple[str, str]:
    file, colon, name = given.rpartition(":")
    if not colon or given.endswith(".py"):
        file, name = given, DEFAULT
    if not file.endswith(".py") or not name.isidentifier():
        raise ConfigError(f"--verifier {given!r}: expected FILE.py or FILE.py:FUNCTION")
    return file, name


def _imported(path: Path, fingerprint: str) -> Any:
    name = f"allroads_verifier_{fingerprint}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses and pickle look for the module of a class.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(
            f"--verifier {path}: it cannot be imported: {_told(error, path)}. It is one file by "
            "itself: what it imports must be installed, and a script's own work must stand under "
            "if __name__ == '__main__'"
        ) from None
    return module


def _told(error: BaseException, path: Path) -> str:
    """An error of the user's code, with the line of the file that it passed through last."""
    file = str(path.resolve())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    line = f" (line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{line}"


def _expected(completions: Sequence[str]) -> str:
    return f"expected a list of {len(completions)}, one number (or None) a completion"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}... ({type(value).__name__})"
