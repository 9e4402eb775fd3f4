"""Templates to pages: self-contained, no script, no request, everything escaped."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from allroads.report import numbers

_TEXT_LIMIT = 20_000
"""Characters of one prompt or answer that the page holds: the files hold the rest."""
_CONTROL = {c: "\N{REPLACEMENT CHARACTER}" for c in range(32) if chr(c) not in "\t\n\r"}


def fill(template: str, view: Mapping[str, Any]) -> str:
    """A template of this room with its values. The same values give the same bytes."""
    page = _environment().get_template(template).render(view)
    page = page.translate(_CONTROL)
    return page.encode("utf-8", "replace").decode("utf-8")


@functools.cache
def _environment() -> Environment:
    """This room's templates, each compiled once."""
    environment = Environment(
        loader=PackageLoader("allroads.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clipped"] = clipped
    environment.filters["tight"] = tight
    environment.filters["number"] = numbers.number
    return environment


def save(page: str, path: str | os.PathLike[str]) -> Path:
    """Write a page at once: a reader, or a kill, finds the old one or the new one."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(page.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return target


def clipped(text: str) -> str:
    """`text`, cut with a count of what is missing where it is too long for a page."""
    if len(text) <= _TEXT_LIMIT:
        return text
    return f"{text[:_TEXT_LIMIT]}… ({numbers.count(len(text) - _TEXT_LIMIT)} more characters)"


def tight(text: str) -> str:
    """`text` with its per cent signs kept on the line of their numbers."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
