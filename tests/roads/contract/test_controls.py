"""Every control keeps the promises of every road.

What controls bring that is new, and a sample of the rest, here; all of it, and all promises, slow:
half a minute.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch

from tests.roads import problem
from tests.roads.contract import (
    copying,
    test_ends,
    test_first_loss,
    test_gradient,
    test_kill,
    test_metrics,
    test_optimum,
    test_same_again,
)

NEW = ("dpo-cold", "dpo-shuffled", "online-dpo-margin")
NOTHING_TO_LEARN = {"online-dpo-batch-paper"}
"""At temperature 0.1 so small a policy writes one answer to each prompt."""
FIRST = (
    test_kill.test_a_kill_at_every_step_is_not_seen,
    test_metrics.test_the_declared_metrics_are_the_logged_ones,
    test_same_again.test_the_same_seed_gives_the_same_weights_and_moves_them,
)
"""Of the new ones these promises are asked every time."""
GIVEN = {"dtype": torch.float64, "tolerance": 1e-9}
ELSEWHERE = (
    test_kill.test_a_kill_at_any_step_is_not_seen,
    test_kill.test_the_death_of_the_whole_process_is_not_seen,
    test_metrics.test_the_first_ratio_of_every_round_is_one,
    test_first_loss.test_a_policy_gradient_starts_with_the_gradient_of_reinforce,
)
"""Two that a few rows of the atlas keep for all, and two of stages on groups."""
PROMISES = [
    promise
    for module in (
        *(test_ends, test_first_loss, test_gradient, test_kill, test_metrics),
        *(test_optimum, test_same_again),
    )
    for name, promise in vars(module).items()
    if name.startswith("test_")
    and "name" in (asked := inspect.signature(promise).parameters)
    and asked.keys() <= {"name", "tmp_path", "straight", *GIVEN}
]


def asked_of(name: str, promise: Callable[..., None]) -> bool:
    """Whether it is a promise of this kind of stage."""
    stage = problem.CONTROLS[name]
    if promise in ELSEWHERE:
        return False
    if promise is test_optimum.test_a_huge_beta_holds_every_road_at_its_reference:
        return test_optimum.held(stage)
    if promise is test_gradient.test_no_prompt_position_is_scored_and_every_token_to_the_end_is:
        return stage.objective.score != "head-last"  # which reads one token
    return promise.__module__ != test_ends.__name__ or stage.source.sampled


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        pytest.param(
            name,
            promise,
            id=f"{name}-{promise.__name__}",
            marks=() if name in NEW and promise in FIRST else pytest.mark.slow,
        )
        for name in sorted(problem.CONTROLS.keys() - NOTHING_TO_LEARN)
        for promise in PROMISES
        if asked_of(name, promise)
    ],
)
def test_a_control_keeps_the_promises_of_a_road(
    name: str,
    promise: Callable[..., None],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
):
    # Draws hang on the stage's name: under its neighbour's they are those of a tried row.
    draws = {"name": problem.NEIGHBOUR[name]}
    monkeypatch.setitem(problem.STAGES, name, problem.CONTROLS[name].model_copy(update=draws))
    monkeypatch.setitem(copying.STAGES, name, copying.CONTROLS[name])
    asked = inspect.signature(promise).parameters.keys() - {"name"}
    given = {one: GIVEN[one] if one in GIVEN else request.getfixturevalue(one) for one in asked}
    promise(name=name, **given)


def test_the_new_ones_are_there():
    assert set(NEW) <= set(problem.CONTROLS)
    assert set(FIRST) <= set(PROMISES)
