"""A file or folder is the old one or the new one, whatever happens in between."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from allroads import files


class Killed(Exception):
    """The process died here."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch):
    """Make one operating system call die before it does anything."""

    def kill(name: str) -> None:
        def die(*_: object, **__: object) -> None:
            raise Killed

        monkeypatch.setattr(os, name, die)

    return kill


def test_text_is_written_into_new_folders(tmp_path: Path):
    path = tmp_path / "a" / "b" / "note.txt"
    files.write_text(path, "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_before_the_rename_leaves_the_old_text(tmp_path: Path, killed_at, call: str):
    path = tmp_path / "note.txt"
    files.write_text(path, "old")
    killed_at(call)
    with pytest.raises(Killed):
        files.write_text(path, "new")
    assert path.read_text() == "old"


def test_the_new_text_is_on_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, r=real: (calls.append(n), r(*a))[1])
    files.write_text(tmp_path / "note.txt", "text")
    assert calls == ["fsync", "replace"]


def test_the_neighbour_lies_in_the_same_folder(tmp_path: Path, killed_at):
    """A rename is atomic only inside one file system."""
    killed_at("replace")
    with pytest.raises(Killed):
        files.write_text(tmp_path / "note.txt", "new")
    (neighbour,) = tmp_path.iterdir()
    assert neighbour.read_text() == "new"
    assert neighbour.name.startswith(".note.txt.")


@pytest.mark.parametrize("write", [files.write_json, files.write_indented_json])
def test_json_comes_back_as_it_was(write: Callable[[Path, Any], None], tmp_path: Path):
    path = tmp_path / "value.json"
    value = {"a": [1, 0.1, 1e-300, None, True], "b": "größe", "c": math.inf}
    write(path, value)
    assert files.read_json(path) == value
    write(path, math.nan)
    assert math.isnan(files.read_json(path))


def test_json_is_one_line_or_an_item_a_line(tmp_path: Path):
    for write, lines in ((files.write_json, 1), (files.write_indented_json, 4)):
        write(tmp_path / "value.json", [1, 2])
        assert len((tmp_path / "value.json").read_text().splitlines()) == lines


def test_what_cannot_be_json_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "value.json"
    files.write_json(path, [1])
    with pytest.raises(TypeError):
        files.write_json(path, [object()])
    assert files.read_json(path) == [1]


def fill_with(**texts: str):
    def fill(folder: Path) -> None:
        for name, text in texts.items():
            (folder / name).write_text(text)

    return fill


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_is_replaced_whole(tmp_path: Path):
    folder = tmp_path / "deep" / "checkpoint"
    files.write_folder(folder, fill_with(a="1", b="2"))
    files.write_folder(folder, fill_with(b="3"))
    assert contents(folder) == {"b": "3"}
    assert list(folder.parent.iterdir()) == [folder]


def test_a_kill_while_filling_leaves_the_old_folder(tmp_path: Path):
    folder = tmp_path / "checkpoint"
    files.write_folder(folder, fill_with(a="1"))

    def fill(path: Path) -> None:
        (path / "a").write_text("half")
        raise Killed

    with pytest.raises(Killed):
        files.write_folder(folder, fill)
    assert contents(folder) == {"a": "1"}
    # What the dead process left behind does not get in the way of the next attempt.
    files.write_folder(folder, fill_with(c="2"))
    assert contents(folder) == {"c": "2"}


def test_a_kill_before_the_rename_leaves_no_half_folder(tmp_path: Path, killed_at):
    folder = tmp_path / "checkpoint"
    killed_at("replace")
    with pytest.raises(Killed):
        files.write_folder(folder, fill_with(a="1"))
    assert not folder.exists()
