"""From files to the one data list that every road learns from: read, tokenise, split, audit.

Decided here
  1. `over_long="drop"` drops and counts a long row even under `--on-bad-row raise`: a long row is
     not a bad one. `over_long="raise"` names it and stops.
  2. Demonstrations whose prompt falls outside "train" are held out and counted, whether or not the
     pairs hold that prompt: the split is a function of the prompt, not of the other file.
  3. `max_pairs` takes prompts in the order of their seeded hash and stops when enough pairs are
     usable, so that a larger limit holds every pair of a smaller one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allroads.data.audit import Audit, SourceCount, audit_of
from allroads.data.files import RowError
from allroads.data.rows import Dropped, Loaded, OnBadRow, load
from allroads.data.split import (
    SPLITS,
    SplitFractions,
    conversation_id_of,
    prompt_id_of,
    split_of,
)
from allroads.data.tokenise import TOO_LONG, Tokeniser
from allroads.errors import ConfigError, DataError
from allroads.seeding import address
from allroads.types import (
    Demonstration,
    DemonstrationText,
    Pair,
    PairText,
    Prompt,
    Split,
    UnpairedText,
)

_FORMAT = 2
IDENTICAL = "chosen and rejected are the same tokens"
"""The reason of a pair that says nothing once it is tokenised (and truncated)."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Preference pairs and demonstrations in tokens, split by prompt, with their audit."""

    pairs: Mapping[Split, tuple[Pair, ...]]
    """In the order of the file. Every split is present, perhaps empty."""
    demonstrations: tuple[Demonstration, ...]
    """Prompts of the split "train" only; may be empty."""
    prompts: Mapping[Split, tuple[Prompt, ...]]
    """The distinct prompts of the pairs."""
    audit: Audit

    def to_json(self) -> str:
        """An exact, stable text: `Dataset.from_json(d.to_json()) == d`."""
        return _dumps({**self._content(), "audit": self.audit.model_dump(mode="json")})

    @staticmethod
    def from_json(text: str) -> Dataset:
        """The dataset that `to_json` wrote.

        Raises:
            DataError: The text is not a dataset of this format.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']!r}, expected {_FORMAT}")
            return Dataset(
                pairs={s: tuple(map(_pair_of, content["pairs"][s])) for s in SPLITS},
                demonstrations=tuple(
                    Demonstration(prompt_id=name, prompt=tuple(prompt), completion=tuple(tokens))
                    for name, prompt, tokens in content["demonstrations"]
                ),
                prompts={
                    split: tuple(
                        Prompt(prompt_id=name, tokens=tuple(tokens), conversation_id=conversation)
                        for name, tokens, conversation in content["prompts"][split]
                    )
                    for split in SPLITS
                },
                audit=Audit.model_validate(content["audit"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"not a dataset of allroads: {error}. Build it again") from error

    def fingerprint(self) -> str:
        """Names the content: the same tokens in the same splits. No audit, no path."""
        return hashlib.blake2b(_dumps(self._content()).encode(), digest_size=16).hexdigest()

    def _content(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "pairs": {
                split: [
                    [p.prompt_id, p.prompt, p.chosen, p.rejected, p.conversation_id]
                    for p in self.pairs[split]
                ]
                for split in SPLITS
            },
            "demonstrations": [[d.prompt_id, d.prompt, d.completion] for d in self.demonstrations],
            "prompts": {
                split: [[p.prompt_id, p.tokens, p.conversation_id] for p in self.prompts[split]]
                for split in SPLITS
            },
        }


def build(
    pairs_source: str,
    demonstrations_source: str | None,
    tokeniser: Tokeniser,
    *,
    on_bad_row: OnBadRow = "drop",
    seed: int = 0,
    fractions: SplitFractions | None = None,
    max_pairs: int | None = None,
) -> Dataset:
    """The data list of a comparison.

    Args:
        pairs_source: preference pairs, a file or a Hub dataset, see `files.read_rows`.
        demonstrations_source: demonstrations, or None: that is normal.
        tokeniser: sets the lengths and what happens to longer rows.
        on_bad_row: "drop" counts bad rows, "raise" stops at the first.
        seed: decides the split and the subset.
        fractions: of the prompts in each split; `SplitFractions()` when None.
        max_pairs: keep at most this many pairs, a seeded subset.

    Raises:
        DataError: A source cannot be used, or no pair is left; the message says why.
    """
    if max_pairs is not None and max_pairs < 1:
        raise ConfigError(f"max_pairs must be at least 1, got {max_pairs}")
    fractions = fractions or SplitFractions()
    loaded = _load_kind(pairs_source, "pairs", on_bad_row)
    kept = _tokenise_pairs(loaded, tokeniser, on_bad_row, seed, max_pairs)
    sources = [kept.count]
    held: tuple[Demonstration, ...] = ()
    texts: list[PairText | DemonstrationText] = list(loaded.pairs)
    if demonstrations_source is not None:
        demonstrations = _load_kind(demonstrations_source, "demonstrations", on_bad_row)
        held, count = _tokenise_demonstrations(
            demonstrations, tokeniser, on_bad_row, seed, fractions
        )
        sources.append(count)
        texts += demonstrations.demonstrations
    by_split: dict[Split, list[Pair]] = {split: [] for split in SPLITS}
    for pair in kept.pairs:
        by_split[split_of(pair.cluster, seed, fractions)].append(pair)
    pairs: dict[Split, tuple[Pair, ...]] = {s: tuple(by_split[s]) for s in SPLITS}
    notes = () if all(isinstance(t.prompt, str) for t in texts) else (tokeniser.note,)
    return Dataset(
        pairs=pairs,
        demonstrations=held,
        prompts={split: _distinct_prompts(pairs[split]) for split in SPLITS},
        audit=audit_of(
            pairs=pairs,
            demonstrations=held,
            sources=sources,
            max_length=tokeniser.max_length,
            over_long=tokeniser.over_long,
            eos_id=tokeniser.eos_id,
            repeated_prompts=sum(map(_repeats_prompt, loaded.pairs)),
            notes=notes,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _KeptPairs:
    pairs: list[Pair]
    count: SourceCount


def _load_kind(source: str, kind: str, on_bad_row: OnBadRow) -> Loaded:
    loaded = load(source, on_bad_row)
    if loaded.kind != kind:
        raise DataError(f"{source} holds {loaded.kind}, expected {kind}: give another file")
    return loaded


def _tokenise_pairs(
    loaded: Loaded,
    tokeniser: Tokeniser,
    on_bad_row: OnBadRow,
    seed: int,
    max_pairs: int | None,
) -> _KeptPairs:
    names = [prompt_id_of(text.prompt) for text in loaded.pairs]
    order = list(range(len(names)))
    if max_pairs is not None:
        order.sort(key=lambda i: (address(seed, "subset", names[i]), i))
    kept: dict[int, Pair] = {}
    dropped = list(loaded.dropped)
    seen = 0
    for index in order:
        if len(kept) == max_pairs:
            break
        seen += 1
        text = loaded.pairs[index]
        try:
            kept[index] = _pair(text, names[index], tokeniser)
        except RowError as error:
            dropped.append(_refused(text, error, tokeniser, on_bad_row))
    count = SourceCount.of(loaded, used=len(kept), dropped=dropped, left_out=len(order) - seen)
    if not kept:
        reasons = ", ".join(f"{number} x {reason}" for reason, number in count.reasons)
        raise DataError(
            f"{loaded.source}: none of its {loaded.read} rows is left at max_length "
            f"{tokeniser.max_length}: {reasons}. Raise --max-length or truncate"
        )
    return _KeptPairs(pairs=[kept[index] for index in sorted(kept)], count=count)


def _pair(text: PairText, prompt_id: str, tokeniser: Tokeniser) -> Pair:
    pair = Pair(
        prompt_id=prompt_id,
        conversation_id=conversation_id_of(text.prompt),
        prompt=tokeniser.prompt(text.prompt),
        chosen=tokeniser.completion(text.prompt, text.chosen),
        rejected=tokeniser.completion(text.prompt, text.rejected),
    )
    if pair.chosen == pair.rejected:
        raise RowError(IDENTICAL)
    return pair


def _refused(
    text: PairText | DemonstrationText | UnpairedText,
    error: RowError,
    tokeniser: Tokeniser,
    on_bad_row: OnBadRow,
) -> Dropped:
    """The row as dropped, or the error that stops the run."""
    reason = error.bad.reason
    if reason == TOO_LONG and tokeniser.over_long == "raise":
        raise DataError(
            f"{text.where}: {error.bad}. Raise --max-length, or drop or truncate long rows"
        ) from error
    if reason not in (TOO_LONG, IDENTICAL) and on_bad_row == "raise":
        raise DataError(
            f"{text.where}: {error.bad}. Mend or remove the row, or use --on-bad-row drop"
        ) from error
    return Dropped(text.where, reason)


def _tokenise_demonstrations(
    loaded: Loaded,
    tokeniser: Tokeniser,
    on_bad_row: OnBadRow,
    seed: int,
    fractions: SplitFractions,
) -> tuple[tuple[Demonstration, ...], SourceCount]:
    kept: list[Demonstration] = []
    dropped = list(loaded.dropped)
    for text in loaded.demonstrations:
        prompt_id = prompt_id_of(text.prompt)
        split = split_of(conversation_id_of(text.prompt), seed, fractions)
        if split != "train":
            dropped.append(Dropped(text.where, f"held out: its prompt is in {split}"))
            continue
        try:
            prompt = tokeniser.prompt(text.prompt)
            completion = tokeniser.completion(text.prompt, text.completion)
        except RowError as error:
            dropped.append(_refused(text, error, tokeniser, on_bad_row))
            continue
        kept.append(Demonstration(prompt_id=prompt_id, prompt=prompt, completion=completion))
    return tuple(kept), SourceCount.of(loaded, used=len(kept), dropped=dropped, left_out=0)


def _distinct_prompts(pairs: Sequence[Pair]) -> tuple[Prompt, ...]:
    first: dict[str, Prompt] = {}
    for pair in pairs:
        prompt = Prompt(
            prompt_id=pair.prompt_id, tokens=pair.prompt, conversation_id=pair.conversation_id
        )
        first.setdefault(pair.prompt_id, prompt)
    return tuple(first.values())


def _repeats_prompt(text: PairText) -> bool:
    return isinstance(text.prompt, str) and all(
        answer.startswith(text.prompt) for answer in (text.chosen, text.rejected)
    )


def _pair_of(row: Sequence[Any]) -> Pair:
    prompt_id, prompt, chosen, rejected, conversation_id = row
    return Pair(
        prompt_id=prompt_id,
        prompt=tuple(prompt),
        chosen=tuple(chosen),
        rejected=tuple(rejected),
        conversation_id=conversation_id,
    )


def _dumps(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
