"""Made-up film reviews in the tongue of `tests.words`: one word gives their label away."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from tests.words import BAD, GOOD, NOUNS, VERBS

OPTIONS: dict[str, Any] = {
    "prompt_tokens": 6,
    "max_new_tokens": 6,
    "train_reviews": 60,
    "gold_reviews": 150,
    "check_reviews": 120,
    "calibration_reviews": 60,
    "test_prompts": 30,
    "selection_prompts": 20,
}
"""Dials of a small sentiment world, beside `reviews`."""


def made_up(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Reviews of 40 words; one word in five is glad or sad, mostly as the label says."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        positive = rng.random() < 0.5
        words = [
            rng.choices([GOOD, BAD], [4, 1] if positive else [1, 4])[0]
            if rng.random() < 0.2
            else rng.choice([*NOUNS, *VERBS])
            for _ in range(40)
        ]
        rows.append({"text": " ".join(words), "label": str(int(positive)), "source": "imdb"})
    return rows


def write_reviews(path: Path, rows: list[dict[str, str]]) -> Path:
    """Rows as the CSV file that the world reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label", "source"])
        writer.writeheader()
        writer.writerows(rows)
    return path
