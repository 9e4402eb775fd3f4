"""The kinds of labeller, behind one interface."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from allroads.errors import TrainingError
from allroads.models.batches import by_tokens
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel
from allroads.models.states import Rows
from allroads.types import Tokens


class Labeller(Protocol):
    """Scores of completions, in the labeller's own units; higher is better."""

    @property
    def origin(self) -> Literal["data", "outside"]:
        """Whether it is a function of the preference data, or brings information from outside."""
        ...

    @property
    def forward_parameters(self) -> int:
        """Weights that a forward pass touches, for the ledger; 0 where no model is run."""
        ...

    def queries(self, rows: Rows) -> int:
        """What the ledger counts for scoring `rows`: completions scored, or requests sent."""
        ...

    def __call__(self, rows: Rows) -> list[float]:
        """One score a row; NaN marks a failure, which the caller counts and leaves out."""
        ...


@dataclass(frozen=True)
class GlobalLabeller:
    """A reward model with a scalar head, fitted on the preference data."""

    model: RewardModel
    token_budget: int
    origin: Literal["data", "outside"] = "data"

    @property
    def forward_parameters(self) -> int:
        """Weights of the reward model."""
        return self.model.parameters_count

    def queries(self, rows: Rows) -> int:
        """One a completion."""
        return len(rows)

    @torch.no_grad()
    def __call__(self, rows: Rows) -> list[float]:
        """Rewards in reward units."""
        return by_tokens(rows, self.token_budget, self.model.scores)


@dataclass(frozen=True)
class LocalLabeller:
    """A policy's implicit reward beta * log(policy / reference), as DPO fits it.

    Without a reference it is beta * log(policy). Where the policy was fitted on means over tokens,
    it is one.
    """

    policy: Policy
    reference: Policy | None
    beta: float
    temperature: float
    token_budget: int
    origin: Literal["data", "outside"] = "data"
    over_tokens: Literal["sum", "mean"] = "sum"

    @property
    def forward_parameters(self) -> int:
        """Weights of the policy, and of the reference where there is one."""
        reference = self.reference.parameters_count if self.reference is not None else 0
        return self.policy.parameters_count + reference

    def queries(self, rows: Rows) -> int:
        """One a completion."""
        return len(rows)

    @torch.no_grad()
    def __call__(self, rows: Rows) -> list[float]:
        """Implicit rewards in reward units."""

        def reward(part: Rows) -> torch.Tensor:
            value = self.policy.sequence_logprobs(part, temperature=self.temperature)
            if self.reference is not None:
                value = value - self.reference.sequence_logprobs(part, temperature=self.temperature)
            if self.over_tokens == "mean":
                value = value / value.new_tensor([len(c) for c in part.completions])
            return self.beta * value

        return by_tokens(rows, self.token_budget, reward)


@dataclass(frozen=True)
class CallableLabeller:
    """Any function of prompts and completions in tokens, for example a world's verifier.

    A score of None or NaN is a failure, never a zero.
    """

    function: Callable[[Sequence[Tokens], Sequence[Tokens]], Sequence[float | None]]
    origin: Literal["data", "outside"] = "outside"
    forward_parameters: int = 0

    def queries(self, rows: Rows) -> int:
        """One a completion."""
        return len(rows)

    def __call__(self, rows: Rows) -> list[float]:
        """The function's scores, failures as NaN.

        Raises:
            TrainingError: when the function returns another number of scores than rows.
        """
        scores = list(self.function(rows.prompts, rows.completions))
        if len(scores) != len(rows):
            raise TrainingError(
                f"the labeller {getattr(self.function, '__name__', self.function)!r} returned "
                f"{len(scores)} scores for {len(rows)} completions; return one score each"
            )
        return [math.nan if score is None else float(score) for score in scores]


def reading_text(
    function: Callable[[list[str], list[str]], Sequence[float | None]],
    decode: Callable[[Tokens], str],
) -> Callable[[Sequence[Tokens], Sequence[Tokens]], Sequence[float | None]]:
    """A function of texts as one of tokens, for a `CallableLabeller`."""

    def read(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> Sequence[float | None]:
        return function([decode(p) for p in prompts], [decode(c) for c in completions])

    return read
