"""Rows to texts: recognise the shape from the columns, check each row, name each bad one.

Decided here
  1. An empty (or blank) prompt is a bad row: there is nothing to condition on, and all such rows
     would be one prompt and so fall into one split.
  2. A conversational completion is exactly one assistant message. Turns before it are the prompt.
  3. A plain `chosen` that repeats its plain prompt is kept as it is: no guess. The audit counts it.
  4. `query` is read as `prompt`, and `reference_response` as `completion`, where no column has that
     name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

from allroads.data.files import BadRow, Located, Row, RowError, read_rows
from allroads.errors import ConfigError, DataError
from allroads.types import DemonstrationText, Message, PairText, PromptText, UnpairedText

OnBadRow = Literal["drop", "raise"]
Kind = Literal["pairs", "demonstrations", "unpaired"]
T = TypeVar("T")
Text = PairText | DemonstrationText | UnpairedText
SHAPES = (
    "prompt, chosen, rejected",
    "chosen, rejected (the prompt is their shared beginning)",
    "prompt, completion, label (unpaired)",
    "prompt, completion (demonstrations)",
    "messages (demonstrations)",
)
_OTHER_NAMES = {"query": "prompt", "reference_response": "completion"}
"""Columns of the TL;DR datasets of Huang et al. 2024, arXiv:2403.17031, by what they are here."""
_READ = {"prompt", "chosen", "rejected", "completion", "label", "messages", *_OTHER_NAMES}
TURN = "\n\nAssistant:"
"""Ends the prompt of a dialogue in the form of Anthropic HH."""


class Dropped(NamedTuple):
    """A row that is not used, by its place and reason."""

    where: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The usable rows of one source, all of one kind, and the dropped ones.

    `read` counts all rows: usable + len(dropped) == read.
    """

    source: str
    kind: Kind
    pairs: tuple[PairText, ...] = ()
    demonstrations: tuple[DemonstrationText, ...] = ()
    unpaired: tuple[UnpairedText, ...] = ()
    dropped: tuple[Dropped, ...] = ()

    @property
    def usable(self) -> int:
        """Rows that can be used."""
        return len(self.pairs) + len(self.demonstrations) + len(self.unpaired)

    @property
    def read(self) -> int:
        """Rows in the source."""
        return self.usable + len(self.dropped)

    @property
    def reasons(self) -> dict[str, int]:
        """Dropped rows by reason, the most frequent first."""
        return dict(Counter(row.reason for row in self.dropped).most_common())


def load(source: str, on_bad_row: OnBadRow = "drop") -> Loaded:
    """Read and check one source.

    Args:
        source: a file or a Hub dataset, see `files.read_rows`.
        on_bad_row: "drop" counts a bad row and goes on; "raise" stops at the first one.

    Raises:
        DataError: The source is unreadable, of unknown shape, or holds no usable row; or a row is
            bad and `on_bad_row` is "raise". The message names file, line and reason.
    """
    if on_bad_row not in ("drop", "raise"):
        raise ConfigError(f"on_bad_row must be 'drop' or 'raise', got {on_bad_row!r}")
    rows: list[Located] = []
    dropped: list[Dropped] = []

    def refuse(where: str, bad: BadRow) -> None:
        if on_bad_row == "raise":
            raise DataError(f"{where}: {bad}. Mend or remove the row, or use --on-bad-row drop")
        dropped.append(Dropped(where, bad.reason))

    for located in read_rows(source):
        if isinstance(located.row, BadRow):
            refuse(located.where, located.row)
        else:
            # Those datasets hold every text in tokens as well: gigabytes that nobody reads.
            row = {key: value if key in _READ else None for key, value in located.row.items()}
            rows.append(Located(located.where, row))
    rows = _usual_names(rows)
    texts: list[Text] = []
    kind, parse = _shape(rows, source) if rows else ("pairs", _pair)
    for where, row in rows:
        assert isinstance(row, dict)
        try:
            texts.append(parse(row, where))
        except RowError as error:
            refuse(where, error.bad)
    if not texts:
        raise DataError(_nothing_usable(source, dropped))
    return Loaded(
        source=source,
        kind=kind,
        pairs=_of(PairText, texts),
        demonstrations=_of(DemonstrationText, texts),
        unpaired=_of(UnpairedText, texts),
        dropped=tuple(dropped),
    )


def _of(kind: type[T], texts: Iterable[Text]) -> tuple[T, ...]:
    return tuple(text for text in texts if isinstance(text, kind))


def _nothing_usable(source: str, dropped: list[Dropped]) -> str:
    first = {row.reason: row.where for row in reversed(dropped)}
    counts = Counter(row.reason for row in dropped).most_common()
    reasons = "; ".join(f"{count} x {reason} (first: {first[reason]})" for reason, count in counts)
    shapes = "; ".join(SHAPES)
    return f"{source}: none of its {len(dropped)} rows can be used: {reasons}. Expected {shapes}"


def _usual_names(rows: list[Located]) -> list[Located]:
    """The rows with the columns of `_OTHER_NAMES` called as here."""
    columns = {key for located in rows if isinstance(located.row, dict) for key in located.row}
    new = {old: name for old, name in _OTHER_NAMES.items() if old in columns}
    new = {old: name for old, name in new.items() if name not in columns}
    if not new:
        return rows
    return [
        Located(where, {new.get(key, key): value for key, value in row.items()})
        for where, row in rows
        if isinstance(row, dict)
    ]


def _shape(rows: list[Located], source: str) -> tuple[Kind, Callable[[Row, str], Text]]:
    """The kind of a source and its parser, from the columns that any of its rows has."""
    columns = {key for located in rows if isinstance(located.row, dict) for key in located.row}
    if {"chosen", "rejected"} <= columns:
        return "pairs", _pair if "prompt" in columns else _implicit_pair
    if {"prompt", "completion", "label"} <= columns:
        return "unpaired", _unpaired
    if {"prompt", "completion"} <= columns:
        return "demonstrations", _demonstration
    if "messages" in columns:
        return "demonstrations", _conversation
    found = ", ".join(sorted(columns)) or "none"
    raise DataError(f"{source}: unknown columns: {found}. Expected one of: {'; '.join(SHAPES)}")


def _pair(row: Row, where: str) -> PairText:
    prompt = _value(row, "prompt")
    chosen_prompt, chosen = _answer(prompt, _value(row, "chosen"), "chosen")
    rejected_prompt, rejected = _answer(prompt, _value(row, "rejected"), "rejected")
    if chosen_prompt != rejected_prompt:
        raise RowError("chosen and rejected have different prompts")
    return _checked_pair(chosen_prompt, chosen, rejected, where)


def _implicit_pair(row: Row, where: str) -> PairText:
    chosen, rejected = _value(row, "chosen"), _value(row, "rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        cut = _shared_text(chosen, rejected)
        return _checked_pair(chosen[:cut], chosen[cut:], rejected[cut:], where)
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise RowError("one of chosen, rejected is text, the other messages")
    shared = _shared_messages(chosen, rejected)
    return _checked_pair(
        chosen[:shared],
        _one_assistant(chosen[shared:], "chosen"),
        _one_assistant(rejected[shared:], "rejected"),
        where,
    )


def _shared_text(chosen: str, rejected: str) -> int:
    """Where the prompt ends in two texts that both begin with it."""
    if chosen == rejected:
        raise RowError("chosen equals rejected")
    shared = chosen[: _shared_length(chosen, rejected)]
    turn = shared.rfind(TURN)
    if turn >= 0:
        return turn + len(TURN)
    # Whole words stay together, and the white space goes with the completion, as after a turn.
    last_space = re.search(r"\s+(?=\S*\Z)", shared)
    if last_space is None or not shared[: last_space.start()].strip():
        raise RowError("no shared prompt at the beginning of chosen and rejected")
    return last_space.start()


def _shared_length(left: Sequence[T], right: Sequence[T]) -> int:
    unequal = (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(unequal, min(len(left), len(right)))


def _shared_messages(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> int:
    if chosen == rejected:
        raise RowError("chosen equals rejected")
    shared = _shared_length(chosen, rejected)
    if shared == 0:
        raise RowError("no shared prompt at the beginning of chosen and rejected")
    return shared


def _checked_pair(prompt: PromptText, chosen: str, rejected: str, where: str) -> PairText:
    _check_prompt(prompt)
    _check_completion(chosen, "chosen")
    _check_completion(rejected, "rejected")
    if chosen == rejected:
        raise RowError("chosen equals rejected")
    return PairText(prompt=prompt, chosen=chosen, rejected=rejected, where=where)


def _demonstration(row: Row, where: str) -> DemonstrationText:
    prompt, completion = _answer(_value(row, "prompt"), _value(row, "completion"), "completion")
    _check_prompt(prompt)
    _check_completion(completion, "completion")
    return DemonstrationText(prompt=prompt, completion=completion, where=where)


def _conversation(row: Row, where: str) -> DemonstrationText:
    messages = _value(row, "messages")
    if isinstance(messages, str):
        raise RowError("'messages' is text, expected a list of messages")
    completion = _one_assistant(messages[-1:], "messages")
    _check_prompt(messages[:-1])
    _check_completion(completion, "messages")
    return DemonstrationText(prompt=messages[:-1], completion=completion, where=where)


def _unpaired(row: Row, where: str) -> UnpairedText:
    text = _demonstration(row, where)
    label = row.get("label")
    if label is None or label == "":
        raise RowError("missing column 'label'")
    # A CSV holds text only; Parquet holds 0.0 and 1.0 where a null stood in an integer column.
    name = label.lower() if isinstance(label, str) else label
    if not isinstance(name, str | bool | int | float) or name not in (0, 1, *_LABELS):
        raise RowError("label is not true, false, 0 or 1", f"found {label!r:.40}")
    good = _LABELS[name] if isinstance(name, str) else bool(name)
    return UnpairedText(prompt=text.prompt, completion=text.completion, label=good, where=where)


_LABELS = {"true": True, "1": True, "false": False, "0": False}


def _value(row: Row, column: str) -> PromptText:
    """The text or the messages in one column."""
    value = row.get(column)
    if value is None:
        raise RowError(f"missing column {column!r}")
    if isinstance(value, str):
        return _unicode(value, column)
    if isinstance(value, list):
        return tuple(_message(item, column) for item in value)
    found = f"found {type(value).__name__}"
    raise RowError(f"wrong type in {column!r}, expected text or a list of messages", found)


def _message(item: Any, column: str) -> Message:
    if not isinstance(item, Mapping):
        raise RowError(f"wrong type in {column!r}, expected messages", f"{type(item).__name__}")
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        keys = ", ".join(map(str, item))
        raise RowError(f"a message in {column!r} lacks a text role or content", f"keys: {keys}")
    return {"role": role, "content": _unicode(content, column)}


def _unicode(text: str, column: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise RowError(f"{column!r} is not valid Unicode", str(error.reason)) from error
    return text


def _answer(prompt: PromptText, answer: PromptText, column: str) -> tuple[PromptText, str]:
    """The prompt and the completion, where `answer` may be a text or a (whole) conversation."""
    if isinstance(answer, str):
        return prompt, answer
    completion = _one_assistant(answer[-1:], column)
    before = answer[:-1]
    if isinstance(prompt, str):
        # The field also writes the last question as `prompt` beside a whole conversation.
        if before and before[-1]["content"].strip() != prompt.strip():
            raise RowError(f"{column!r} does not continue the prompt")
        return before or ({"role": "user", "content": prompt},), completion
    if before and before != prompt:
        raise RowError(f"{column!r} does not continue the prompt")
    return prompt, completion


def _one_assistant(messages: tuple[Message, ...], column: str) -> str:
    if not messages:
        raise RowError(f"empty completion in {column!r}")
    roles = [message["role"] for message in messages]
    if roles != ["assistant"]:
        found = f"roles: {', '.join(roles)}"
        raise RowError(f"the completion in {column!r} is not one assistant message", found)
    return messages[-1]["content"]


def _check_prompt(prompt: PromptText) -> None:
    if isinstance(prompt, str):
        empty = not prompt.strip()
    else:
        empty = not any(message["content"].strip() for message in prompt)
    if empty:
        raise RowError("empty prompt")
    if not isinstance(prompt, str) and prompt[-1]["role"] == "assistant":
        raise RowError("the prompt ends with the assistant's turn")


def _check_completion(completion: str, column: str) -> None:
    if not completion.strip():
        raise RowError(f"empty completion in {column!r}")
