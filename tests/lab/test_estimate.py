"""What a plan will cost: counts by hand, and the time of grading where it costs any."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from allroads.lab.compare import prepare
from allroads.lab.estimate import Shape, Speed, Tokens, estimate, measure_speed, shape_of, tokens_of
from tests.lab.test_compare_files import config
from tests.words import save_model, write_preferences

SHAPE = Shape(
    demonstrations=0,
    pairs={"train": 90, "selection": 20, "grader": 30, "test": 40},
    prompts={"train": 80, "selection": 18, "grader": 28, "test": 35},
    prompt_length=4.0,
    completion_length=6.0,
    sample_length=5.0,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("estimate")
    return write_preferences(folder / "pairs.jsonl", 300), save_model(folder / "tiny")


def test_tokens_and_graded_answers_follow_from_the_counts(inputs: tuple[Path, Path]):
    prepared = prepare(config(*inputs, seeds=(0,), ns=(2, 4), pool=12))
    found = {
        job.kind + ("" if job.kind != "stage" else f" {job.stage.name}"): tokens_of(
            job, SHAPE, prepared
        )
        for job in prepared.plan.jobs.values()
    }
    # 20 test, 24 train and 18 selection prompts (of at most 20, 24 and 48); rows of 4 + 5 tokens.
    answers = 20 + 24 + 18
    assert found["evaluate"] == Tokens(0, answers * 5, 1.2 * answers * 9, 20 + 24)
    pool = 20 * 12 + (24 + 18) * 4
    assert found["best-of-n"] == Tokens(0, pool * 5, pool * 9, 20 * 12 + 24 * 4)
    # Fitted on its own 30 pairs, judged on the 40 held out.
    assert found["grader"] == Tokens(graded=2 * (30 + 40))
    # One epoch of both sides of 90 pairs of 10 tokens; the reference reads each once.
    assert found["stage dpo"] == Tokens(2 * 90 * 10, 0, 2 * 90 * 10)


def test_seconds_add_up():
    speed = Speed(train=10.0, sample=5.0, score=20.0, grade=2.0)
    alone = speed.seconds(Tokens())
    assert speed.seconds(Tokens(30, 10, 40, 8)) == pytest.approx(alone + 3 + 2 + 2 + 4)


def test_an_encoder_takes_time_and_tf_idf_next_to_none(inputs: tuple[Path, Path], tmp_path: Path):
    by_words = prepare(config(*inputs, seeds=(0,)))
    assert measure_speed(by_words, shape_of(by_words)).grade == math.inf
    encoder = save_model(tmp_path / "encoder", seed=1)
    prepared = prepare(config(*inputs, seeds=(0,), grader=str(encoder)))
    assert 0 < measure_speed(prepared, shape_of(prepared)).grade < math.inf
    (seconds,) = (
        seconds
        for name, (_, seconds) in estimate(prepared).items()
        if prepared.plan.jobs[name].kind == "grader"
    )
    assert seconds > 0.5
