from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allroads import files
from allroads.lab.study.collecting import study_of, text_of
from allroads.lab.study.hypotheses import HYPOTHESES
from allroads.lab.study.lines import CurveLine, Store
from allroads.lab.study.table import TUNING
from tests.lab.study.making import policy

SEEDS = (1000, 1001, 1002)
PROMPTS = 40


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Online DPO is better than DPO by 0.2 with every seed, give or take little."""
    store = Store(tmp_path)
    rng = np.random.default_rng(0)
    for seed in (*TUNING, *SEEDS):
        ground = rng.random(PROMPTS) / 2
        for arm, lead in (("sft", 0.0), ("dpo", 0.1), ("dpo-relabelled", 0.1), ("online-dpo", 0.3)):
            reward = ground + lead + rng.normal(scale=0.01, size=PROMPTS)
            value = None if arm == "sft" else 0.7
            store.add(policy(arm, seed, reward.round(4).tolist(), value))
    return tmp_path


def test_a_verdict_comes_with_its_numbers(results: Path):
    study = study_of([HYPOTHESES["gap"]], results, SEEDS, ["routes: ppo (the time was up)"])
    (row,) = study.verdicts
    assert (row.conclusion, row.confirmed) == ("supported", "")
    (test,) = row.tests
    assert test.estimate is not None
    assert test.estimate.value == pytest.approx(0.2, abs=0.01)
    assert (test.claim, test.delta, test.outcome) == ("above", 0.03, "holds")
    assert study.left_out == ("routes: ppo (the time was up)",)
    text = text_of(study)
    assert "gap on routes: supported (exploratory)" in text
    assert "Left out: routes: ppo" in text


def test_only_a_registered_hypothesis_is_confirmed(results: Path):
    one = {"hypothesis": "gap", "says": "x", "revision": "abc123", "created": "now"}
    files.write_json(results / "registrations.jsonl", one)
    (row,) = study_of([HYPOTHESES["gap"]], results, SEEDS).verdicts
    assert row.confirmed == "abc123"
    (row,) = study_of([HYPOTHESES["gap"]], results, TUNING).verdicts
    assert row.confirmed == ""


def test_missing_cells_are_no_test_and_say_which(results: Path):
    (row,) = study_of([HYPOTHESES["ppo"]], results, SEEDS).verdicts
    assert row.conclusion == "no test"
    assert "routes, ppo: no cell has been run" in row.reason


def test_families_are_judged_apart(results: Path):
    """A second hypothesis of another kind leaves the first one's adjusted p where it was."""
    alone = study_of([HYPOTHESES["gap"]], results, SEEDS).verdicts[0]
    pair = study_of([HYPOTHESES["gap"], HYPOTHESES["relabelled"]], results, SEEDS).verdicts
    assert pair[0].p_supported == alone.p_supported
    same = study_of([HYPOTHESES["gap"], HYPOTHESES["H3"]], results, SEEDS).verdicts
    assert same[0].p_supported == pytest.approx(2 * alone.p_supported)


def test_contrasts_are_of_neighbours_alone(results: Path):
    study = study_of([HYPOTHESES["gap"]], results, SEEDS)
    assert {(row.arm, row.neighbour, row.field) for row in study.contrasts} == {
        ("dpo-relabelled", "dpo", "last.labeller")
    }
    assert {row.arm for row in study.arms} == {"sft", "dpo", "dpo-relabelled", "online-dpo"}


def test_tables_show_the_seeds_that_are_there_and_verdicts_those_that_were_said(results: Path):
    study = study_of([HYPOTHESES["gap"]], results, (*SEEDS, 1003))
    (verdict,) = study.verdicts
    assert (verdict.conclusion, verdict.seeds) == ("no test", (*SEEDS, 1003))
    assert {row.reward.seeds for row in study.arms} == {3}
    assert [row.difference.seeds for row in study.contrasts] == [3]
    # A world of text is studied with fewer seeds: they are all that its verdicts ask for.
    (text,) = [
        row
        for row in study_of([HYPOTHESES["elsewhere"]], results, (*SEEDS, 1003)).verdicts
        if row.variant == "sentiment"
    ]
    assert text.seeds == SEEDS


def test_difficulties_are_geometric_means_over_seeds(results: Path):
    store = Store(results)
    # Crossing 0.9 half-way in the logarithm: at 200 with one seed and at 800 with the other.
    for seed, counts in ((0, (100, 400)), (1, (400, 1600))):
        for learner in ("verifier", "generator"):
            top = 1.0 if learner == "verifier" else 0.85
            for count, reached in zip(counts, (0.8, top), strict=True):
                store.add(
                    CurveLine(
                        variant="routes", learner=learner, count=count, seed=seed, reached=reached
                    )
                )
    (row,) = study_of([HYPOTHESES["gap"]], results, SEEDS).difficulties
    assert row.pairs is not None
    assert row.pairs.value == pytest.approx(400)
    assert row.demonstrations is None
    assert "the generator reaches 0.85 with 1,600" in row.words
