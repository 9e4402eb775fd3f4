"""A Python file of the user's: imported by itself, called with care, errors told in one line."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, SupportsFloat

from allroads.errors import ConfigError, VerifierError


@dataclass(frozen=True)
class UserCode:
    """A file that has been run, as an import would.

    Attributes:
        flag: how the user named it, for messages: '--verifier'.
        path: the file as the user gave it.
        module: what it defines.
        fingerprint: of the file's bytes.
    """

    flag: str
    path: Path
    module: ModuleType
    fingerprint: str

    @property
    def functions(self) -> list[str]:
        """Names of what can be called and was defined in the file itself."""
        return [
            key
            for key, value in vars(self.module).items()
            if callable(value) and getattr(value, "__module__", None) == self.module.__name__
        ]

    def call(self, name: str, *args: Any) -> Any:
        """What a function of the file returns.

        Raises:
            VerifierError: when it raises anything, with the line in the file.
        """
        function: Callable[..., Any] = getattr(self.module, name)
        try:
            return function(*args)
        except Exception as error:
            self.refuse(name, f"raised {told(error, self.path)}")

    def scores(self, name: str, found: Any, count: int) -> list[float | None]:
        """`found`, returned by function `name`, as one number (or None) for each of `count`.

        Raises:
            VerifierError: when it is anything else.
        """
        expected = f"expected a list of {count}, one number (or None) a completion"
        try:
            scores = list(found)
        except TypeError:
            self.refuse(name, f"returned {shown(found)}; {expected}")
        except Exception as error:  # a generator that stumbles
            self.refuse(name, f"raised {told(error, self.path)}")
        if len(scores) != count:
            self.refuse(name, f"returned {len(scores)} scores; {expected}")
        return [None if score is None else self._number(name, score) for score in scores]

    def _number(self, name: str, score: Any) -> float:
        wrong = f"returned the score {shown(score)}; expected a number, or None"
        if not isinstance(score, SupportsFloat):
            self.refuse(name, wrong)
        try:
            value = float(score)
        except (TypeError, ValueError):  # an array of several numbers, for example
            self.refuse(name, wrong)
        if math.isinf(value):
            self.refuse(name, f"returned the score {value}; expected a finite number, or None")
        return value

    def refuse(self, name: str, what: str) -> NoReturn:
        """Stop with one line: the file, the function, and what it did."""
        raise VerifierError(f"{self.flag} {self.path}: {name}() {what}") from None


def load_code(flag: str, file: str, expected: str) -> UserCode:
    """Run a file, as an import would.

    Args:
        flag: how the user named it.
        file: its path.
        expected: what a file is expected to hold, for the message when there is none.

    Raises:
        ConfigError: when there is no such file, or it cannot be imported.
    """
    path = Path(file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{flag} {file}: {error.strerror}; expected {expected}") from error
    fingerprint = hashlib.blake2b(source, digest_size=16).hexdigest()
    return UserCode(flag, path, _imported(flag, path, fingerprint), fingerprint)


def _imported(flag: str, path: Path, fingerprint: str) -> ModuleType:
    name = f"allroads_user_{fingerprint}"
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
            f"{flag} {path}: it cannot be imported: {told(error, path)}. It is one file by "
            "itself: what it imports must be installed, and a script's own work must stand under "
            "if __name__ == '__main__'"
        ) from None
    return module


def told(error: BaseException, path: Path) -> str:
    """An error of the user's code, with the line of the file that it passed through last."""
    file = str(path.resolve())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    line = f" (line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{line}"


def shown(value: object) -> str:
    """A value in a message, cut when it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}... ({type(value).__name__})"
