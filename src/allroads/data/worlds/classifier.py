"""A linear classifier of texts whose score is calibrated log-odds; plain numbers on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB

from allroads import files

_LEAST = 3
"""Texts that a word must occur in to count."""


@dataclass(frozen=True)
class Classifier:
    """Log-odds that a text is positive: a weighted sum of its words, plus a bias.

    Attributes:
        vocabulary: the words, and pairs of neighbours if `pairs`.
        idf: rarity of each: features are then tf-idf rows of length one, so that no text scores
            beyond bias +- the norm of the weights. None: a word is there or not.
        weights: log-odds per unit of each feature.
        bias: log-odds of a text without a known word.
        pairs: whether the vocabulary holds pairs of neighbouring words too.
    """

    vocabulary: tuple[str, ...]
    idf: NDArray[np.float64] | None
    weights: NDArray[np.float64]
    bias: float
    pairs: bool

    @cached_property
    def _counter(self) -> CountVectorizer:
        return _counter(pairs=self.pairs, present=self.idf is None, vocabulary=self.vocabulary)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(N,) log-odds of being positive."""
        features: Any = self._counter.transform(texts)
        if self.idf is not None:
            scaler = TfidfTransformer(sublinear_tf=True)
            scaler.idf_ = self.idf
            features = scaler.transform(features)
        return np.asarray(features @ self.weights + self.bias, dtype=float)

    def calibrated(self, texts: Sequence[str], positive: Sequence[bool]) -> Classifier:
        """Rescaled by one slope and one bias so that its odds are the odds of these labels.

        Source: Platt 1999, on texts that the classifier was not fitted on.
        """
        scores = self.logits(texts)[:, None]
        line = LogisticRegression(C=1e6).fit(scores, positive)
        slope, shift = float(line.coef_[0, 0]), float(line.intercept_[0])
        return replace(self, weights=slope * self.weights, bias=slope * self.bias + shift)

    def save(self, path: Path) -> None:
        """Write it as JSON; floats come back exactly."""
        content = {
            "vocabulary": self.vocabulary,
            "idf": None if self.idf is None else self.idf.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias,
            "pairs": self.pairs,
        }
        files.write_text(path, json.dumps(content))


def load_classifier(path: Path) -> Classifier:
    """The classifier that `save` wrote."""
    content = files.read_json(path)
    return Classifier(
        vocabulary=tuple(content["vocabulary"]),
        idf=None if content["idf"] is None else np.array(content["idf"]),
        weights=np.array(content["weights"]),
        bias=content["bias"],
        pairs=content["pairs"],
    )


def fit_logistic(texts: Sequence[str], positive: Sequence[bool]) -> Classifier:
    """Logistic regression on tf-idf of words and pairs of neighbours; deterministic."""
    counter, scaler = _counter(pairs=True, present=False), TfidfTransformer(sublinear_tf=True)
    features = scaler.fit_transform(counter.fit_transform(texts))
    model = LogisticRegression(C=1.0, max_iter=1000).fit(features, positive)
    return Classifier(
        vocabulary=_words(counter),
        idf=np.asarray(scaler.idf_, dtype=np.float64),
        weights=model.coef_[0],
        bias=float(model.intercept_[0]),
        pairs=True,
    )


def fit_naive_bayes(texts: Sequence[str], positive: Sequence[bool]) -> Classifier:
    """Naive Bayes on which words occur; deterministic, and too sure before it is calibrated."""
    counter = _counter(pairs=False, present=True)
    model = MultinomialNB().fit(counter.fit_transform(texts), positive)
    no, yes = model.feature_log_prob_
    prior_no, prior_yes = model.class_log_prior_
    return Classifier(
        vocabulary=_words(counter),
        idf=None,
        weights=yes - no,
        bias=float(prior_yes - prior_no),
        pairs=False,
    )


def _counter(
    *, pairs: bool, present: bool, vocabulary: Sequence[str] | None = None
) -> CountVectorizer:
    return CountVectorizer(
        ngram_range=(1, 2 if pairs else 1),
        binary=present,
        # With a given vocabulary the counter counts nothing out.
        min_df=_LEAST if vocabulary is None else 1,
        vocabulary=vocabulary,
    )


def _words(counter: CountVectorizer) -> tuple[str, ...]:
    return tuple(counter.get_feature_names_out().tolist())
