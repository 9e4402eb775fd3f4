"""The README's annotated tree is the real tree: no file is missing, gone, or without a comment."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## What is where"
SHOWN_SUFFIXES = {".py", ".j2", ".css"}

EXAMPLE = """\
pyproject.toml        # metadata
src/allroads/         # the package
  types.py            — the nouns
  data/               # data in
    rows.py           # rows to texts
tests/                # mirrors the package
"""


def parse(block: str) -> list[tuple[str, str]]:
    """(path, comment) of each line; a folder's path ends with '/', deeper means more indented."""
    entries: list[tuple[str, str]] = []
    folders: list[tuple[int, str]] = []
    for line in filter(str.strip, block.splitlines()):
        indent = len(line) - len(line.lstrip(" "))
        name, comment = [*re.split(r"\s+[#—](?:\s+|$)", line.strip(), maxsplit=1), ""][:2]
        while folders and folders[-1][0] >= indent:
            folders.pop()
        path = (folders[-1][1] if folders else "") + name
        if name.endswith("/"):
            folders.append((indent, path))
        entries.append((path, comment.strip()))
    return entries


def must_be_shown(path: str) -> bool:
    """Every top-level file, and every source file of the package."""
    inside = path.startswith("src/allroads/") and PurePosixPath(path).suffix in SHOWN_SUFFIXES
    return inside or "/" not in path


def complaints(block: str, files: set[str]) -> list[str]:
    """What a reader of the tree would be told wrongly, one line each."""
    entries = parse(block)
    shown = [path for path, _ in entries]
    folders = {f"{parent}/" for path in files for parent in PurePosixPath(path).parents}
    return [
        *(f"missing line: {path}" for path in sorted(filter(must_be_shown, files - set(shown)))),
        *(f"no such path: {path}" for path in shown if path not in files | folders),
        *(f"twice: {path}" for path, count in Counter(shown).items() if count > 1),
        *(f"no comment: {path}" for path, comment in entries if not comment),
    ]


def test_a_tree_is_read_by_its_indentation():
    assert parse(EXAMPLE) == [
        ("pyproject.toml", "metadata"),
        ("src/allroads/", "the package"),
        ("src/allroads/types.py", "the nouns"),
        ("src/allroads/data/", "data in"),
        ("src/allroads/data/rows.py", "rows to texts"),
        ("tests/", "mirrors the package"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("    rows.py           # rows to texts\n", "", "missing line: src/allroads/data/rows.py"),
        ("pyproject.toml        # metadata\n", "", "missing line: pyproject.toml"),
        ("types.py", "kinds.py", "no such path: src/allroads/kinds.py"),
        ("tests/   ", "spells/", "no such path: spells/"),
        ("— the nouns", "", "no comment: src/allroads/types.py"),
        ("# data in", "", "no comment: src/allroads/data/"),
        ("tests/", "pyproject.toml  # again\ntests/", "twice: pyproject.toml"),
    ],
)
def test_a_wrong_tree_is_told(old: str, new: str, complaint: str):
    files = {
        "pyproject.toml",
        "src/allroads/types.py",
        "src/allroads/py.typed",
        "src/allroads/data/rows.py",
        "tests/test_stats.py",
    }
    assert complaints(EXAMPLE, files) == []
    assert old in EXAMPLE
    assert complaint in complaints(EXAMPLE.replace(old, new), files)


def test_readme_shows_the_real_tree():
    files = _files_of_the_checkout()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    block = re.search(r"^```[a-z]*\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert block, f"README.md has no fenced block under a heading '{HEADING}'"
    wrong = complaints(block[1], files)
    assert not wrong, "\n".join([f"README.md, '{HEADING}':", *wrong])


def _files_of_the_checkout() -> set[str]:
    """Tracked files and new ones that git does not ignore."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout (an unpacked sdist?), so the real tree is unknown")
    if shutil.which("git") is None:
        pytest.skip("git is not installed, so the real tree is unknown")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split("\0")
    return {path for path in listed if path and (ROOT / path).exists()}
