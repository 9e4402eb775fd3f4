"""What the data is, before anything learns from it: counted once, never asserted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from allroads import stats
from allroads.data.rows import Dropped, Kind, Loaded
from allroads.data.tokenise import TOO_LONG
from allroads.records import AuditRow, Record
from allroads.types import Demonstration, Pair, Split, Tokens

_NAMED = 20
_MANY_TOO_LONG = 0.05
_MANY_CUT = 0.05
_FEW_PROMPTS = 20


class SourceCount(Record):
    """What became of the rows of one source: used + dropped + left_out == read."""

    source: str
    """File name without folder, so that the audit is the same on every machine."""
    kind: Kind
    read: int
    used: int
    left_out: int
    """Usable, but beyond `max_pairs`."""
    reasons: tuple[tuple[str, int], ...]
    """Dropped rows by reason, the most frequent first."""
    named: tuple[Dropped, ...]
    """Place and reason of the first dropped rows, at most 20 per reason."""

    @staticmethod
    def of(loaded: Loaded, *, used: int, dropped: Sequence[Dropped], left_out: int) -> SourceCount:
        """Count the rows of `loaded`, of which tokenising may have dropped more."""
        counts: Counter[str] = Counter()
        named = []
        for row in dropped:
            counts[row.reason] += 1
            if counts[row.reason] <= _NAMED:
                named.append(row)
        return SourceCount(
            source=Path(loaded.source).name,
            kind=loaded.kind,
            read=loaded.read,
            used=used,
            left_out=left_out,
            reasons=tuple(counts.most_common()),
            named=tuple(named),
        )

    @property
    def dropped(self) -> int:
        """Rows dropped for any reason."""
        return sum(count for _, count in self.reasons)

    @property
    def first_bad(self) -> str:
        """Place and reason of the first row dropped for another reason than its length."""
        bad = (f"{row.where}: {row.reason}" for row in self.named if row.reason != TOO_LONG)
        return next(bad, "")

    def dropped_for(self, reason: str) -> int:
        """Rows dropped for one reason."""
        return dict(self.reasons).get(reason, 0)


class Lengths(Record):
    """Tokens per text, end of sequence included."""

    median: float
    p90: float
    longest: int


class Audit(Record):
    """Everything worth knowing about the data list of one comparison."""

    sources: tuple[SourceCount, ...]
    splits: tuple[tuple[Split, int, int], ...]
    """Pairs and distinct prompts of each split."""
    demonstrations: int
    lengths: tuple[tuple[str, Lengths], ...]
    max_length: int
    over_long: str
    cut_completions: int
    """Completions cut at `max_length`, which therefore have no end of sequence."""
    duplicate_prompts: int
    """Pairs whose prompt an earlier pair has: normal, and the reason to split by prompt."""
    duplicate_pairs: int
    """Pairs that repeat an earlier pair token by token."""
    contradictions: int
    """Pairs whose two completions an earlier pair of the same prompt ranks the other way."""
    leaked_prompts: int
    """Prompts, by id, in more than one split."""
    leaked_tokens: int
    """Distinct prompt token sequences in more than one split (truncation can make two the same)."""
    leaked_completions: int
    """Distinct completions that occur both in train (or a demonstration) and in test."""
    continued_prompts: int
    """Test pairs whose prompt goes on from a whole training prompt: later turns of a dialogue."""
    longer_chosen: int
    """Pairs whose chosen completion has more tokens."""
    unequal_pairs: int
    """Pairs whose completions differ in length."""
    repeated_prompts: int
    """Rows whose two answers both begin with the whole prompt."""
    notes: tuple[str, ...] = ()

    def rows(self) -> tuple[AuditRow, ...]:
        """The audit as a table, for the report and the command line."""
        return tuple(
            [
                *(row for source in self.sources for row in _source_rows(source)),
                *self._split_rows(),
                *self._length_rows(),
                *self._content_rows(),
                *(AuditRow(what="note", count=1, note=note) for note in self.notes),
            ]
        )

    def warnings(self) -> tuple[str, ...]:
        """Sentences about what may spoil a comparison, each with what to do."""
        return tuple([*self._row_warnings(), *self._content_warnings()])

    @property
    def pairs(self) -> int:
        """Pairs in all splits."""
        return sum(pairs for _, pairs, _ in self.splits)

    def _split_rows(self) -> Iterable[AuditRow]:
        for split, pairs, prompts in self.splits:
            yield AuditRow(
                what=f"pairs in {split}", count=pairs, of=self.pairs, note=f"{prompts} prompts"
            )
        if self.demonstrations:
            yield AuditRow(what="demonstrations in train", count=self.demonstrations)

    def _length_rows(self) -> Iterable[AuditRow]:
        for what, lengths in self.lengths:
            note = f"p90 {lengths.p90:g}, longest {lengths.longest}"
            yield AuditRow(what=f"{what} tokens, median", count=lengths.median, note=note)
        yield AuditRow(
            what="completions cut at the length limit",
            count=self.cut_completions,
            of=2 * self.pairs + self.demonstrations,
            note=f"max_length {self.max_length}, over-long rows: {self.over_long}",
        )

    def _content_rows(self) -> Iterable[AuditRow]:
        low, high = _share(self.longer_chosen, self.unequal_pairs)
        yield AuditRow(
            what="pairs where the longer answer is chosen",
            count=self.longer_chosen,
            of=self.unequal_pairs,
            note=f"95 % interval {low:.3f} to {high:.3f}; ties in length left out",
        )
        counted = (
            ("duplicate prompts", self.duplicate_prompts, "pairs whose prompt came before"),
            ("exact duplicate pairs", self.duplicate_pairs, "kept"),
            ("contradicting labels", self.contradictions, "same two answers, reversed; kept"),
        )
        for what, count, note in counted:
            yield AuditRow(what=what, count=count, of=self.pairs, note=note)
        yield AuditRow(
            what="answers that repeat the prompt",
            count=self.repeated_prompts,
            note="rows where both answers begin with it",
        )
        yield AuditRow(
            what="leakage: prompts in two splits",
            count=self.leaked_prompts,
            note=f"{self.leaked_tokens} by their tokens",
        )
        yield AuditRow(what="completions in both train and test", count=self.leaked_completions)
        yield AuditRow(
            what="test pairs that continue a training prompt",
            count=self.continued_prompts,
            of={split: pairs for split, pairs, _ in self.splits}.get("test"),
            note="later turns of the same dialogue",
        )

    def _row_warnings(self) -> Iterable[str]:
        for source in self.sources:
            looked_at = source.read - source.left_out
            long = source.dropped_for(TOO_LONG)
            if long >= _MANY_TOO_LONG * looked_at and long:
                yield (
                    f"{_percent(long, looked_at)} of the {source.kind} were dropped as too long: "
                    f"raise --max-length (now {self.max_length})"
                )
            bad = source.dropped - long
            if bad:
                yield (
                    f"{bad} of {looked_at} rows of {source.source} were dropped, "
                    f"first {source.first_bad}"
                )
        total = 2 * self.pairs + self.demonstrations
        if self.cut_completions and self.cut_completions >= _MANY_CUT * total:
            yield (
                f"{_percent(self.cut_completions, total)} of the completions were cut and teach "
                f"no end: raise --max-length (now {self.max_length})"
            )
        for split, _, prompts in self.splits:
            # A world has no grader: its truth is known.
            if prompts < _FEW_PROMPTS and (prompts or split != "grader"):
                yield f"split {split} has only {prompts} prompts: add data or change the fractions"

    def _content_warnings(self) -> Iterable[str]:
        if self.leaked_prompts or self.leaked_tokens:
            yield (
                f"{max(self.leaked_prompts, self.leaked_tokens)} prompts are in two splits: "
                "the test is not held out; raise --max-length or drop instead of truncate"
            )
        if self.contradictions:
            yield f"{self.contradictions} pairs contradict an earlier pair: they are label noise"
        if self.repeated_prompts:
            yield (
                f"{self.repeated_prompts} rows repeat the prompt in both answers: remove it from "
                "chosen and rejected, or remove the column prompt"
            )
        low, high = _share(self.longer_chosen, self.unequal_pairs)
        if low > 0.5 or high < 0.5:
            yield (
                f"the longer answer is chosen in {_percent(self.longer_chosen, self.unequal_pairs)}"
                " of the pairs: a reward model can win by counting tokens; compare with length"
            )


def audit_of(
    *,
    pairs: Mapping[Split, Sequence[Pair]],
    demonstrations: Sequence[Demonstration],
    sources: Sequence[SourceCount],
    max_length: int,
    over_long: str,
    eos_id: int | None,
    repeated_prompts: int = 0,
    notes: Sequence[str] = (),
) -> Audit:
    """Count everything once, from the tokens and splits that the roads will see.

    `eos_id` is None where completions end at a fixed length: then none counts as cut.
    """
    every = [pair for split in pairs.values() for pair in split]
    completions = [tokens for pair in every for tokens in (pair.chosen, pair.rejected)]
    completions += [row.completion for row in demonstrations]
    duplicates, contradictions = _repeated(every)
    train, test = pairs.get("train", ()), pairs.get("test", ())
    learned = _completions(train) | {row.completion for row in demonstrations}
    names = {split: _ids(rows) for split, rows in pairs.items()}
    names["train"] = names.get("train", set()) | _ids(demonstrations)
    prompts = {split: _prompts(rows) for split, rows in pairs.items()}
    prompts["train"] = prompts.get("train", set()) | _prompts(demonstrations)
    return Audit(
        sources=tuple(sources),
        splits=tuple(
            (split, len(rows), len({pair.prompt_id for pair in rows}))
            for split, rows in pairs.items()
        ),
        demonstrations=len(demonstrations),
        lengths=(
            ("prompt", _lengths([pair.prompt for pair in every])),
            ("chosen", _lengths([pair.chosen for pair in every])),
            ("rejected", _lengths([pair.rejected for pair in every])),
        ),
        max_length=max_length,
        over_long=over_long,
        cut_completions=sum(eos_id not in (None, tokens[-1]) for tokens in completions),
        duplicate_prompts=len(every) - len({pair.prompt_id for pair in every}),
        duplicate_pairs=duplicates,
        contradictions=contradictions,
        leaked_prompts=_shared(names.values()),
        leaked_tokens=_shared(prompts.values()),
        leaked_completions=len(learned & _completions(test)),
        continued_prompts=_continued(prompts["train"], [pair.prompt for pair in test]),
        longer_chosen=sum(len(pair.chosen) > len(pair.rejected) for pair in every),
        unequal_pairs=sum(len(pair.chosen) != len(pair.rejected) for pair in every),
        repeated_prompts=repeated_prompts,
        notes=tuple(notes),
    )


def _share(part: int, whole: int) -> tuple[float, float]:
    """The 95 % interval of a share; (0, 1) when nothing was counted."""
    if whole == 0:
        return 0.0, 1.0
    estimate = stats.proportion(part, whole)
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def _source_rows(source: SourceCount) -> Iterable[AuditRow]:
    yield AuditRow(what=f"{source.kind}: rows read", count=source.read, note=source.source)
    yield AuditRow(what=f"{source.kind}: used", count=source.used, of=source.read)
    for reason, count in source.reasons:
        places = [row.where for row in source.named if row.reason == reason][:3]
        more = ", ..." if count > len(places) else ""
        yield AuditRow(
            what=f"{source.kind}: dropped, {reason}",
            count=count,
            of=source.read,
            note=", ".join(places) + more,
        )
    if source.left_out:
        yield AuditRow(
            what=f"{source.kind}: left out by the limit on pairs",
            count=source.left_out,
            of=source.read,
        )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"


def _lengths(texts: Sequence[Tokens]) -> Lengths:
    sizes = np.array([len(tokens) for tokens in texts] or [0])
    return Lengths(
        median=float(np.median(sizes)),
        p90=float(np.percentile(sizes, 90)),
        longest=int(sizes.max()),
    )


def _ids(pairs: Sequence[Pair | Demonstration]) -> set[str]:
    return {pair.prompt_id for pair in pairs}


def _prompts(pairs: Sequence[Pair | Demonstration]) -> set[Tokens]:
    return {pair.prompt for pair in pairs}


def _completions(pairs: Sequence[Pair]) -> set[Tokens]:
    return {tokens for pair in pairs for tokens in (pair.chosen, pair.rejected)}


def _repeated(pairs: Sequence[Pair]) -> tuple[int, int]:
    """How many pairs repeat, and how many reverse, an earlier pair of the same prompt."""
    seen: set[tuple[str, Tokens, Tokens]] = set()
    repeats = reversals = 0
    for pair in pairs:
        repeats += (pair.prompt_id, pair.chosen, pair.rejected) in seen
        reversals += (pair.prompt_id, pair.rejected, pair.chosen) in seen
        seen.add((pair.prompt_id, pair.chosen, pair.rejected))
    return repeats, reversals


def _shared(members: Iterable[Set[Hashable]]) -> int:
    """How many values are members of more than one set."""
    counts = Counter(value for values in members for value in values)
    return sum(count > 1 for count in counts.values())


def _continued(train: Set[Tokens], test: Sequence[Tokens]) -> int:
    """How many test prompts begin with a whole, shorter training prompt.

    In sorted order a prefix stands before all that it begins, so one stack of prefixes is enough.
    """
    order = sorted([(tokens, False) for tokens in train] + [(tokens, True) for tokens in test])
    prefixes: list[Tokens] = []
    count = 0
    for tokens, is_test in order:
        while prefixes and tokens[: len(prefixes[-1])] != prefixes[-1]:
            prefixes.pop()
        if not is_test:
            prefixes.append(tokens)
        elif any(len(prefix) < len(tokens) for prefix in prefixes):
            count += 1
    return count
