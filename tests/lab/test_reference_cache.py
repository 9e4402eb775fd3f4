"""Stored log-probabilities of a reference: shared where they are the same, and only there.

Elsewhere they were unused, stale or another reduction (TRL #6403, #6434; open-instruct #1168).
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from allroads.lab.stages import _reference_cache
from allroads.roads.atlas import every_road

PLACE: dict[str, Any] = {
    "reference": "sft-s0-1",
    "seed": 0,
    "split": "train",
    "data": "d",
    "model": "m",
    "temperature": 1.0,
    "dtype": "float32",
}


def file_of(road: str = "dpo", beta: float = 0.1, **changes: Any) -> Path:
    at = {**PLACE, **changes}
    shop = SimpleNamespace(
        folder=Path("run"),
        settings=SimpleNamespace(data_fingerprint=at["data"], model_fingerprint=at["model"]),
        config=SimpleNamespace(temperature=at["temperature"], dtype=at["dtype"], token_budget=4096),
        pairs_path=lambda need: Path("run/absent"),
    )
    job = SimpleNamespace(
        spec={"links": {"reference": at["reference"]}, "split": at["split"]},
        seed=at["seed"],
        needs=(),
    )
    stage = every_road()[road].at(beta).last
    return _reference_cache(shop, job, stage)  # type: ignore[arg-type]


def test_another_beta_or_loss_on_the_same_pairs_reads_the_same_file():
    assert file_of() == file_of(beta=0.7) == file_of("ipo") == file_of("kto")


@pytest.mark.parametrize("what", PLACE)
def test_the_file_hangs_on_all_that_the_numbers_hang_on(what: str):
    other = {int: 1, float: 0.5, str: "another"}[type(PLACE[what])]
    assert file_of(**{what: other}) != file_of()
