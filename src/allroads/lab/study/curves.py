"""Where a learning curve reaches a level."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVEL = 0.9
"""Share of pairs ordered right, and true reward, at which a learner has learnt its part."""


def crossing(curve: Sequence[tuple[int, float]], level: float = LEVEL) -> float | None:
    """The amount at which a curve first reaches a level, straight in the logarithm of the amount.

    Args:
        curve: (amount, reached), amounts rising.
        level: what has to be reached.

    Returns:
        The least amount if that is enough already; None if no amount is.
    """
    before: tuple[int, float] | None = None
    for count, reached in curve:
        if reached >= level:
            if before is None:
                return float(count)
            part = (level - before[1]) / (reached - before[1])
            low, high = math.log(before[0]), math.log(count)
            return math.exp(low + part * (high - low))
        before = (count, reached)
    return None
