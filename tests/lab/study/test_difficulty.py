from __future__ import annotations

import pytest

from allroads.data.worlds import make_world
from allroads.lab.study import difficulty
from allroads.lab.study.difficulty import COUNTS, Curve, Trial, distinct, measure, measure_all
from allroads.lab.study.lines import CurveLine
from allroads.lab.study.variants import VARIANTS, variant
from tests.lab.study.test_running import TINY


@pytest.mark.parametrize("learner", ["verifier", "generator"])
def test_a_learner_is_measured_and_the_same_again(learner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(difficulty, "_STEPS", 4)
    trial = Trial(TINY, learner, 64, seed=3)
    reached = measure(trial)
    assert 0 <= reached <= 1
    assert measure(trial) == reached


def test_a_verifiers_pairs_are_ordered_by_the_truth():
    world = make_world("routes")
    pairs = difficulty._pairs(world, "test", 50, seed=0)
    prompts = [pair.prompt for pair in pairs]
    chosen = world.verify(prompts, [pair.chosen for pair in pairs])
    rejected = world.verify(prompts, [pair.rejected for pair in pairs])
    assert len(pairs) == 50
    assert all(a > b for a, b in zip(chosen, rejected, strict=True))
    assert {pair.prompt_id for pair in pairs} <= {p.prompt_id for p in world.prompts("test")}


@pytest.mark.parametrize("name", ["routes", "secret", "preimage-1"])
def test_flawless_demonstrators_make_no_error(name: str):
    one = variant(name)
    world = make_world(one.world, **{**one.options, **one.flawless})
    rows = world.demonstrations(50, seed=0)
    rewards = world.verify([r.prompt for r in rows], [r.completion for r in rows])
    assert rewards == [1.0] * 50


def test_a_curve_ends_where_it_reaches_the_level_and_nothing_is_measured_twice(
    monkeypatch: pytest.MonkeyPatch,
):
    reached = dict(zip(COUNTS, (0.5, 0.8, 0.91, 0.85, 0.99), strict=True))
    monkeypatch.setattr(difficulty, "measure", lambda trial: reached[trial.count])
    told: list[CurveLine] = []
    fresh = Curve(TINY, "verifier", 0)
    begun = Curve(TINY, "verifier", 1, {250: 0.5})
    ended = Curve(TINY, "verifier", 2, {250: 0.5, 1000: 0.95})
    measure_all([fresh, begun, ended], 1, told.append)
    assert [(line.seed, line.count) for line in told] == [
        *((0, count) for count in COUNTS[:3]),
        *((1, count) for count in COUNTS[1:3]),
    ]


@pytest.mark.slow
def test_curves_in_several_processes_are_those_of_one(monkeypatch: pytest.MonkeyPatch):
    def lines(processes: int) -> list[CurveLine]:
        told: list[CurveLine] = []
        most = dict.fromkeys(COUNTS[2:], 0.0)
        monkeypatch.setattr(difficulty, "LEVEL", 0.0)  # one amount is enough
        curves = [Curve(TINY, "generator", seed, most) for seed in (0, 1)]
        measure_all(curves, processes, told.append)
        return sorted(told, key=lambda line: line.seed)

    assert len(lines(1)) == 2
    assert lines(2) == lines(1)


def test_a_task_is_measured_once_however_much_a_study_draws_of_it():
    every = [one for one in VARIANTS.values() if not one.needs_model]
    left = {one.name for one in every} - {one.name for one in distinct(every)}
    assert left == {"routes-third", "routes-wide"}
