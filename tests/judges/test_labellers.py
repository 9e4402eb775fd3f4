"""Labellers: what they score, in whose order, and that a failure is never a zero."""

from __future__ import annotations

import math

import pytest
import torch

from allroads.errors import TrainingError
from allroads.judges import CallableLabeller, GlobalLabeller, LocalLabeller
from allroads.models.policy import Policy
from allroads.models.reward_model import reward_model_on
from allroads.models.states import Rows
from tests.conftest import tiny_policy

# Lengths out of order, so that a labeller that cuts into pieces by length must put them back.
PROMPTS = [(3, 4, 5, 6, 7, 8), (9, 2), (3, 4, 5, 6, 7, 8), (1,), (9, 2)]
COMPLETIONS = [(1, 2, 3, 0), (5, 6, 7, 8, 9, 10, 0), (4, 4), (11, 0), (0,)]
ROWS = Rows(PROMPTS, COMPLETIONS)
BUDGETS = [1, 25, 10**6]


@torch.no_grad()
def logprob(policy: Policy, row: int, temperature: float) -> float:
    """One unpadded row through the model's own forward."""
    prompt, completion = PROMPTS[row], COMPLETIONS[row]
    logits = policy.model(torch.tensor([[*prompt, *completion]])).logits[0] / temperature
    return sum(
        logits[len(prompt) - 1 + t].log_softmax(-1)[token].item()
        for t, token in enumerate(completion)
    )


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("with_reference", [True, False])
def test_the_local_reward_by_definition(budget: int, with_reference: bool):
    policy, reference = tiny_policy(seed=1), tiny_policy(seed=2)
    labeller = LocalLabeller(
        policy=policy,
        reference=reference if with_reference else None,
        beta=0.3,
        temperature=0.7,
        token_budget=budget,
    )
    expected = [
        0.3
        * (logprob(policy, row, 0.7) - (logprob(reference, row, 0.7) if with_reference else 0.0))
        for row in range(len(ROWS))
    ]
    assert labeller(ROWS) == pytest.approx(expected, abs=1e-4)
    assert labeller.origin == "data"


def test_a_policy_that_is_its_own_reference_scores_zero():
    policy = tiny_policy()
    labeller = LocalLabeller(policy, policy, beta=2.0, temperature=1.0, token_budget=30)
    assert labeller(ROWS) == [0.0] * len(ROWS)


@pytest.mark.parametrize("budget", BUDGETS)
@torch.no_grad()
def test_the_global_reward_is_the_models_score_row_by_row(budget: int):
    model = reward_model_on(tiny_policy(), reading="sum", seed=1)
    model.offset = 0.5
    labeller = GlobalLabeller(model, token_budget=budget)
    alone = [
        model.scores(Rows([prompt], [completion])).item()
        for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    assert labeller(ROWS) == pytest.approx(alone, abs=1e-4)
    assert labeller.origin == "data"


def test_scoring_leaves_no_graph_and_moves_no_weight():
    model = reward_model_on(tiny_policy(), reading="last", seed=1)
    before = [p.detach().clone() for p in model.model.parameters()]
    GlobalLabeller(model, token_budget=30)(ROWS)
    after = list(model.model.parameters())
    assert all(p.grad is None for p in after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_ledger_knows_what_a_forward_costs():
    policy = tiny_policy()
    weights = sum(p.numel() for p in policy.model.parameters())
    one = LocalLabeller(policy, None, beta=1.0, temperature=1.0, token_budget=9)
    two = LocalLabeller(policy, tiny_policy(seed=3), beta=1.0, temperature=1.0, token_budget=9)
    assert (one.forward_parameters, two.forward_parameters) == (weights, 2 * weights)
    model = reward_model_on(policy, reading="last", seed=1)
    # The vocabulary head of the tiny GPT-2 is tied to its embedding; the scalar head adds 16.
    assert GlobalLabeller(model, token_budget=9).forward_parameters == weights + 16
    assert CallableLabeller(lambda prompts, completions: []).forward_parameters == 0


def test_a_callable_sees_every_row_in_order_and_a_failure_is_no_zero():
    seen = []

    def judge(prompts, completions):
        seen.extend(zip(prompts, completions, strict=True))
        return [0.0, None, math.nan, -1, 1.5]

    labeller = CallableLabeller(judge)
    scores = labeller(ROWS)
    assert seen == list(zip(PROMPTS, COMPLETIONS, strict=True))
    assert scores[0] == 0.0
    assert math.isnan(scores[1])
    assert math.isnan(scores[2])
    assert scores[3:] == [-1.0, 1.5]
    assert all(type(score) is float for score in scores)
    assert labeller.origin == "outside"


@pytest.mark.parametrize("count", [0, 4, 6])
def test_a_callable_with_another_number_of_scores_is_refused(count: int):
    def short_judge(prompts, completions):
        return [1.0] * count

    with pytest.raises(TrainingError, match=rf"'short_judge' returned {count} scores for 5"):
        CallableLabeller(short_judge)(ROWS)
