"""A claim of the theory: what it says, how it is checked, and the picture that explains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from allroads.findings import Check, Drawing, Finding


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the table of claims."""

    name: str
    statement: str
    source: str
    check: Callable[[], tuple[Check, ...]]
    """Computes every variant: as stated, and with each part of the premise broken."""
    draw: Callable[[], Drawing]

    def examine(self) -> Finding:
        """Run every check. No picture: that is `illustrate`."""
        return Finding(
            name=self.name, statement=self.statement, source=self.source, checks=self.check()
        )

    def illustrate(self) -> Finding:
        """Run every check and draw the picture."""
        return self.examine().model_copy(update={"drawing": self.draw()})


def equal(
    variant: str, says: str, left: ArrayLike, right: ArrayLike, *, tolerance: float = 1e-12
) -> Check:
    """Both sides must be equal, entry by entry; the worst entry is shown where they are not."""
    return _check(variant, says, left, right, tolerance, premise=True)


def unequal(
    variant: str, says: str, left: ArrayLike, right: ArrayLike, *, tolerance: float = 1e-12
) -> Check:
    """The same sides with the premise broken: they must clearly differ."""
    return _check(variant, says, left, right, tolerance, premise=False)


def at_most(
    variant: str, says: str, left: ArrayLike, right: ArrayLike, *, tolerance: float = 1e-12
) -> Check:
    """The left side may not exceed the right one; the gap is the greatest excess."""
    return _excess(variant, says, left, right, tolerance, premise=True)


def exceeds(
    variant: str, says: str, left: ArrayLike, right: ArrayLike, *, tolerance: float = 1e-12
) -> Check:
    """The same sides with the premise broken: the left one must clearly exceed the right one."""
    return _excess(variant, says, left, right, tolerance, premise=False)


def _check(
    variant: str,
    says: str,
    left: ArrayLike,
    right: ArrayLike,
    tolerance: float,
    *,
    premise: bool,
) -> Check:
    a, b = np.broadcast_arrays(np.asarray(left, float), np.asarray(right, float))
    apart = np.abs(a - b).ravel()
    # A value that is no number is a failed check, never an agreement.
    worst = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
    # Where they agree, the worst entry is a matter of rounding: the largest one is shown.
    shown = int(np.argmax(np.abs(a))) if apart[worst] <= tolerance else worst
    return Check(
        variant=variant,
        premise=premise,
        says=says,
        left=float(a.ravel()[shown]),
        right=float(b.ravel()[shown]),
        gap=float(apart[worst]),
        tolerance=tolerance,
    )


def _excess(
    variant: str,
    says: str,
    left: ArrayLike,
    right: ArrayLike,
    tolerance: float,
    *,
    premise: bool,
) -> Check:
    a, b = np.broadcast_arrays(np.asarray(left, float), np.asarray(right, float))
    over = (a - b).ravel()
    worst = int(np.argmax(np.where(np.isnan(over), np.inf, over)))
    gap = float(over[worst])
    return Check(
        variant=variant,
        premise=premise,
        says=says,
        relation="at most",
        left=float(a.ravel()[worst]),
        right=float(b.ravel()[worst]),
        gap=gap if np.isnan(gap) else max(gap, 0.0),
        tolerance=tolerance,
    )
