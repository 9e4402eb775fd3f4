"""Materials are read from the run folder once, and what is trained is nobody else's."""

from __future__ import annotations

import weakref

import pytest
import torch

from allroads.lab import workshop
from allroads.lab.compare import reopen
from allroads.lab.recent import Recent
from allroads.lab.workshop import Workshop
from tests.lab.conftest import Straight
from tests.lab.tiny import stage_jobs


@pytest.fixture
def shop(straight: Straight) -> Workshop:
    _, config, settings, _ = reopen(straight.folder)
    return Workshop(straight.folder, config, settings)


@pytest.fixture
def reward_models(straight: Straight) -> list[str]:
    """The job of the roads' reward model, and that of the selection scorer."""
    jobs = {stage: job for job, stage in stage_jobs(straight.folder).items()}
    return [jobs["reward-model"], jobs["selection-scorer"]]


def test_a_reward_model_is_loaded_once(
    shop: Workshop, reward_models: list[str], monkeypatch: pytest.MonkeyPatch
):
    kept = [shop.reward_model(job, 0) for job in reward_models]
    monkeypatch.setattr(workshop, "load_reward_model", lambda *_, **__: pytest.fail("read again"))
    assert [shop.reward_model(job, 0) for job in reward_models] == kept
    assert kept[0] is not kept[1]


class Thing:
    """Something that can be kept."""


def test_the_oldest_makes_room_unless_somebody_uses_it():
    recent = Recent[Thing](2)
    held = recent.get("a", Thing)
    gone = weakref.ref(recent.get("b", Thing))
    recent.get("a", Thing)
    recent.get("c", Thing)
    assert gone() is None, "the one that was not asked for longest"
    recent.get("d", Thing)
    assert recent.get("a", lambda: pytest.fail("made again")) is held


def test_what_is_not_worth_keeping_goes_with_its_last_user():
    recent = Recent[Thing](2, keep=lambda _: False)
    one = recent.get("a", Thing)
    assert recent.get("a", lambda: pytest.fail("made again")) is one
    gone = weakref.ref(one)
    del one
    assert gone() is None


def test_a_critic_is_trained_apart_from_the_labeller(shop: Workshop, reward_models: list[str]):
    kept = shop.reward_model(reward_models[0], 0)
    critic = shop.new_critic(reward_models[0], "", 0).model
    places = {weight.data_ptr() for weight in kept.model.parameters()}
    assert not places & {weight.data_ptr() for weight in critic.parameters()}
    for own, other in zip(critic.parameters(), kept.model.parameters(), strict=True):
        assert torch.equal(own, other)
