"""A pool of samples as arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from allroads.errors import InputError
from allroads.evidence import Evidence, Pool
from allroads.stats import Floats

Grader = Literal["truth", "independent"]


def grader(pool: Pool) -> Grader | None:
    """Who may grade: the truth, else the independent scorer; never the learners themselves."""
    for name in ("truth", "independent"):
        if name in pool.grades:
            return name
    return None


def table(name: str, rows: ArrayLike) -> Floats:
    """(P, M): prompts and their samples.

    Raises:
        InputError: there is none, prompts have different numbers of samples, or one is missing.
    """
    try:
        values_PM = np.asarray(rows, dtype=np.float64)
    except ValueError:
        values_PM = np.empty(0)
    if values_PM.ndim != 2 or values_PM.size == 0 or not np.isfinite(values_PM).all():
        raise InputError(
            f"{name} must be numbers, as many samples for each prompt, got shape "
            f"{values_PM.shape}: leave out a prompt that lacks one"
        )
    return values_PM


def clusters(evidence: Evidence, pool: Pool) -> list[int]:
    """What each of the pool's prompts belongs to: itself, or its conversation."""
    return [evidence.held_out.prompts[pair] for pair in pool.pair]


def wins(first_PM: Floats, second_PN: Floats) -> Floats:
    """(P, M, N): 1 where the first is graded higher, 1/2 where both are equal."""
    return (1 + np.sign(first_PM[:, :, None] - second_PN[:, None, :])) / 2
