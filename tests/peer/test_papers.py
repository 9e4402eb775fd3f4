"""PPO and REBEL against the plain loops of `papers`, values and gradients.

First the functions on random numbers; then whole updates of tiny models in double precision, ours
as training itself makes them, from rewards to the derivative by every weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from allroads.models.critic import ActorCritic, Critic
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel, reward_model_on
from allroads.models.states import Rows
from allroads.objectives import (
    clipped_policy_gradient,
    clipped_value_loss,
    generalised_advantages,
    rebel_loss,
)
from allroads.roads import choices
from allroads.roads.stage import Objective
from tests.conftest import tiny_policy
from tests.peer import against, papers, production

pytestmark = pytest.mark.peer

N = 40
SEEDS = range(5)


@pytest.fixture(params=SEEDS)
def draw(request: pytest.FixtureRequest):
    generator = torch.Generator().manual_seed(request.param)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return normal


def same(ours: Tensor, theirs: papers.Number, x: Tensor) -> None:
    assert isinstance(theirs, Tensor)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    slopes = [torch.autograd.grad(loss, x)[0] for loss in (ours, theirs)]
    assert slopes[0].abs().max() > 1e-3
    torch.testing.assert_close(*slopes, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("clip", [0.05, 0.2, 0.9])
def test_clipped_surrogate(draw, clip: float):
    old, advantage = draw(N) - 3, draw(N)
    new = (old + 0.3 * draw(N)).requires_grad_()
    ours = clipped_policy_gradient(new, old, advantage, clip=clip).mean()
    surrogate = papers.clipped_surrogate(list(new), list(old), advantage.tolist(), clip)
    same(ours, -surrogate, new)


@pytest.mark.parametrize("clip", [0.05, 0.2, 5.0])
def test_clipped_value(draw, clip: float):
    old, target = draw(N), draw(N)
    new = (old + 0.3 * draw(N)).requires_grad_()
    ours = clipped_value_loss(new, old, target, clip=clip).mean()
    same(ours, papers.clipped_value(list(new), old.tolist(), target.tolist(), clip), new)


@pytest.mark.parametrize(("discount", "decay"), [(1.0, 0.95), (0.9, 0.6), (1.0, 1.0), (0.9, 0.0)])
def test_generalised_advantages(draw, discount: float, decay: float):
    lengths = [7, 1, 4]
    reward, value = draw(3, 7), draw(3, 7)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    ours = generalised_advantages(reward, value, mask, decay=decay, discount=discount)
    for row, length in enumerate(lengths):
        theirs = papers.generalised_advantage(
            reward[row, :length].tolist(), value[row, :length].tolist(), discount, decay
        )
        assert ours[row, :length].tolist() == pytest.approx(theirs, abs=1e-12)
        assert not ours[row, length:].any()


@pytest.mark.parametrize("eta", [0.3, 1.0, 4.0])
def test_rebel(draw, eta: float):
    # Two completions of five and of three tokens.
    old, reward = draw(2, 5) - 3, draw(2)
    new = (old + 0.3 * draw(2, 5)).requires_grad_()
    real = torch.arange(5) < torch.tensor([5, 3])[:, None]
    log_ratio = ((new - old) * real).sum(dim=1)
    ours = rebel_loss(log_ratio[None], reward[None], eta=eta).mean()
    tokens = [[list(x[0]), list(x[1, :3])] for x in (new, old)]
    same(ours, papers.rebel(*tokens, list(reward), eta), new)


# Whole updates ----------------------------------------------------------------------------------

BETA, CLIP, EXACT = 0.3, 0.2, 1e-10
K = 2
ROWS = Rows(
    [tuple(p) for p in against.prompts(1, 3) for _ in range(K)],
    [tuple(c[: production.LONGEST]) for c in against.sequences(2, 3 * K, 8)],
)
SCORES = [0.3, -1.2, 2.0, 0.4, -0.5, 0.9]


def double(seed: int) -> Policy:
    return tiny_policy("gpt2", seed=seed, dtype=torch.float64)


def by_row() -> Iterator[tuple[Tensor, int]]:
    """One sequence at a time, and the length of its prompt."""
    for prompt, completion in zip(ROWS.prompts, ROWS.completions, strict=True):
        yield torch.tensor([[*prompt, *completion]]), len(prompt)


def plain_logprobs(policy: Policy) -> list[list[Tensor]]:
    """Token by token from the model's own logits: log softmax, and the token that follows."""
    out = []
    for ids, first in by_row():
        logs = policy.model(input_ids=ids).logits[0].log_softmax(-1)
        out.append([logs[t - 1, ids[0, t]] for t in range(first, ids.shape[1])])
    return out


def plain_values(model: RewardModel) -> list[list[Tensor]]:
    """What the head says of the state before each token."""
    out = []
    for ids, first in by_row():
        states = model.model.base_model(input_ids=ids).last_hidden_state[0]
        out.append([model.head(states[t - 1])[0] for t in range(first, ids.shape[1])])
    return out


def floats(rows: list[list[Tensor]]) -> list[list[float]]:
    return [[float(x) for x in row] for row in rows]


def flat(rows: list[list[Any]]) -> list[Any]:
    return [x for row in rows for x in row]


@pytest.mark.parametrize("value_clip", [None, 0.3])
def test_ppo_as_trained(value_clip: float | None, record_property: Any):
    decay, weight = 0.9, 0.5
    policy, reference = double(1), double(2)
    scorer = reward_model_on(double(3), reading="last", seed=0)
    trainee = ActorCritic(policy, Critic(scorer))
    stage = production.on_groups(
        Objective(
            loss="clipped",
            reference="start",
            beta=BETA,
            advantage="lambda",
            kl="reward",
            clip=CLIP,
            critic=choices.Critic(decay=decay, weight=weight, clip=value_clip),
        ),
        K,
    )
    units = production.groups(stage, policy, reference, ROWS, SCORES, critic=trainee.critic)
    with torch.no_grad():
        old, before_ref = plain_logprobs(policy), plain_logprobs(reference)
        values = floats(plain_values(scorer))
    rewards = [
        papers.token_rewards(score, a, b, BETA)
        for score, a, b in zip(SCORES, old, before_ref, strict=True)
    ]
    advantages = [
        papers.generalised_advantage(r, v, 1.0, decay) for r, v in zip(rewards, values, strict=True)
    ]
    returns = [a + v for a, v in zip(flat(advantages), flat(values), strict=True)]
    against.shake(trainee.model, 4)

    ours = production.loss_and_gradient(stage, trainee, reference, units)
    surrogate = papers.clipped_surrogate(
        flat(plain_logprobs(policy)), flat(old), papers.whiten(flat(advantages)), CLIP
    )
    critics = papers.clipped_value(
        flat(plain_values(scorer)), flat(values), returns, value_clip or math.inf
    )
    theirs = -surrogate + weight * critics
    assert isinstance(theirs, Tensor)
    against.check(record_property, ours, theirs, trainee.model, within=EXACT)


def test_rebel_as_trained(record_property: Any):
    eta = 0.7
    policy, reference = double(1), double(2)
    stage = production.on_groups(
        Objective(loss="rebel", reference="start", beta=BETA, kl="reward", eta=eta), K
    )
    units = production.groups(stage, policy, reference, ROWS, SCORES)
    with torch.no_grad():
        old, before_ref = plain_logprobs(policy), plain_logprobs(reference)
    rewards = [
        sum(papers.token_rewards(score, a, b, BETA))
        for score, a, b in zip(SCORES, old, before_ref, strict=True)
    ]
    against.shake(policy.model, 4)

    ours = production.loss_and_gradient(stage, policy, reference, units)
    new = plain_logprobs(policy)
    pairs = [
        papers.rebel(new[i : i + K], old[i : i + K], rewards[i : i + K], eta)
        for i in range(0, len(SCORES), K)
    ]
    theirs = sum(pairs) / len(pairs)
    assert isinstance(theirs, Tensor)
    against.check(record_property, ours, theirs, policy.model, within=EXACT)
