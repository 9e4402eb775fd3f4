"""Newton's method, damped: minima of smooth functions to rounding error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from allroads.errors import TrainingError
from allroads.exact.tree import Array


class Minimum(NamedTuple):
    """Where a function is lowest nearby."""

    at: Array
    value: float
    slope: float
    """Greatest derivative that is left."""


def minimise(
    value: Callable[[Array], float],
    derivatives: Callable[[Array], tuple[Array, Array]],
    start: Array,
    *,
    steps: int = 300,
) -> Minimum:
    """Follow Newton steps downhill; where the curvature is not positive, shorter and steeper ones.

    Args:
        value: parameters (K,) to the function's value.
        derivatives: parameters to slope (K,) and curvature (K, K).
        start: parameters to begin with.
        steps: trials before giving up.

    Raises:
        TrainingError: no minimum was reached, or the numbers overflow.
    """
    theta, height, damping = np.array(start, dtype=np.float64), value(start), 0.0
    slope, curvature = derivatives(theta)
    for _ in range(steps):
        scale = max(float(np.trace(curvature)) / len(theta), 1e-9)
        step = _solve(curvature, slope, damping * scale)
        gain = 0.0 if step is None else -0.5 * float(slope @ step)
        if step is None:
            damping = max(4 * damping, 1e-6)
            continue
        reached = value(theta + step)
        # Once steps gain less than rounding, values cannot judge them.
        if reached < height or gain < 1e-9:
            theta, height = theta + step, reached
            slope, curvature = derivatives(theta)
            damping = 0.0 if damping < 1e-6 else damping / 8
            if gain < 1e-13:
                return Minimum(theta, height, float(np.abs(slope).max()))
        else:
            damping = max(4 * damping, 1e-6)
    raise TrainingError(
        f"no minimum after {steps} steps: a slope of {np.abs(slope).max():.1e} is left"
    )


def _solve(curvature: Array, slope: Array, damping: float) -> Array | None:
    """The step, or None where the damped curvature is not positive."""
    damped = curvature + (damping + 1e-11 * np.abs(curvature).max()) * np.eye(len(slope))
    try:
        np.linalg.cholesky(damped)
    except np.linalg.LinAlgError:
        return None
    return np.linalg.solve(damped, -slope)
