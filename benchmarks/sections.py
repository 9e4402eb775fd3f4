"""Generated sections of docs/performance.md, between `<!-- NAME -->` and `<!-- end NAME -->`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from allroads.files import write_text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def replaced(text: str, name: str, body: str) -> str:
    """The page with a section's body in place of the old one.

    Raises:
        ValueError: when the section does not stand in the text exactly once.
    """
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", flags=re.DOTALL)
    if len(marks.findall(text)) != 1:
        raise ValueError(f"expected one section between <!-- {name} --> and <!-- end {name} -->")
    return marks.sub(lambda found: found[1] + body + found[2], text)


def write_section(name: str, body: str) -> None:
    """Into the page."""
    write_text(PAGE, replaced(PAGE.read_text(encoding="utf-8"), name, body))


def table(head: list[str], lines: list[list[str]]) -> str:
    """In Markdown."""
    both = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in both)


def load() -> float:
    """Processes that ran beside us, averaged over the last minute; ours are among them."""
    return os.getloadavg()[0]
