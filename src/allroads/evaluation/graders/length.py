"""A baseline that sees nothing but how long an answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allroads.evaluation.graders.head import fit_head
from allroads.evaluation.graders.protocol import TextPairs


@dataclass(frozen=True)
class Length:
    """Prefers the longer answer, or the shorter one."""

    weight: float
    """Log-odds per character; its sign says which side wins."""

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """(N,) log-odds."""
        return self.weight * np.array([len(answer) for answer in answers], dtype=float)


def fit_length(pairs: TextPairs) -> Length:
    """The sign and weight that the pairs show; deterministic."""
    lengths = [len(a) - len(b) for a, b in zip(pairs.chosen, pairs.rejected, strict=True)]
    difference = np.array(lengths, dtype=float)[:, None]
    return Length(float(fit_head(difference, pairs.clusters)[0]))
