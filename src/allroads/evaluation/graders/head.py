"""The one linear head of all graders: Bradley-Terry on features, its strength cross-validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse, vstack
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse regularisation strengths that are tried, the strongest regularisation first."""
FOLDS = 5

Features = NDArray[np.float64] | csr_matrix


def fit_head(difference: Features, groups: Sequence[str]) -> NDArray[np.float64]:
    """Weights w of P(chosen is preferred) = sigma(w . difference); deterministic.

    The strength is the one with the least log-loss in a cross-validation whose folds never divide
    a group; at a tie the stronger regularisation. Without an intercept and with every pair read
    in both directions, no side of a pair can be preferred.

    Args:
        difference: (N, d) features of the chosen minus those of the rejected answers; dense or
            sparse.
        groups: N names of clusters. With one group alone nothing can be cross-validated, and the
            strongest regularisation is taken.

    Returns:
        (d,) weights, in log-odds per unit of the features.
    """
    folds = min(FOLDS, len(set(groups)))
    strength = STRENGTHS[0]
    if folds > 1:
        splits = list(GroupKFold(folds).split(difference, groups=groups))
        losses = [_log_loss(difference, splits, one) for one in STRENGTHS]
        strength = STRENGTHS[int(np.argmin(losses))]
    return _weights(difference, strength)


def _log_loss(difference: Features, splits: Sequence[tuple], strength: float) -> float:
    """Nats over all pairs, each predicted by the folds that it is not in."""
    return sum(
        float(np.logaddexp(0.0, -(difference[out] @ _weights(difference[rest], strength))).sum())
        for rest, out in splits
    )


def _weights(difference: Features, strength: float) -> NDArray[np.float64]:
    stack: Any = vstack if issparse(difference) else np.vstack
    both = stack([difference, -difference])
    labels = np.repeat([1, 0], both.shape[0] // 2)
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=5000)
    return np.asarray(model.fit(both, labels).coef_[0], dtype=np.float64)
