"""What a stage needs beside its own choices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from allroads.data.dataset import Dataset
from allroads.judges import Labeller
from allroads.models.policy import Policy


@dataclass(frozen=True)
class Supplies:
    """What a stage needs beside its own choices.

    Attributes:
        dataset: where pairs, demonstrations and training prompts come from.
        seed: the run's seed; every draw hangs on it and on `address`.
        address: the stage's own place in the seed tree.
        reference: the frozen reference, where the objective has one.
        writer: the frozen policy that writes, where the source is another stage.
        labeller: who scores sampled completions, or orders the data's pairs anew.
        temperature: at which every log-probability is taken.
        max_new_tokens: length limit of sampled completions.
        token_budget: padded tokens per forward pass.
        sample_batch: completions decoded together.
        fixed_length: whether the task ends at `max_new_tokens`.
        reference_cache: file for the reference's log-probabilities of the offline units, which
            stages with the same reference and data (another beta, say) share; None: not kept.
    """

    dataset: Dataset
    seed: int
    address: str
    reference: Policy | None
    writer: Policy | None
    labeller: Labeller | None
    temperature: float
    max_new_tokens: int
    token_budget: int
    sample_batch: int
    fixed_length: bool = False
    reference_cache: Path | None = None
