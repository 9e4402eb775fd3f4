from __future__ import annotations

import pytest

from allroads.data.worlds import make_world
from allroads.lab.study import difficulty
from allroads.lab.study.difficulty import Trial, measure
from allroads.lab.study.variants import variant
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
