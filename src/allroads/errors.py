"""One family of errors, each message one line that a user can act on.

A message names the argument or the file and line, what was expected, what was found, and what to
do.

A new error is a subclass of `InputError` when the user can mend the input (exit code 2), and of
`AllroadsError` when the work itself failed (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AllroadsError(Exception):
    """Something went wrong that the user should read as one sentence. Exit code 1."""

    exit_code = 1


class InputError(AllroadsError):
    """The user's input cannot be used as it is. Exit code 2."""

    exit_code = 2


class ConfigError(InputError):
    """A flag, a YAML key or a combination of stages is not possible."""


class DataError(InputError):
    """A data file, or one row of it, cannot be used."""


class ModelError(InputError):
    """A model folder cannot be loaded or does not fit the data."""


class RunFolderError(InputError):
    """A run folder is in use by another process, or belongs to another command."""


class StudyError(InputError):
    """A study cannot say what was asked of it yet: cells are missing, or were never registered."""


class EmptyMaskError(AllroadsError):
    """A mean was asked for over no token at all."""


class JudgeError(AllroadsError):
    """The judge's server cannot be asked at all; what it has answered so far is kept."""


class VerifierError(InputError):
    """A user's own code raised an error, or returned what cannot be used; finished work is kept."""


class TrainingError(AllroadsError):
    """Training cannot go on: the loss is not a number, or no example is left."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """' Did you mean X?' when one of `valid` is close to `name`, else the list of valid names."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(names)}"
