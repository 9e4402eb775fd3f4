"""Papers with one-sentence summaries, read from where they lie; none is shipped with this library.

SciTLDR (Cachola et al. 2020, arXiv:2004.15011): three JSONL files in one folder, in either form:
the columns `title`, `abstract`, `tldr`, or those of its authors, `title` (absent on the Hub),
`source` (the abstract's sentences) and `target`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from allroads.data.files import BadRow, read_rows
from allroads.errors import DataError

Part = Literal["train", "dev", "test"]
_NAMES = ("scitldr_{part}.jsonl.gz", "scitldr_{part}.jsonl", "{part}.jsonl.gz", "{part}.jsonl")
_HOW = (
    "They are train.jsonl, dev.jsonl and test.jsonl of SciTLDR-Data/SciTLDR-A in the repository "
    "allenai/scitldr on GitHub (on the Hub allenai/scitldr, configuration Abstract)"
)


@dataclass(frozen=True)
class Paper:
    """One paper. `row` counts the rows of its file from 1; `tldrs` are its human summaries."""

    row: int
    title: str
    abstract: str
    tldrs: tuple[str, ...]


def find_papers(folder: str | None, part: Part) -> Path:
    """The file of one part.

    Raises:
        DataError: when it is absent, with what to do.
    """
    names = [name.format(part=part) for name in _NAMES]
    if folder is None:
        raise DataError(
            "world 'scitldr' needs papers with summaries, which it does not ship: give "
            f"world_options: {{folder: DIR}} with three files, for example {names[0]}. {_HOW}"
        )
    for name in names:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise DataError(
        f"world_options.folder: {folder} has none of {', '.join(names)}; expected one. {_HOW}"
    )


def read_papers(path: Path) -> list[Paper]:
    """All papers of a file, in its order.

    Raises:
        DataError: naming the row that cannot be used.
    """
    out: list[Paper] = []
    for number, (where, row) in enumerate(read_rows(str(path)), start=1):
        if isinstance(row, BadRow):
            raise DataError(f"{path}, {where}: {row}")
        abstract = row.get("abstract", row.get("source"))
        if isinstance(abstract, list):
            abstract = " ".join(map(str, abstract))
        tldrs = tuple(str(text).strip() for text in _listed(row.get("tldr", row.get("target"))))
        if not isinstance(abstract, str) or not abstract.strip() or not any(tldrs):
            raise DataError(
                f"{path}, {where}: expected an abstract (column 'abstract' or 'source') and at "
                f"least one summary ('tldr' or 'target'); found columns {', '.join(sorted(row))}"
            )
        title = str(row.get("title") or "").strip()
        out.append(Paper(number, title, abstract.strip(), tuple(filter(None, tldrs))))
    return out


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
