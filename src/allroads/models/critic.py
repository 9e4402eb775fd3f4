"""A critic: it predicts, before each token of a completion, the reward that is still to come."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel
from allroads.models.states import Rows, completion_states


class Critic:
    """A reward model that is read at every prefix instead of at whole completions.

    It begins with what the reward model would say had the completion ended here, the prompt's last
    state being the first that it reads.

    Attributes:
        model: a sequence classifier with one label, in evaluation mode.
    """

    def __init__(self, start: RewardModel) -> None:
        self.model: PreTrainedModel = start.model
        self._start = start

    def values(self, rows: Rows) -> Tensor:
        """(B, T) values of the prefix before each completion token, reward units.

        Exactly 0 on padding; blind to padding and batch mates.
        """
        states = completion_states(self.model.base_model, rows, "before")
        value_BT = states.spread(self._start.scores_of(states.flat))
        if self._start.reading != "last":
            value_BT = value_BT.cumsum(dim=1)
        if self._start.reading == "mean":
            value_BT = value_BT / torch.arange(1, value_BT.shape[1] + 1, device=value_BT.device)
        return (value_BT - self._start.offset).masked_fill(~states.mask, 0.0)


class ActorCritic:
    """A policy and its critic, trained side by side on one optimiser; they share no weights.

    Attributes:
        policy: what the stage is for.
        critic: what it leans on while it trains.
        model: both models as one module.
    """

    def __init__(self, policy: Policy, critic: Critic) -> None:
        self.policy, self.critic = policy, critic
        self.model = nn.ModuleDict({"policy": policy.model, "critic": critic.model})
