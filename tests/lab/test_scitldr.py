"""A comparison on the world of papers from end to end: a tiny model of bytes, made-up papers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from allroads import api
from allroads.errors import ConfigError, DataError
from allroads.lab.compare import prepare
from allroads.lab.config import build_config
from tests.papers import OPTIONS, save_bytes_model, write_papers

pytest.importorskip("rouge_score", reason="the extra 'text' (rouge-score) is not installed")

ROADS = ["sft", "dpo", "best-of-n"]
SHORT = {"epochs": 1, "learning_rate": 3e-3, "batch_size": 16}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("materials")
    return {
        "world": "scitldr",
        "model": str(save_bytes_model(folder / "model")),
        "world_options": {**OPTIONS, "folder": str(write_papers(folder / "papers"))},
        "sizes": {"demonstrations": 24, "pairs": 24, "selection_pairs": 16, "test_pairs": 16},
        "roads": ROADS,
        "seeds": [0],
        "betas": [0.1],
        "ns": [2],
        "eval_prompts": 10,
        "pool": 4,
        "snapshots": 1,
        "processes": 1,
        "recipe": {
            "sft": SHORT,
            "reward": SHORT,
            "policy": SHORT,
            "online": {**SHORT, "rounds": 2, "batch_size": 8},
            "reading": "head-last",
        },
    }


# Slow: the same path once more, with the world's other truth, which has tests of its own.
@pytest.mark.parametrize("words", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_every_road_has_its_truth_and_its_second_opinion(
    words: int, settings: dict[str, Any], tmp_path: Path
):
    """Two words of a model that knows no letter are never two of a summary: all score 0."""
    options = {**settings["world_options"], "words": words}
    roads = ROADS[: 2 if words else 3]
    config = build_config({**settings, "world_options": options, "roads": roads})
    results = api.compare(out=tmp_path / "run", config=config)
    assert {point.road for point in results.points} == set(roads)
    assert results.metric.name == ("telling words" if words else "ROUGE-L")
    for point in results.points:
        assert point.check is not None
        assert (point.check.seeds, point.check.prompts) == (1, 10)
        assert 0 <= point.reward.value <= 1
        # The end of the text may be missed: a sample that is cut counts as cut.
        assert point.no_eos is not None
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Second opinion" in page
    assert "training papers" in page


def test_what_is_missing_is_found_before_any_training(settings: dict[str, Any]):
    with pytest.raises(ConfigError, match="--world scitldr needs --model DIR"):
        build_config({**settings, "model": None})
    with pytest.raises(DataError, match=r"world_options\.folder: gone has none of"):
        prepare(build_config({**settings, "world_options": {**OPTIONS, "folder": "gone"}}))
    with pytest.raises(ConfigError, match=r"unknown key 'world_options\.word'.*words"):
        build_config({**settings, "world_options": {"word": 2}})
    chosen = build_config({"world": "scitldr", "model": "m"})
    assert (chosen.sizes.pairs, chosen.betas) == (1900, (0.05, 0.2))
