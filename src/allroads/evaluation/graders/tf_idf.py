"""A baseline that counts words: tf-idf of the answer, a linear head on the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from allroads.evaluation.graders.head import fit_head
from allroads.evaluation.graders.protocol import TextPairs


@dataclass(frozen=True)
class TfIdf:
    """A weight for every word and every two neighbouring words of the fitted answers."""

    vectorizer: TfidfVectorizer | None
    """None where no word occurs in two answers: then every answer scores 0, as a coin would."""
    weights: NDArray[np.float64]

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """(N,) log-odds; the prompts are not read."""
        if self.vectorizer is None:
            return np.zeros(len(answers))
        return np.asarray(_counts(self.vectorizer, answers) @ self.weights)


def fit_tf_idf(pairs: TextPairs) -> TfIdf:
    """Fit vocabulary and weights; deterministic. The vocabulary is made without the labels."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    try:
        vectorizer.fit([*pairs.chosen, *pairs.rejected])
    except ValueError:  # an empty vocabulary
        return TfIdf(None, np.zeros(0))
    difference = _counts(vectorizer, pairs.chosen) - _counts(vectorizer, pairs.rejected)
    return TfIdf(vectorizer, fit_head(difference, pairs.clusters))


def _counts(vectorizer: TfidfVectorizer, texts: Sequence[str]) -> csr_matrix:
    return cast(csr_matrix, vectorizer.transform(texts))
