"""What a stage needs beside its own choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from allroads.data.dataset import Dataset
from allroads.judges import Labeller
from allroads.models.policy import Policy
from allroads.roads.units import Round

Opener = Callable[[], Policy]
"""Opens a frozen policy; who calls it owns what it gives, and lets go of it."""


@dataclass(frozen=True)
class Supplies:
    """What a stage needs beside its own choices.

    Attributes:
        dataset: where pairs, demonstrations and training prompts come from.
        seed: the run's seed; every draw hangs on it and on `address`.
        address: the stage's own place in the seed tree.
        reference: opens the frozen reference, where the objective has one. A stage on given
            completions opens it while it gathers, not at all where what it says is known (a cache,
            a checkpoint inside the round), and does not train beside it; one that samples holds it.
        writer: the frozen policy that writes, where the source is another stage.
        labeller: who scores sampled completions, or orders the data's pairs anew.
        temperature: at which every log-probability is taken.
        max_new_tokens: length limit of sampled completions.
        token_budget: padded tokens per forward pass.
        sample_batch: completions decoded together.
        fixed_length: whether the task ends at `max_new_tokens`.
        replayed: the units of an earlier stage, all its rounds as one, where the source is that.
        leads: how far apart the labeller sees the two sides of the data's pairs, reward units,
            where the pick matches that; None: not measured yet, see `sources.with_leads`.
        reference_cache: file for the reference's log-probabilities of the offline units, which
            stages with the same reference and data (another beta, say) share; None: not kept.
    """

    dataset: Dataset
    seed: int
    address: str
    reference: Opener | None
    writer: Policy | None
    labeller: Labeller | None
    temperature: float
    max_new_tokens: int
    token_budget: int
    sample_batch: int
    fixed_length: bool = False
    replayed: Round | None = None
    leads: tuple[float, ...] | None = None
    reference_cache: Path | None = None

    def opened_once(self) -> Supplies:
        """The same, whose reference is opened when first asked for and then held."""
        return self if self.reference is None else replace(self, reference=cache(self.reference))
