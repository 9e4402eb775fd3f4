"""Blocks of a Markdown page that a command writes, between marks: the rest is by hand.

A block begins with `<!-- study: NAME -->` and ends with `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

_BLOCK = re.compile(r"(<!-- study: ([a-z ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def fill(page: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The page with every block written anew.

    Args:
        page: Markdown.
        blocks: what writes each, by name.

    Raises:
        ValueError: when a block's name is not one of `blocks`, or the page has none.
    """
    names = [name for _, name, *_ in _BLOCK.findall(page)]
    unknown = [name for name in names if name not in blocks]
    if unknown or not names:
        raise ValueError(
            f"the page's blocks should be among {', '.join(blocks)}, got {', '.join(names)}"
            if names
            else f"the page has no block: put <!-- study: {next(iter(blocks))} --> and "
            "<!-- end --> into it"
        )
    return _BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]()}{found[4]}", page)


def marked(blocks: Mapping[str, Callable[[], str]]) -> str:
    """Every block with its marks, for a page that has none yet."""
    return "\n".join(
        f"<!-- study: {name} -->\n{write()}<!-- end -->\n" for name, write in blocks.items()
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
