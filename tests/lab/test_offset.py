"""A reward model's zero is the mean score of the demonstrations (Huang et al. 2024)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from allroads.lab.stages import centre
from allroads.models.reward_model import reward_model_on
from allroads.models.states import Rows
from tests.conftest import tiny_policy
from tests.roads.problem import STAGES, supplies


@pytest.mark.parametrize("demonstrated", [True, False])
@torch.no_grad()
def test_zero_is_the_mean_of_the_demonstrations_else_of_the_chosen(demonstrated: bool):
    given = supplies(STAGES["reward-model"], tiny_policy())
    # One demonstration, so that its mean is not that of the chosen answers.
    demonstrations = given.dataset.demonstrations[:1] if demonstrated else ()
    data = replace(given.dataset, demonstrations=demonstrations)
    model = reward_model_on(tiny_policy(), reading="sum", seed=1)
    pairs = data.pairs["train"]
    rows = Rows([pair.prompt for pair in pairs], [pair.chosen for pair in pairs])
    before = model.scores(rows)
    centre(model, replace(given, dataset=data))
    zero = (
        Rows([d.prompt for d in data.demonstrations], [d.completion for d in data.demonstrations])
        if demonstrated
        else rows
    )
    assert model.scores(zero).mean().item() == pytest.approx(0, abs=1e-5)
    shift = model.scores(rows) - before
    # No pair can see it: every score moves alike.
    torch.testing.assert_close(shift, torch.full_like(shift, -model.offset))
    assert abs(model.offset) > 1e-3
