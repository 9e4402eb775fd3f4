from __future__ import annotations

import gzip
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from allroads.data.files import BadRow, read_rows
from allroads.errors import DataError
from tests.data.synthetic import write_jsonl

ROW = {"prompt": "p", "chosen": "a", "rejected": "b"}


def _read(path: Path) -> list[tuple[str, Any]]:
    return [(located.where, located.row) for located in read_rows(str(path))]


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz"])
def test_jsonl_names_the_line_and_skips_blank_lines(tmp_path: Path, name: str) -> None:
    text = b'{"a": 1}\n\n  \n{"a": 2}'
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert _read(path) == [(f"{name}:1", {"a": 1}), (f"{name}:4", {"a": 2})]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    for name in ("d.jsonl", "d.csv"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + (b'{"a": "x"}' if "j" in name else b"a\nx"))
    assert _read(tmp_path / "d.jsonl") == [("d.jsonl:1", {"a": "x"})]
    assert _read(tmp_path / "d.csv") == [("d.csv:2", {"a": "x"})]


def test_csv_names_the_line_on_which_a_row_starts(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text('prompt,label\n"two\nlines",1\nnext,0\n')
    assert _read(path) == [
        ("d.csv:2", {"prompt": "two\nlines", "label": "1"}),
        ("d.csv:4", {"prompt": "next", "label": "0"}),
    ]


def test_csv_takes_texts_longer_than_the_limit_of_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("prompt\n" + "x" * 200_000 + "\n")
    assert len(_read(tmp_path / "d.csv")[0][1]["prompt"]) == 200_000


def test_parquet_keeps_messages_and_counts_rows(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}]
    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.table({"messages": [messages, messages]}), path)
    rows = _read(path)
    assert [where for where, _ in rows] == ["d.parquet:1", "d.parquet:2"]
    assert rows[0][1] == {"messages": messages}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": 1', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("1" * 5_000, "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("null", "not a JSON object"),
    ],
)
def test_a_bad_line_is_a_value_and_the_rest_is_read(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n{{"a": 3}}\n')
    rows = _read(path)
    assert [where for where, _ in rows] == ["d.jsonl:1", "d.jsonl:2", "d.jsonl:3"]
    assert isinstance(rows[1][1], BadRow)
    assert rows[1][1].reason == reason


def test_bad_csv_rows_are_values(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text('a,b\n1\n1,2,3\n"x"y,2\n1,2\n')
    rows = [row for _, row in _read(path)]
    assert [str(row) for row in rows[:2]] == [
        "wrong number of columns (found 1, expected 2)",
        "wrong number of columns (found 3, expected 2)",
    ]
    assert rows[2].reason == "not CSV"
    assert rows[3] == {"a": "1", "b": "2"}


BROKEN = {
    "truncated.jsonl.gz": (gzip.compress(b'{"a": 1}\n' * 5_000)[:-20], "gzip archive breaks off"),
    "plain.jsonl.gz": (b'{"a": 1}\n', "gzip archive breaks off or is damaged after line 0"),
    "latin.jsonl": ('{"a": 1}\n{"a": "é"}\n'.encode("latin-1"), "latin.jsonl:2: expected UTF-8"),
    "utf16.jsonl": ('{"a": 1}\n'.encode("utf-16"), "utf16.jsonl:1: expected UTF-8"),
    "latin.csv": ("a\né\n".encode("latin-1"), "latin.csv:2: expected UTF-8"),
    "empty.jsonl": (b"", "empty"),
    "blank.jsonl": (b"\n \n", "empty"),
    "empty.csv": (b"", "empty"),
    "header.csv": (b"prompt,chosen,rejected\n", "empty"),
    "twice.csv": (b"a,a\n1,2\n", "column names repeat"),
    "quote.csv": (b'a,b\n1,"never closed\n3,4\n5,6\n', "quote.csv:2: a quote opens"),
    "bad.parquet": (b"PAR1 no", "not readable as Parquet"),
    "list.json": (b"[]", "unknown format '.json'"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    content, sentence = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        _read(tmp_path / name)
    assert sentence in str(caught.value)
    assert name in str(caught.value)


def test_an_empty_parquet_is_an_error(tmp_path: Path) -> None:
    parquet.write_table(
        pyarrow.table({"prompt": pyarrow.array([], "string")}), tmp_path / "d.parquet"
    )
    with pytest.raises(DataError, match="empty"):
        _read(tmp_path / "d.parquet")


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_rows(str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="no such file"):
        read_rows("data/none.jsonl")  # looks like owner/name, but its suffix says file
    with pytest.raises(DataError, match="directory"):
        read_rows(str(tmp_path))


def test_hub_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        list(read_rows("owner/name"))


def test_hub_that_cannot_be_reached_says_what_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, *, split: str) -> None:
        raise ConnectionError(f"no route to {name}")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=refuse))
    with pytest.raises(DataError, match=r"owner/name: cannot load split 'train'.*no route"):
        list(read_rows("owner/name"))


def test_hub_rows_come_from_the_named_split(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(load_dataset=lambda name, split: [{"from": name, "split": split}])
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert [tuple(row) for row in read_rows("owner/name:test")] == [
        ("owner/name:test:1", {"from": "owner/name", "split": "test"})
    ]


def test_gzip_and_plain_hold_the_same_rows(tmp_path: Path) -> None:
    plain = read_rows(write_jsonl(tmp_path / "d.jsonl", [ROW] * 3))
    packed = read_rows(write_jsonl(tmp_path / "d.jsonl.gz", [ROW] * 3))
    assert [row for _, row in plain] == [row for _, row in packed] == [ROW] * 3
