"""The critic: a reward model that is read before every token."""

from __future__ import annotations

import pytest
import torch

from allroads.models.critic import ActorCritic, Critic
from allroads.models.reward_model import Reading, RewardModel, reward_model_on
from allroads.models.states import Rows
from tests.conftest import tiny_policy

READINGS: tuple[Reading, ...] = ("last", "mean", "sum")


@pytest.mark.parametrize("reading", READINGS)
@torch.no_grad()
def test_a_value_is_what_the_reward_model_says_of_the_prefix(family: str, reading: Reading):
    """Had the completion begun one token earlier and ended here: the prompt's last token is read
    as a completion's first, so the value before token t reads t + 1 states.
    """
    start = reward_model_on(tiny_policy(family), reading=reading, seed=1)
    start.offset = 0.5
    prompt, completion = (3, 4, 5), (6, 7, 0)
    values = Critic(start).values(Rows([prompt], [completion]))[0]
    for t in range(3):
        truth = start.scores(Rows([prompt[:-1]], [(prompt[-1], *completion[:t])]))[0]
        torch.testing.assert_close(values[t], truth, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_is_worth_nothing():
    critic = Critic(reward_model_on(tiny_policy(), reading="sum", seed=1))
    values = critic.values(Rows([(3,), (4, 5)], [(6, 0), (7, 8, 9, 0)]))
    assert values.shape == (2, 4)
    assert values[0, 2:].tolist() == [0.0, 0.0]
    assert (values[0, :2] != 0).all()


@torch.no_grad()
def test_a_value_is_blind_to_the_tokens_that_follow():
    critic = Critic(reward_model_on(tiny_policy(), reading="mean", seed=1))
    first, second = (critic.values(Rows([(3, 4)], [(6, 7, last, 0)]))[0, :3] for last in (8, 9))
    torch.testing.assert_close(first, second)


def test_actor_and_critic_are_one_module_and_share_no_weight():
    policy = tiny_policy()
    both = ActorCritic(policy, Critic(reward_model_on(policy, reading="sum", seed=1)))
    own = {p.data_ptr() for p in both.policy.model.parameters()}
    other = {p.data_ptr() for p in both.critic.model.parameters()}
    assert not own & other
    assert {p.data_ptr() for p in both.model.parameters()} == own | other


def test_a_critic_learns_what_it_is_told():
    """Gradient reaches the head and the backbone."""
    start = reward_model_on(tiny_policy(), reading="sum", seed=1)
    assert isinstance(start, RewardModel)
    critic = Critic(start)
    rows = Rows([(3, 4), (5,)], [(6, 0), (7, 8, 0)])
    target = torch.tensor([[1.0, 2.0, 0.0], [-1.0, 0.0, 1.0]])
    optimiser = torch.optim.Adam(critic.model.parameters(), lr=1e-2)
    errors = []
    for _ in range(60):
        error = ((critic.values(rows) - target) ** 2).sum()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.01 * errors[0]
