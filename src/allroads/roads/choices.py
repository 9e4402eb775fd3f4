"""The choices of a stage, one class each: who writes, what turns it into a gradient, how long.

Fields that a loss does not read keep their defaults; `stage.Stage` refuses anything else.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SELF = "self"
DATA = "data"
BASE = "base"
VERIFIER = "verifier"
JUDGE = "judge"
WRITER = "writer"
DEMONSTRATIONS = "demonstrations"
PAIRS = "pairs"

Score = Literal["log-prob", "implicit", "head-last", "head-mean", "head-sum"]
Advantage = Literal["none", "leave-one-out", "centred", "standardised", "others", "lambda"]


class Choice(BaseModel):
    """A frozen choice; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Choice):
    """Who writes the completions."""

    who: str
    """'demonstrations', 'pairs', 'self' (the policy in training) or the name of a stage."""
    prompts: Literal["all", "pairs"] = "all"
    """Which prompts a policy answers: all training prompts, each once a lap; or those of the
    training pairs alone, each as often as it has pairs."""
    per_prompt: int | None = 1
    """Completions per prompt; None: to be given (the N that a comparison varies)."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; log-probabilities are taken at the run's, see
    `Objective.temperature`."""
    refresh: Literal["once", "round", "update", "never"] = "once"
    """Fresh samples once for all prompts, every round of several updates, or every update. Never:
    nothing is drawn, the pairs on which the stage `who` was trained are trained on again, in an
    order of their own (Tang et al. 2024, arXiv:2405.08448, shuffled on-policy data)."""

    @property
    def sampled(self) -> bool:
        """Whether a policy writes, rather than the data or an earlier stage's record."""
        return self.who not in (DEMONSTRATIONS, PAIRS) and not self.replayed

    @property
    def replayed(self) -> bool:
        """Whether the completions are those of an earlier stage, as it picked them."""
        return self.refresh == "never"

    @property
    def words(self) -> str:
        """Who writes, where nothing is sampled."""
        return f"the pairs of {self.who}" if self.replayed else self.who


class Critic(Choice):
    """A network of its own that predicts, before each token, the reward still to come.

    Source: Huang et al. 2024, arXiv:2403.17031 (initialised from the reward model; weights).
    """

    start: str = "start"
    """A reward-model stage whose weights and head it takes; 'start': what the policy starts from,
    with a fresh head."""
    decay: float = Field(default=0.95, ge=0, le=1)
    """Lambda of the generalised advantages; 1 does not lean on the critic."""
    weight: float = Field(default=0.1, gt=0)
    """Weight of its loss beside the policy's."""
    clip: float | None = Field(default=None, gt=0)
    """How far a value may move from what it was when the round was written, reward units; None:
    any way, because a width means nothing before the scale of the rewards is known."""
    whiten: bool = True
    """Whether a round's advantages are shifted and scaled to mean 0 and variance 1 over tokens."""


class Objective(Choice):
    """What turns completions into a gradient: a loss on a scored quantity."""

    loss: str
    """A name of `losses.LOSSES`, or 'none': the stage trains nothing (best-of-N)."""
    score: Score = "log-prob"
    """log-prob of the policy, implicit reward beta*log(pi/pi_ref), or a scalar head and where it
    reads: the last token, the mean or the sum over completion tokens."""
    reference: str | None = None
    """A stage, 'start' (what this stage starts from), 'writer' (this stage's own policy as it was
    when the round was written) or None (reference-free)."""
    beta: float | None = None
    """Price of one nat of divergence, in reward units; None: to be given."""
    beta_factor: float = Field(default=1.0, gt=0)
    """The loss uses this times beta. A mean over tokens is smaller than a sum by the length, so
    roads that take means need a larger beta to mean the same."""
    over_tokens: Literal["sum", "mean"] = "sum"
    """What an implicit reward takes over a completion's tokens."""
    margin: float = 0.0
    """By how much the better reward must lead, reward units."""
    temperature: float | None = Field(default=None, gt=0)
    """At which an implicit reward's log-probabilities are taken, the policy's and the reference's;
    None: the run's. A small one makes differences of logits, and with them beta, so much larger:
    0.1 about ten times."""
    smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the labels that are taken to be wrong."""
    weight: float = Field(default=1.0, ge=0)
    """Of the odds ratio beside the likelihood; of KTO's undesirable completions."""
    eta: float = Field(default=1.0, gt=0)
    """REBEL's step: log-ratios divided by it are regressed on rewards."""
    advantage: Advantage = "none"
    """What a reward is measured against: the mean of the others of its group, of its whole group
    (also divided by the group's deviation), of all others of the round, or a critic."""
    kl: Literal["none", "reward", "loss"] = "none"
    """Where beta times the KL from the reference goes: k1 in the reward, or k3 in the loss."""
    clip: float = Field(default=0.2, gt=0)
    """How far a token's probability ratio may move before its gradient stops."""
    normalise: Literal["token", "sequence", "constant"] = "token"
    """Token losses: averaged over all tokens of the batch; over each completion and then over
    completions; or summed and divided by the completions times the length limit."""
    critic: Critic | None = None

    @property
    def words(self) -> str:
        """The loss, what it works on, and every choice that is not the usual one."""
        if self.loss == "none":
            return self.loss
        words = f"{self.loss} on {self.score}"
        if self.reference:
            words += f" against {self.reference}"
        said = {"loss", "score", "reference", "beta"}
        others = [name for name in type(self).model_fields if name not in said]
        rest = [
            f"{name.replace('_', ' ')} {value if not isinstance(value, Critic) else value.start}"
            for name in others
            if (value := getattr(self, name)) != type(self).model_fields[name].default
        ]
        return words + (f" ({', '.join(rest)})" if rest else "")

    @property
    def uses_beta(self) -> bool:
        """Whether a beta means anything here."""
        return self.score == "implicit" or self.kl != "none"

    def at(self, run: float) -> float:
        """The temperature of this loss's log-probabilities, where the run's is `run`."""
        return run if self.temperature is None else self.temperature

    @property
    def price(self) -> float:
        """Beta as the loss uses it.

        Raises:
            ValueError: where it is still to be given.
        """
        if self.beta is None:
            raise ValueError(f"loss {self.loss!r}: beta is not given yet")
        return self.beta * self.beta_factor


class Schedule(Choice):
    """How long and how fast a stage learns."""

    learning_rate: float = Field(default=1e-3, ge=0)
    batch_size: int = Field(default=64, ge=1)
    """Units (completions, pairs, groups) per optimiser step."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the data, or over each batch of samples."""
    rounds: int = Field(default=1, ge=1)
    """Batches of fresh samples; with refresh 'update' this is the number of updates."""
    updates: int | None = Field(default=None, ge=1)
    """Optimiser steps in all, over as many passes as they take; None: `epochs` passes. For stages
    of one round."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises from 0."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
