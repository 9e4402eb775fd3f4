"""A stage's own temperature: of its loss's log-probabilities, policy and reference alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from allroads.models.policy import Policy
from allroads.records import Cost
from allroads.roads.accumulate import accumulate
from allroads.roads.stage import Stage
from allroads.roads.units import Unit
from allroads.types import Tokens
from tests.lab.test_reference_cache import file_of
from tests.roads.problem import (
    CONTROLS,
    STAGES,
    changed,
    gradient,
    nudge,
    round_of,
    supplies,
    tiny_policy,
    trainee,
)

COLD = 0.25


def at(stage: Stage, temperature: float | None) -> Stage:
    objective = stage.objective.model_copy(update={"temperature": temperature})
    return Stage.model_validate({**dict(stage), "objective": objective})


def by_hand(policy: Policy, prompt: Tokens, completion: Tokens, temperature: float) -> Tensor:
    """One row's own forward; logits divided by hand."""
    logits = policy.model(torch.tensor([[*prompt, *completion]])).logits[0] / temperature
    terms = [
        logits[len(prompt) - 1 + t].log_softmax(-1)[token] for t, token in enumerate(completion)
    ]
    return torch.stack(terms).sum()


def mean_loss(policy: Policy, reference: Policy, units: Sequence[Unit], beta: float) -> Tensor:
    losses = []
    for unit in units:
        leads = []
        for completion in unit.completions:
            with torch.no_grad():
                known = by_hand(reference, unit.prompt, completion, COLD)
            leads.append(by_hand(policy, unit.prompt, completion, COLD) - known)
        losses.append(torch.nn.functional.softplus(-beta * (leads[0] - leads[1])))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("name", ["dpo", "online-dpo"])
def test_the_gradient_is_that_of_logits_divided_by_hand(name: str):
    """Off the reference, so that a reference at another temperature would show."""
    stage = at(STAGES[name], COLD)
    reference = tiny_policy(dtype=torch.float64)
    model = trainee(stage, torch.float64)
    assert isinstance(model, Policy)
    nudge(model)
    given = supplies(stage, reference)
    units = list(round_of(stage, given, reference).units)
    loss, _ = accumulate(stage, model, given, units, Cost())
    got = gradient(model)
    model.model.zero_grad()
    assert stage.objective.beta is not None
    expected = mean_loss(model, reference, units, stage.objective.beta)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-9)
    for key, value in gradient(model).items():
        torch.testing.assert_close(got[key], value, atol=1e-9, rtol=1e-7)
    # It is another gradient than the run's temperature gives.
    model.model.zero_grad()
    warm = STAGES[name]
    units = list(round_of(warm, given, reference).units)
    accumulate(warm, model, given, units, Cost())
    assert not all(torch.allclose(got[k], v) for k, v in gradient(model).items())


def test_the_runs_own_temperature_said_aloud_changes_nothing():
    start = tiny_policy()
    for name in ("dpo", "online-dpo", "kto"):
        stage = STAGES[name]
        given = supplies(stage, start, temperature=0.7)
        assert round_of(stage, given, start) == round_of(at(stage, 0.7), given, start)


def test_samples_are_drawn_as_before():
    """Only what is known about them is taken at another temperature."""
    start = tiny_policy()
    stage = STAGES["online-dpo"]
    given = supplies(stage, start)
    warm, cold = (round_of(one, given, start).units for one in (stage, at(stage, COLD)))
    assert [u.completions for u in warm] == [u.completions for u in cold]
    assert [u.behaviour for u in warm] == [u.behaviour for u in cold]
    assert [u.reference for u in warm] != [u.reference for u in cold]
    unit = cold[0]
    assert unit.reference is not None
    with torch.no_grad():
        for completion, value in zip(unit.completions, unit.reference, strict=True):
            assert value == pytest.approx(
                by_hand(start, unit.prompt, completion, COLD).item(), abs=1e-4
            )


@torch.no_grad()
def test_kto_measures_its_kl_at_the_same_temperature():
    start = tiny_policy()
    stage = at(STAGES["kto"], COLD)
    unit = round_of(stage, supplies(stage, start), start).units[0]
    for completion, value in zip(
        unit.mismatched or (), unit.mismatched_reference or (), strict=True
    ):
        expected = by_hand(start, unit.prompt, completion, COLD).item()
        assert value == pytest.approx(expected, abs=1e-4)
        assert not math.isnan(value)


def test_a_cold_stage_reads_no_warm_cache():
    assert file_of("dpo") == file_of("dpo-2x")
    assert file_of("dpo-cold") != file_of("dpo")
    assert file_of("dpo-cold") == file_of("dpo", temperature=0.1)


def test_the_controls_are_cold():
    assert CONTROLS["dpo-cold"].objective.temperature == 0.1
    assert CONTROLS["online-dpo-cold"].source.temperature == 1.0
    assert CONTROLS["online-dpo-batch-paper"].source.temperature == 0.1
    assert changed("dpo").objective.at(0.7) == 0.7
