"""What roads read of a model hangs on the row alone: not on padding, its side, or batch mates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from allroads.models.critic import Critic
from allroads.models.policy import Policy
from allroads.models.reward_model import Reading, reward_model_on
from allroads.models.states import Rows, pad_left, positions_of
from allroads.types import Tokens
from tests.conftest import tiny_policy

PROMPTS: list[Tokens] = [(3, 4, 5), (6, 7, 8, 9, 10, 11, 12), (2,), (3, 4, 5), (3, 4, 5)]
COMPLETIONS: list[Tokens] = [(1, 2, 3, 0), (4, 0), (0,), (5, 6, 7, 8, 9, 10, 11, 0), (2, 3)]
"""Of all lengths; one is end-of-sequence alone, which is the padding too, and one was cut."""
FAMILIES = ("gpt2", "gpt-neox", "llama")
"""Absolute positions, and two kinds of rotary ones."""
CLOSE = {"atol": 1e-9, "rtol": 0.0}


def alone_and_among(values, b: int) -> tuple[Tensor, Tensor]:
    """Row b in a batch of its own, and beside all others (as long as its completion)."""
    n = len(COMPLETIONS[b])
    one = values(Rows([PROMPTS[b]], [COMPLETIONS[b]]))[0]
    every = values(Rows(PROMPTS, COMPLETIONS))[b]
    return (one, every) if one.dim() == 0 else (one[:n], every[:n])


def left_padded(model: Policy, b: int) -> Tensor:
    """Row b padded on the left, as samplers have it: log-probability of each completion token."""
    full = [(*p, *c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    ids, mask = pad_left(full, torch.device("cpu"))
    logits = model.model(
        input_ids=ids, attention_mask=mask.long(), position_ids=positions_of(mask)
    ).logits[b]
    n = len(COMPLETIONS[b])
    each = logits[-n - 1 : -1].log_softmax(-1)
    return each[torch.arange(n), torch.tensor(COMPLETIONS[b])]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_log_probabilities(family: str):
    policy = tiny_policy(family, dtype=torch.float64)
    for b in range(len(PROMPTS)):
        one, among = alone_and_among(lambda rows: policy.token_logprobs(rows)[0], b)
        torch.testing.assert_close(among, one, **CLOSE)
        torch.testing.assert_close(left_padded(policy, b), one, **CLOSE)


@pytest.mark.parametrize("reading", ["last", "mean", "sum"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_scores_and_values(family: str, reading: Reading):
    model = reward_model_on(tiny_policy(family, dtype=torch.float64), reading=reading, seed=3)
    critic = Critic(model)
    for b in range(len(PROMPTS)):
        for values in (model.scores, critic.values):
            one, among = alone_and_among(values, b)
            torch.testing.assert_close(among, one, **CLOSE)
