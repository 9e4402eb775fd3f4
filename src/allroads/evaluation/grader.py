"""A grader for data without a truth, and the baselines that it has to beat.

The grader is a tf-idf logistic regression on the difference of the two completions, fitted on
pairs that neither the roads nor the selection scorer see. It is the simplest honest one: no
backbone of the policy, no pair of the roads. Where it does not beat a coin and length with its
whole interval, its win rates are shown but no verdict is drawn from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from allroads.errors import DataError
from allroads.types import Pair

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Grader:
    """A linear score of texts; of two answers the higher one is preferred."""

    vectorizer: TfidfVectorizer
    weights: NDArray[np.float64]
    length_weight: float
    """Length baseline: preference per token of difference; its sign says which side wins."""

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(N,) scores; only differences mean anything (log-odds of being preferred)."""
        return np.asarray(self.vectorizer.transform(texts) @ self.weights)


def fit_grader(pairs: Sequence[Pair], decode: Decode) -> Grader:
    """Fit the grader and the length baseline; deterministic.

    Raises:
        DataError: when the grader's split has fewer than 10 pairs.
    """
    if len(pairs) < 10:
        raise DataError(
            f"the grader's split holds {len(pairs)} pairs; at least 10 are needed to grade "
            "anything: give more data"
        )
    chosen = [decode(pair.chosen) for pair in pairs]
    rejected = [decode(pair.rejected) for pair in pairs]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    try:
        vectorizer.fit([*chosen, *rejected])
    except ValueError as error:
        raise DataError(
            f"the grader finds no word that occurs in two of its completions ({error})"
        ) from error
    difference = vectorizer.transform(chosen) - vectorizer.transform(rejected)
    # Each pair in both directions, without an intercept: the grader cannot prefer a side.
    features = vstack([difference, -difference])
    labels = np.repeat([1, 0], len(pairs))
    model = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000).fit(features, labels)
    lengths = np.array([[len(p.chosen) - len(p.rejected)] for p in pairs], dtype=float)
    baseline = LogisticRegression(fit_intercept=False).fit(np.vstack([lengths, -lengths]), labels)
    return Grader(vectorizer, model.coef_[0], float(baseline.coef_[0, 0]))


def pair_margins(
    grader: Grader, pairs: Sequence[Pair], decode: Decode
) -> dict[str, NDArray[np.float64]]:
    """Margins (chosen minus rejected, log-odds) of the grader and of the length baseline."""
    chosen = grader.scores([decode(pair.chosen) for pair in pairs])
    rejected = grader.scores([decode(pair.rejected) for pair in pairs])
    lengths = np.array([len(p.chosen) - len(p.rejected) for p in pairs], dtype=float)
    return {"grader": chosen - rejected, "length": grader.length_weight * lengths}


def beats(
    grader: NDArray[np.float64], baseline: NDArray[np.float64] | None
) -> tuple[float, float, float]:
    """Difference in accuracy between the grader and a baseline (None: a coin), with its interval.

    A tie counts half. The 95 % interval is a normal one over pairs, both judged on the same pairs.
    """
    own = _hits(grader)
    other = np.full_like(own, 0.5) if baseline is None else _hits(baseline)
    difference = own - other
    middle = float(difference.mean())
    half = 1.96 * float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return middle, middle - half, middle + half


def _hits(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    return (margins > 0) + 0.5 * (margins == 0)
