"""Summarise a paper in one sentence, or in two words; the truth is a hidden human summary.

Prompt = title and abstract, the abstract cut at `prompt_tokens`; completion = a summary that ends
with end-of-text. The base model is the user's.

Truth (`words: 0`): ROUGE-L F1 against the human summary, the best one where there are several. It
is the reward of Swamy et al. 2025 (arXiv:2503.01067) that makes verifying as hard as generating: a
good reward model has to know, in effect, the reference that it does not see.

Truth (`words: 2`): the paper also lets its policies write two words, so that generating becomes as
easy as verifying (a bandit). How it made and judged those pairs was not recovered. Ours: the two
words should be the most telling of the reference. Each counts with its weight from 0 to 1, how rare
it is among the training papers' summaries, if the reference has its stem, else 0; the truth is the
mean of both. So the reference stays hidden, words that fit every paper ("learning", "network") earn
little, and a reader can redo the sum. Demonstrations are the two such words of the reference among
those that the prompt shows.

The papers, by file, and who may see them
  train   training prompts and demonstrations; the weights of words
  dev     prompts of the pairs that fit the selection scorer
  test    test prompts, with several references each
A title that is in two files belongs to the first of test, dev, train.

A summary that was cut before its end is scored as it stands: ROUGE already pays for its length.

The title gives much away: copied, it scores 0.347 in ROUGE-L on the test papers, the abstract's
first sentence 0.245, another paper's summary 0.138. A reward model that has learnt to look for the
title need not know the reference, so `title: 0` hides it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from allroads.data.files import RowError
from allroads.data.tokenise import Tokeniser, load_tokeniser
from allroads.data.worlds.overlap import Overlap, Telling
from allroads.data.worlds.papers import Paper, Part, find_papers, read_papers
from allroads.errors import ConfigError
from allroads.records import Metric
from allroads.seeding import child
from allroads.types import Demonstration, Prompt, Split, Tokens, Verifier

_PARTS: dict[Split, Part] = {"test": "test", "selection": "dev", "train": "train"}
_ASK = {0: "\n\nTL;DR:", 2: "\n\nTwo words:"}
_TOKENS = {0: 64, 2: 16}
_TEMPERATURE = {0: 25.0, 2: 6.0}
_ENDLESS = 1 << 20
"""Tokens that no abstract has."""


@dataclass(frozen=True, kw_only=True)
class SciTldr:
    """Papers, their summaries, a truth and a second opinion.

    Attributes:
        model: folder of the base model; its tokenizer writes and reads everything.
        folder: where the three files of papers lie.
        cache: not used.
        words: 0 for a sentence, 2 for two words.
        title: 1 shows the title, 0 hides it.
        prompt_tokens: most tokens of a prompt; the abstract is cut on the right to fit.
        max_new_tokens: most tokens of a completion, end-of-text included; 0: 64, or 16 for two
            words. Longer demonstrations are left out.
        label_temperature: chosen beats rejected with probability sigma(temperature * lead); 0: 25,
            or 6 for two words (a guess). Sentences of a tiny model, 0.05 to 0.06 apart on
            average, then have 73 to 76 % of their labels right.
    """

    model: str
    folder: str | None = None
    cache: Path | None = None
    words: int = 0
    title: int = 1
    prompt_tokens: int = 256
    max_new_tokens: int = 0
    label_temperature: float = 0.0
    name: str = field(default="scitldr", init=False)

    needs_model: ClassVar[bool] = True
    vocabulary = ()
    fixed_length = False

    def __post_init__(self) -> None:
        if self.words not in _ASK:
            raise ConfigError(f"scitldr: words must be 0 (a whole summary) or 2, got {self.words}")
        if self.title not in (0, 1):
            raise ConfigError(f"scitldr: title must be 0 or 1, got {self.title}")
        for name, value in (("max_new_tokens", _TOKENS), ("label_temperature", _TEMPERATURE)):
            if not getattr(self, name):
                object.__setattr__(self, name, value[self.words])
        if self.prompt_tokens < 32 or self.max_new_tokens < 2:
            raise ConfigError(
                "scitldr: prompt_tokens must be at least 32 and max_new_tokens 2, got "
                f"{self.prompt_tokens} and {self.max_new_tokens}"
            )

    @property
    def context(self) -> int:
        """Tokens of the longest prompt and the longest completion."""
        return self.prompt_tokens + self.max_new_tokens

    @property
    def identity(self) -> object:
        """The dials and the texts; neither where they lie nor the model, which has its own."""
        apart = ("model", "folder", "cache")
        dials = {k: v for k, v in vars(self).items() if k in self.__dataclass_fields__}
        digest = hashlib.blake2b(digest_size=16)
        for part in _PARTS.values():
            digest.update(find_papers(self.folder, part).read_bytes())
        return [{k: v for k, v in dials.items() if k not in apart}, digest.hexdigest()]

    @property
    def metric(self) -> Metric:
        """The truth in words, and the second opinion."""
        if self.words:
            return Metric(
                name="telling words",
                unit="weight of words found, 0 to 1",
                meaning="mean over the two words: how rare the word is among summaries, if the "
                "hidden human summary has its stem, else 0; no stop words; 0 for a text that is "
                "not two words",
                source="truth",
                check="share of the two words that the human summary has as they stand, neither "
                "stemmed nor weighted",
            )
        return Metric(
            name="ROUGE-L",
            unit="F1, 0 to 1",
            meaning="longest common subsequence of stemmed words with the hidden human summary, "
            "the best one where there are several (package rouge-score)",
            source="truth",
            check="F1 of stemmed words in any order, stop words left out: what only fills the gaps "
            "between a summary's words earns nothing there",
        )

    what_seeds_vary = (
        "each seed redraws the order of the demonstrations, the preference pairs and their labels, "
        "the reward model's head, the order of the data and all samples; base model, papers, their "
        "parts and references are fixed"
    )

    @cached_property
    def _tokeniser(self) -> Tokeniser:
        return load_tokeniser(self.model, max_length=_ENDLESS, end="text")

    @property
    def eos_id(self) -> int:
        """The tokenizer's end of text."""
        return self._tokeniser.eos_id

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens."""
        return self._tokeniser.decode(tokens)

    # The papers and their prompts

    @cached_property
    def _papers(self) -> dict[Split, list[Paper]]:
        taken: set[str] = set()
        out: dict[Split, list[Paper]] = {}
        for split, part in _PARTS.items():
            rows = read_papers(find_papers(self.folder, part))
            out[split] = [paper for paper in rows if _key(paper) not in taken]
            taken |= {_key(paper) for paper in rows}
        return out

    def papers_of(self, split: Split) -> tuple[Paper, ...]:
        """The papers of one split; splits share no title."""
        return tuple(self._papers.get(split, ()))

    @cached_property
    def _ask(self) -> Tokens:
        """What stands between abstract and summary, as it is encoded behind a text."""
        return self._tokeniser.completion(".", _ASK[self.words])[:-1]

    def _opening(self, paper: Paper) -> Tokens:
        title = f"Title: {paper.title}\n\n" if self.title and paper.title else ""
        head = self._tokeniser.prompt(f"{title}Abstract: {paper.abstract}")
        return head[: self.prompt_tokens - len(self._ask)] + self._ask

    @cached_property
    def _prompted(self) -> dict[Split, list[tuple[Prompt, Paper]]]:
        """Each paper with its prompt; a prompt that is the same for two belongs to the first."""
        taken: set[Tokens] = set()
        out: dict[Split, list[tuple[Prompt, Paper]]] = {}
        for split, papers in self._papers.items():
            out[split] = []
            for paper in papers:
                tokens = self._opening(paper)
                if tokens not in taken:
                    taken.add(tokens)
                    prompt = Prompt(prompt_id=f"{_PARTS[split]}-{paper.row}", tokens=tokens)
                    out[split].append((prompt, paper))
        return out

    def prompts(self, split: Split) -> tuple[Prompt, ...]:
        """One a paper; the grader has none."""
        return tuple(prompt for prompt, _ in self._prompted.get(split, ()))

    @cached_property
    def _shown(self) -> list[Demonstration]:
        """What people wrote of the training papers, as far as it is short enough."""
        out: list[Demonstration] = []
        for prompt, paper in self._prompted["train"]:
            for text in paper.tldrs:
                shown = self._wanted(text, prompt)
                tokens = shown and self._completion(shown)
                if tokens and len(tokens) <= self.max_new_tokens:
                    out.append(
                        Demonstration(
                            prompt_id=prompt.prompt_id, prompt=prompt.tokens, completion=tokens
                        )
                    )
                    break
        return out

    def _wanted(self, summary: str, prompt: Prompt) -> str:
        """What a demonstration says: the summary, or its two words; empty where it lacks them."""
        if not self.words:
            return summary
        there = set(self._overlap.tokenize(self.decode(prompt.tokens)))
        words = [w for w in self._overlap.words(summary) if self._overlap.stem(w) in there]
        best = self._telling.best(words, self.words)
        return " ".join(best) if len(best) == self.words else ""

    def _completion(self, text: str) -> Tokens:
        """Empty where the text holds an end token."""
        try:
            return self._tokeniser.completion(_ASK[self.words], f" {text}")
        except RowError:
            return ()

    def demonstrations(self, count: int, *, seed: int) -> tuple[Demonstration, ...]:
        """One a training paper, in random order; used up, the first again."""
        order = child(seed, "scitldr", "demonstrations").permutation(len(self._shown))
        return tuple(self._shown[i] for i in np.resize(order, count).tolist())

    # The judges

    @cached_property
    def _overlap(self) -> Overlap:
        return Overlap()

    @cached_property
    def _telling(self) -> Telling:
        return Telling(self._overlap, [paper.tldrs[0] for paper in self._papers["train"]])

    @cached_property
    def _references(self) -> dict[Tokens, tuple[str, ...]]:
        """The human summaries by prompt."""
        rows = [row for rows in self._prompted.values() for row in rows]
        return {prompt.tokens: paper.tldrs for prompt, paper in rows}

    def prepare(self) -> None:
        """Read the papers."""
        _ = self._references, self._overlap

    def score(self, text: str, references: Sequence[str]) -> float:
        """The truth about one text."""
        if self.words:
            return self._telling.score(text, references, self.words)
        return self._overlap.rouge_l(text, references)

    def verify(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
        """The truth about each completion, from 0 to 1.

        Raises:
            KeyError: for a prompt that is not of this world.
        """
        return self._judged(self.score, prompts, completions)

    @property
    def second_opinion(self) -> Verifier:
        """The same by the other measure, from 0 to 1."""

        def score(text: str, references: Sequence[str]) -> float:
            if self.words:
                return self._telling.plain(text, references, self.words)
            return self._overlap.content(text, references)

        def check(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
            return self._judged(score, prompts, completions)

        return check

    def _judged(
        self,
        score: Callable[[str, Sequence[str]], float],
        prompts: Sequence[Tokens],
        completions: Sequence[Tokens],
    ) -> list[float]:
        pairs = zip(prompts, completions, strict=True)
        return [score(self.decode(c), self._references[p]) for p, c in pairs]

    def notes(self) -> tuple[str, ...]:
        """How much of the papers is seen, and what people and first sentences score."""
        train = self._prompted["train"]
        cut = sum(len(prompt.tokens) == self.prompt_tokens for prompt, _ in train)
        left = len(train) - len(self._shown)
        several = [paper.tldrs for _, paper in self._prompted["test"] if len(paper.tldrs) > 1]
        notes = [
            f"prompts are title and abstract up to {self.prompt_tokens} tokens; {cut:,} of "
            f"{len(train):,} training papers are cut there",
            f"{left:,} of {len(train):,} training papers have no demonstration that fits",
        ]
        if several and not self.words:
            agree = np.mean([self.score(first, rest) for first, *rest in several])
            notes.append(
                f"on {len(several):,} test papers with several human summaries, the first of them "
                f"scores {agree:.3f} against the others"
            )
        return tuple(notes)


def _key(paper: Paper) -> str:
    """By what two papers are the same."""
    return paper.title.casefold() or paper.abstract.casefold()
