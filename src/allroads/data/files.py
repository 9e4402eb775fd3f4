"""Files to rows, one at a time: JSONL and CSV (also .gz), Parquet, or a dataset on the Hub.

A row that cannot be read is a `BadRow`, a value with its reason; a file that cannot be read is a
`DataError`. Every row carries its `where`: "train.jsonl.gz:17" is line 17 (in a CSV, the line on
which the row starts; in Parquet and on the Hub, row 17; all count from 1). Blank lines are no rows.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from allroads.errors import DataError

FORMATS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<split>[\w.-]+))?")
_LONGEST_FIELD = 1 << 26  # the csv module refuses texts over 128 KiB by default


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that cannot be used: `reason` is one of few (it is counted), `detail` is this row's."""

    reason: str
    detail: str = ""

    def __str__(self) -> str:
        """The reason, with the detail in brackets."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


class RowError(DataError):
    """Raised while one row is parsed or tokenised; the caller drops the row or adds its place."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """See `BadRow`."""
        self.bad = BadRow(reason=reason, detail=detail)
        super().__init__(str(self.bad))


Row = dict[str, Any]


class Located(NamedTuple):
    """One row and its place."""

    where: str
    row: Row | BadRow


def read_rows(source: str) -> Iterator[Located]:
    """The rows of a file, or of a Hub dataset "owner/name" or "owner/name:split" (default train).

    Raises:
        DataError: The source is missing, a directory, of unknown format, unreadable or empty.
    """
    path = Path(source)
    suffix = _suffix(path.name)
    if path.is_dir():
        raise DataError(f"{source} is a directory: name one file, {_formats()}")
    if path.exists():
        if not suffix:
            raise DataError(f"{source}: unknown format {path.suffix!r}, expected {_formats()}")
        return _not_empty(_read_file(path, suffix), source)
    hub = None if suffix else _HUB.fullmatch(source)
    if hub is None:
        raise DataError(
            f"{source}: no such file. Expected a file, {_formats()}, "
            "or a Hub dataset as owner/name or owner/name:split"
        )
    return _not_empty(_hub_rows(hub["name"], hub["split"] or "train"), source)


def _formats() -> str:
    return f"one of {', '.join(FORMATS)}"


def _suffix(name: str) -> str:
    return next((suffix for suffix in FORMATS if name.lower().endswith(suffix)), "")


def _not_empty(rows: Iterator[Located], source: str) -> Iterator[Located]:
    empty = True
    for located in rows:
        empty = False
        yield located
    if empty:
        raise DataError(f"{source} is empty: expected at least one row")


def _read_file(path: Path, suffix: str) -> Iterator[Located]:
    if suffix == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path) if suffix.startswith(".csv") else _jsonl_rows(path)


def _lines(path: Path) -> Iterator[str]:
    """Decoded lines with their ends; a broken archive or encoding is named by its line."""
    number = 0
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: expected UTF-8, found byte 0x{error.object[error.start]:02x} at "
            f"position {error.start} of the line: save the file as UTF-8"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip archive breaks off or is damaged after line {number} ({error}): "
            "copy or download it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _jsonl_rows(path: Path) -> Iterator[Located]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield Located(f"{path.name}:{number}", _json_row(line))


def _json_row(line: str) -> Row | BadRow:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return BadRow(reason="not JSON", detail=f"{error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond Python's limits
        return BadRow(reason="not JSON", detail=str(error))
    if not isinstance(row, dict):
        return BadRow(reason="not a JSON object", detail=f"found {type(row).__name__}")
    return row


def _csv_rows(path: Path) -> Iterator[Located]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(_lines(path), strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{path}:1: the header is not CSV: {error}") from error
    if len(set(header)) < len(header):
        raise DataError(f"{path}:1: column names repeat: {', '.join(header)}: rename one")
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error):  # one open quote has swallowed the rest of the file
                raise DataError(
                    f"{path}:{start}: a quote opens in this row and never closes, so every later "
                    "row is lost: close it, or double each quote inside a text"
                ) from error
            yield Located(f"{path.name}:{start}", BadRow(reason="not CSV", detail=str(error)))
            continue
        if len(fields) == len(header):
            yield Located(f"{path.name}:{start}", dict(zip(header, fields, strict=True)))
        elif fields:
            found = f"found {len(fields)}, expected {len(header)}"
            bad = BadRow(reason="wrong number of columns", detail=found)
            yield Located(f"{path.name}:{start}", bad)


def _parquet_rows(path: Path) -> Iterator[Located]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield Located(f"{path.name}:{number}", row)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not readable as Parquet after row {number}: {error}. Copy or write it again"
        ) from error


def _hub_rows(name: str, split: str) -> Iterator[Located]:
    try:
        load_dataset = importlib.import_module("datasets").load_dataset
    except ImportError as error:
        raise DataError(
            f"{name}: no such file, and reading it from the Hub needs the package 'datasets': "
            "run pip install datasets, or download the file and give its path"
        ) from error
    try:
        rows = iter(load_dataset(name, split=split))
    except Exception as error:  # every failure of a download is the same sentence to the user
        raise DataError(
            f"{name}: cannot load split {split!r} from the Hub ({type(error).__name__}: {error}). "
            "Check the name, the split (owner/name:split), the connection and, for a gated "
            "dataset, the login; or download the file and give its path"
        ) from error
    for number, row in enumerate(rows, start=1):
        yield Located(f"{name}:{split}:{number}", dict(row))
