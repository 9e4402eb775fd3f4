"""What was measured before any reinforcement learning: the records that a diagnosis reads.

Everything here comes from the user's pairs, the start policy, and fits of the two learners to parts
of those pairs: the *verifier* is the global reward model, a scalar head; the *generator* is a
policy fitted by likelihood and read as a reward model (its log-ratio to the start policy, the local
reward model). `allroads.diagnosis` turns the records into a prediction; it needs no torch.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from allroads.records import Cost, Record

Learner = Literal["verifier", "generator"]
FULL = "full"
"""Capacity of a fit that trains every weight."""


class Fit(Record):
    """One learner fitted to the first pairs of one order of the training prompts.

    An order is a random permutation of the prompts; all pairs of a prompt stay together. Leads are
    scores of the chosen minus the rejected completion, in the scorer's own units.
    """

    learner: Learner
    capacity: str = FULL
    """What may be trained: 'head' (the head alone), 'rank R' (adapters), or 'full'."""
    order: int
    count: int
    """Pairs that it was fitted to."""
    following: tuple[float, ...] = ()
    """Leads on the pairs of the next block of its order; none after the last block."""
    following_prompts: tuple[int, ...] = ()
    """Whose pairs those are: numbers that name prompts."""
    test: tuple[float, ...]
    """Leads on the held-out pairs, which all fits share."""
    cost: Cost


class HeldOut(Record):
    """The held-out pairs, in the order of every fit's `test`."""

    prompts: tuple[int, ...]
    """Numbers that name prompts; those of one conversation share one."""
    chosen_tokens: tuple[int, ...]
    rejected_tokens: tuple[int, ...]
    chosen_logprob: tuple[float, ...]
    """Of the start policy, nats, summed over the completion."""
    rejected_logprob: tuple[float, ...]
    shortcuts: dict[str, tuple[float, ...]]
    """Leads by scorers that do not read for meaning ('length', 'words'), fitted on training pairs;
    only where there is text to read."""


class Pool(Record):
    """Samples of one policy on held-out prompts: each field but `pair` is (prompts, samples)."""

    pair: tuple[int, ...]
    """For each prompt, the place in `HeldOut` of a pair that has this prompt."""
    tokens: tuple[tuple[int, ...], ...]
    finished: tuple[tuple[bool, ...], ...]
    logprob: tuple[tuple[float, ...], ...]
    """Of the start policy, nats, summed over the completion."""
    own_logprob: tuple[tuple[float, ...], ...] = ()
    """Of the policy that wrote them, nats, summed over the completion; none in the start's pool,
    where it is `logprob`."""
    entropy: tuple[tuple[float, ...], ...]
    """Of the start policy's next token, nats, mean over the completion's positions."""
    grades: dict[str, tuple[tuple[float, ...], ...]]
    """By who graded: 'verifier' and 'generator' (the learners, fitted to all training pairs),
    'independent' (a reward model fitted to pairs that neither saw), and 'truth' where the user
    brought a verifying program."""
    prefixes: dict[str, tuple[tuple[float, ...], ...]] = Field(default_factory=dict)
    """The reward model's scores of the first parts of each sample, by share of its tokens: '0.25',
    '0.5', '0.75', '1'."""


class Trial(Record):
    """Offline DPO at one setting, as it was tried before the offline policy was chosen."""

    rate: float
    """Factor on the learning rate of the recipe."""
    beta: float
    fraction: float
    """Part of the training that is done; 1.0 is the last step."""
    kl: float
    """From the start policy, nats a completion, mean over its own samples."""
    score: float
    """Mean gain over the start policy by the independent scorer, log-odds."""
    chosen: bool


class Evidence(Record):
    """All that was measured."""

    created: str
    version: str
    revision: str
    command: str
    data: str
    """What the pairs are, in words."""
    model: str
    """What the base model is, in words."""
    pairs: int
    """Training pairs: what both learners may be fitted to."""
    other_labels: int
    """Labels that neither learner saw: the independent scorer's and the held-out ones."""
    repeats: tuple[tuple[int, int], ...] = ()
    """(first preferred, second preferred) of every two completions that were compared more than
    once, anywhere in the data."""
    fits: tuple[Fit, ...]
    held_out: HeldOut
    start: Pool
    """The start policy's own samples."""
    offline: Pool | None
    """Samples of the policy that likelihood makes of all pairs: DPO at the setting that a
    comparison would choose; None where its training failed or the budget did not reach it."""
    trials: tuple[Trial, ...] = ()
    """The settings that the offline policy was chosen from."""
    independent: tuple[float, ...] = ()
    """The independent scorer's leads on the held-out pairs, where it graded."""
    beta: float
    """The generator's."""
    cost: Cost
    """Of everything, the start policy's training apart."""
    start_cost: Cost
    """Of the start policy."""
    roads: dict[str, Cost] = Field(default_factory=dict)
    """What one training of each road is estimated to cost: 'dpo', 'best-of-n', 'online-dpo'."""
    left_out: tuple[str, ...] = ()
    """What was not measured and why, a sentence each."""
