"""Hypotheses, one a file: what each says, predicts, and what would decide it."""

from __future__ import annotations

from collections.abc import Sequence

from allroads.errors import ConfigError, nearest
from allroads.lab.study.hypotheses import (
    controls,
    coverage,
    elsewhere,
    gap,
    h1,
    h2,
    h3,
    h4,
    h5,
    h6,
    mode_seeking,
    token_cues,
)
from allroads.lab.study.hypothesis import Hypothesis

_FILES = (gap, h1, h2, h3, h4, h5, h6, coverage, mode_seeking, token_cues, elsewhere)
HYPOTHESES: dict[str, Hypothesis] = {
    one.name: one for one in (*(file.HYPOTHESIS for file in _FILES), *controls.HYPOTHESES)
}
"""By name, in the order in which they are shown."""
_FIRST = ("gap", "H5", "relabelled", "margin", "local-labeller")
"""Run before all others: what a short budget should still hold."""


def chosen(names: Sequence[str], variant: str | None = None) -> tuple[Hypothesis, ...]:
    """Hypotheses by name; 'all' is every one.

    Raises:
        ConfigError: for an unknown name, with the nearest valid one; where none of them has a case
            on the variant.
    """
    for name in names:
        if name not in HYPOTHESES and name != "all":
            raise ConfigError(f"hypothesis {name!r} is unknown: {nearest(name, HYPOTHESES)}")
    found = tuple(
        one
        for one in HYPOTHESES.values()
        if (one.name in names or "all" in names) and one.on(variant)
    )
    if not found:
        raise ConfigError(f"--world {variant}: no case of {', '.join(names)} is on it")
    return found


def best_first(hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """In the order in which they are run."""
    return sorted(hypotheses, key=lambda one: one.name not in _FIRST)


__all__ = ["HYPOTHESES", "best_first", "chosen"]
