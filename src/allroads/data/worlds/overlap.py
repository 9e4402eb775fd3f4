"""How much of a human summary a text has in common: ROUGE-L, content words, two telling words.

Words are those of the package `rouge-score`: lower case, runs of a-z and 0-9; words of more than
three letters are cut to their stem by Porter's algorithm where it says "stemmed". Stop words are
scikit-learn's English ones.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from allroads.errors import ConfigError

_MISSING = (
    "world 'scitldr' scores with the package rouge-score, which is not installed: install the "
    "extra 'text', or pip install rouge-score"
)


class Overlap:
    """Scores of a text against human references, each from 0 to 1, the best reference counting.

    Raises:
        ConfigError: when rouge-score is not installed.
    """

    def __init__(self) -> None:
        try:
            rouge: Any = importlib.import_module("rouge_score.rouge_scorer")
            tokenizers: Any = importlib.import_module("rouge_score.tokenizers")
        except ImportError as error:
            raise ConfigError(_MISSING) from error
        self._rouge = rouge.RougeScorer(["rougeL"], tokenizer=self)
        self._plain = tokenizers.DefaultTokenizer(use_stemmer=False)
        self._stemmed = tokenizers.DefaultTokenizer(use_stemmer=True)
        # The same words come again and again, and Porter's algorithm takes most of the time.
        self.stem = functools.lru_cache(maxsize=1 << 16)(self._stem)

    def words(self, text: str) -> list[str]:
        """The words, not stemmed."""
        return self._plain.tokenize(text)

    def tokenize(self, text: str) -> list[str]:
        """The stems of all words; rouge-score asks for them by this name."""
        return [self.stem(word) for word in self.words(text)]

    def _stem(self, word: str) -> str:
        return " ".join(self._stemmed.tokenize(word))

    def rouge_l(self, text: str, references: Sequence[str]) -> float:
        """F1 of the longest common subsequence of stemmed words.

        Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.
        """
        return float(self._rouge.score_multi(references, text)["rougeL"].fmeasure)

    def content(self, text: str, references: Sequence[str]) -> float:
        """F1 of stemmed words without stop words, in any order, each as often as in both."""
        own = self._bag(text)
        return max(_f1(own, self._bag(reference)) for reference in references)

    def _bag(self, text: str) -> Counter[str]:
        return Counter(self.stem(w) for w in self.words(text) if w not in _stop_words())


class Telling:
    """How telling a word is: rare among the summaries that it is made from.

    Its weight is log(n / d) / log(n), where d of the n summaries have the stem (at least 1): 1 for
    a word of one summary or none, 0 for a word of all; stop words have weight 0.

    Args:
        overlap: what splits and stems.
        summaries: one a paper.
    """

    def __init__(self, overlap: Overlap, summaries: Sequence[str]) -> None:
        self._overlap = overlap
        self._total = len(summaries)
        self._counts = Counter(stem for text in summaries for stem in set(overlap.tokenize(text)))

    def weight(self, word: str) -> float:
        """From 0 to 1."""
        if word in _stop_words():
            return 0.0
        count = max(1, self._counts[self._overlap.stem(word)])
        return math.log(self._total / count) / math.log(self._total)

    def best(self, words: Iterable[str], count: int) -> list[str]:
        """The `count` most telling of different stems, in the order in which they come."""
        first = {self._overlap.stem(word): word for word in reversed(list(words))}
        order = sorted(first.values(), key=lambda word: (-self.weight(word), word))
        chosen = [word for word in order if self.weight(word) > 0][:count]
        return sorted(chosen, key=list(words).index)

    def score(self, text: str, references: Sequence[str], count: int) -> float:
        """Mean weight of the text's words, one that no stem of the best reference matches as 0.

        0 for a text that has not just `count` words; a stem that comes twice counts once.
        """
        words = self._overlap.words(text)
        if len(words) != count:
            return 0.0
        weights = {self._overlap.stem(word): self.weight(word) for word in words}
        return (
            max(
                sum(
                    weights[stem]
                    for stem in set(self._overlap.tokenize(reference)) & weights.keys()
                )
                for reference in references
            )
            / count
        )

    def plain(self, text: str, references: Sequence[str], count: int) -> float:
        """Share of the text's words that the best reference has as they stand, unweighted.

        Stop words and words that come twice do not count, nor does a text of not just `count`.
        """
        words = self._overlap.words(text)
        if len(words) != count:
            return 0.0
        own = set(words) - _stop_words()
        return max(len(own & set(self._overlap.words(r))) for r in references) / count


def _f1(one: Counter[str], other: Counter[str]) -> float:
    shared = (one & other).total()
    return 2 * shared / (one.total() + other.total()) if shared else 0.0


@functools.cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)
