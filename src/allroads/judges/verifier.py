"""A user's own verifier: a function of texts in a Python file.

Anything it does wrong stops the run with one sentence (finished work is kept), because a verifier
that half works would train a policy on its mistakes. Only None (or NaN) is a failure to score.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allroads.errors import ConfigError
from allroads.usercode import UserCode, load_code

DEFAULT = "verify"
"""The function that is called where none is named."""


@dataclass(frozen=True)
class UserVerifier:
    """The function, and where it comes from.

    Attributes:
        code: the user's file.
        name: the function in it, which takes prompts and completions as texts, one each, and
            returns one score each.
        fingerprint: of the file's bytes and the function's name.
    """

    code: UserCode
    name: str
    fingerprint: str

    @property
    def path(self) -> Path:
        """The file as the user gave it."""
        return self.code.path

    @property
    def function(self) -> Callable[[list[str], list[str]], Any]:
        """The function itself."""
        return getattr(self.code.module, self.name)

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """One finite score a completion, higher is better; NaN where the function says None.

        Raises:
            VerifierError: when it raises, or returns anything but one number or None each.
        """
        found = self.code.call(self.name, list(prompts), list(completions))
        scores = self.code.scores(self.name, found, len(completions))
        return [math.nan if score is None else score for score in scores]


def load_verifier(given: str) -> UserVerifier:
    """The function that FILE.py or FILE.py:FUNCTION names. The file is run, as an import would.

    Raises:
        ConfigError: when there is no such file or function, or the file cannot be imported.
    """
    file, name = _parts(given)
    function = f"a function {name}(prompts, completions)"
    code = load_code("--verifier", file, f"a Python file with {function}")
    if not callable(getattr(code.module, name, None)):
        raise ConfigError(
            f"--verifier {file}: expected {function} in it, found "
            f"{', '.join(code.functions) or 'no function'}; define it, or name one: {file}:FUNCTION"
        )
    content = f"{code.fingerprint}\0{name}".encode()
    return UserVerifier(code, name, hashlib.blake2b(content, digest_size=16).hexdigest())


def _parts(given: str) -> tuple[str, str]:
    file, colon, name = given.rpartition(":")
    if not colon or given.endswith(".py"):
        file, name = given, DEFAULT
    if not file.endswith(".py") or not name.isidentifier():
        raise ConfigError(f"--verifier {given!r}: expected FILE.py or FILE.py:FUNCTION")
    return file, name
