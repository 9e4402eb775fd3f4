"""The numbers that predictions rest on, where they can be said by hand."""

from __future__ import annotations

import numpy as np
import pytest

from allroads.diagnosis.code import code
from allroads.diagnosis.coverage import coverage
from allroads.diagnosis.features import Measured, features
from allroads.diagnosis.headroom import headroom
from allroads.evidence import Evidence
from allroads.seeding import child
from tests.diagnosis import made

PROMPTS, SAMPLES = 40, 16


def found(evidence: Evidence) -> dict[str, Measured]:
    return features(evidence, code(evidence), headroom(evidence), coverage(evidence))


def graded(grader: str) -> Evidence:
    """One sample in sixteen has the highest reward; the verifier orders as it, the generator not.

    Labels are of two features that both learners see.
    """
    rewards = tuple(tuple((k + at) % SAMPLES / (SAMPLES - 1) for k in range(SAMPLES))
                    for at in range(PROMPTS))  # fmt: skip
    backwards = tuple(tuple(-reward for reward in row) for row in rewards)
    grades = {"verifier": rewards, "generator": backwards, grader: rewards}
    learned = made.log_linear(
        np.array([1.0, -1.0]),
        seen_by={"verifier": slice(0, 2), "generator": slice(0, 2)},
        counts=(64, 128),
        orders=2,
        test=PROMPTS,
        rng=child(0, "features"),
        fresh=False,
    )
    return learned.model_copy(update={"start": made.pool(PROMPTS, SAMPLES, grades=grades)})


def test_how_often_a_sample_is_good():
    of = found(graded("truth"))
    assert of["coverage"].value == pytest.approx(1 / SAMPLES)
    assert of["coverage"].low < of["coverage"].value < of["coverage"].high
    assert of["accuracy"].value == 0.0
    assert "search" not in of  # There is no offline policy.


def test_how_much_offline_training_wins_is_said_by_the_truth_alone():
    for grader in ("truth", "independent"):
        one = graded(grader)
        best = ((1.0, 1.0),) * PROMPTS
        offline = made.pool(PROMPTS, 2, grades={grader: best}, pair=one.start.pair)
        of = found(one.model_copy(update={"offline": offline}))
        assert ("offline" in of, "search" in of) == (grader == "truth",) * 2
        if grader == "truth":
            # It beats fifteen of sixteen samples and ties with one.
            assert of["offline"].value == pytest.approx(15.5 / 16 - 1 / 2)
            # The best of eight of sixteen is that one half the time.
            assert of["search"].value == pytest.approx(-1 / 4)


def test_without_a_truth_only_the_labels_speak():
    assert set(found(graded("independent"))) == {"accuracy", "bits"}
