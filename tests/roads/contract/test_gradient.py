"""Every road: how a batch is cut changes nothing; a prompt is never scored, an end always is."""

from __future__ import annotations

import pytest
import torch

from allroads.models.critic import ActorCritic
from allroads.models.reward_model import RewardModel
from allroads.records import Cost
from allroads.roads.accumulate import accumulate
from allroads.roads.units import Unit, UnitTokens
from tests.roads.problem import (
    STAGES,
    counters,
    first_batch,
    gradient,
    nudge,
    supplies,
    tiny_policy,
)

NAMES = sorted(STAGES)


OF_EACH_KIND = ("sft", "reward-model", "dpo", "kto", "rloo", "ppo")
"""Single completions, a head, pairs, mismatched ones, groups, tokens with a critic."""
DOUBLE = [(name, torch.float64, 1e-9) for name in NAMES]
SINGLE = [
    pytest.param(
        name, torch.float32, 1e-5, marks=[] if name in OF_EACH_KIND else [pytest.mark.slow]
    )
    for name in NAMES
]


@pytest.mark.parametrize(("name", "dtype", "tolerance"), [*DOUBLE, *SINGLE])
def test_cutting_a_batch_into_pieces_changes_nothing(
    name: str, dtype: torch.dtype, tolerance: float
):
    """In double precision every road; in single precision one of each kind, the others slow."""
    outcomes = []
    for budget in (10**6, 40, 1):
        stage, model, units, given = first_batch(name, dtype)
        given = supplies(stage, tiny_policy(dtype=dtype), token_budget=budget)
        nudge(model)
        cost = Cost()
        loss, metrics = accumulate(stage, model, given, units, cost)
        outcomes.append((loss, metrics, gradient(model), counters(cost)))
    whole = outcomes[0]
    largest = max(g.abs().max().item() for g in whole[2].values())
    for part in outcomes[1:]:
        assert part[0] == pytest.approx(whole[0], abs=tolerance)
        assert part[1] == pytest.approx(whole[1], abs=tolerance * 100)
        for key, expected in whole[2].items():
            torch.testing.assert_close(
                part[2][key], expected, atol=tolerance * max(1.0, largest), rtol=tolerance
            )
        assert part[3] == whole[3]


@pytest.mark.parametrize("name", NAMES)
def test_tokens_trained_are_counted_row_by_row(name: str):
    stage, model, units, given = first_batch(name)
    cost = Cost()
    accumulate(stage, model, given, units, cost)
    tokens = sum(len(u.prompt) + len(c) for u in units for c in u.completions)
    seen = sum(len(u.prompt) + len(c) for u in units for c in u.mismatched or ())
    assert cost.tokens_trained == tokens
    assert cost.tokens_scored == seen
    weights = sum(p.numel() for p in model.model.parameters())
    assert cost.flops == weights * (6 * tokens + 2 * seen)


@pytest.mark.parametrize("name", NAMES)
def test_no_prompt_position_is_scored_and_every_token_to_the_end_is(name: str):
    """With attention cut, a position sees itself alone: only scored positions get a gradient.

    Scoring token t by likelihood reads position t - 1; a scalar head reads position t itself.
    """
    stage, model, _, given = first_batch(name)
    with torch.no_grad():
        for parameter_name, parameter in model.model.named_parameters():
            if "attn.c_proj" in parameter_name:
                parameter.zero_()
    k = {"single": 1, "pair": 2, "group": 3}[stage.yields]
    # The last place holds end-of-sequence alone, which is also the padding.
    texts = ((5, 6, 7, 0), (8, 9, 0), (12, 13, 14, 0))[:k]
    numbers = (0.5, -1.0, 2.0)[:k]
    each = tuple((-1.0, -2.0, -3.0, -4.0)[: len(text)] for text in texts)
    unit = Unit(
        slot=0,
        prompt=(3, 4, 5, 6, 7),
        completions=texts,
        reference=numbers,
        behaviour=(-10.0,) * k,
        reward=numbers,
        advantage=numbers,
        mismatched=texts[::-1],
        mismatched_reference=numbers,
        tokens=UnitTokens(
            behaviour=each,
            reference=each,
            value=each,
            returns=each,
        ),
    )
    accumulate(stage, model, given, [unit], Cost())
    first = 5 if isinstance(model, RewardModel) else 4
    tables = [p.grad for n, p in model.model.named_parameters() if n.endswith("wpe.weight")]
    assert len(tables) == (2 if isinstance(model, ActorCritic) else 1)
    for positions in tables:
        assert positions is not None
        touched = positions.abs().sum(dim=1).nonzero()[:, 0].tolist()
        assert touched == list(range(first, first + 4))
