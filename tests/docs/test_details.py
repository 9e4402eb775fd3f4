"""docs/details.md names tests that exist, and says of everything else that it is not done."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "details.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def names_in(path: str) -> set[str]:
    file = ROOT / path
    code = file.read_text(encoding="utf-8") if file.is_file() else ""
    return set(re.findall(r"^(?:async )?def (test_\w+)\(", code, flags=re.MULTILINE))


def test_every_named_test_exists():
    found = NAMED.findall(TEXT)
    assert len(found) > 100
    missing = [f"{path}::{name}" for path, name in found if name not in names_in(path)]
    assert not missing, "docs/details.md names tests that are not there: rename them there too"


def test_every_row_has_a_test_or_says_why_not():
    rows = [line for line in TEXT.splitlines() if line.startswith("|")]
    bare = [
        row
        for row in rows
        if "::" not in row
        and not row.startswith(("|---", "| detail |", "| project and number |"))
        and not re.search(r"\*\*(not done|no test)\*\*", row, flags=re.IGNORECASE)
    ]
    assert not bare


def test_links_lead_somewhere_inside_the_repository():
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
    assert "/work" not in TEXT
