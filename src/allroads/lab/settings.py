"""What a configuration leaves open, resolved once and written down before the first job."""

from __future__ import annotations

from allroads.records import Record
from allroads.roads.atlas import Recipe


class Settings(Record):
    """Facts that every job shares."""

    recipe: Recipe
    max_length: int
    """Tokens of prompt and completion together."""
    max_new_tokens: int
    fixed_length: bool = False
    """Whether a completion of `max_new_tokens` is whole rather than cut."""
    eos_id: int
    vocabulary: int
    parameters: int
    """Weights of the base model."""
    sample_batch: int
    """Completions decoded together."""
    margin: float
    data_fingerprint: str
    model_fingerprint: str
    data_label: str
    model_label: str
    model_folder: str | None = None
    """The base model as an ordinary checkpoint folder; None for a built-in one."""
    model_notes: tuple[str, ...] = ()
    """What a reader has to know about the base model and how it is trained."""
    grader: str = ""
    """The resolved grader: minilm, tf-idf or a folder; empty where the truth is known."""
    grader_fingerprint: str = ""
    verifier_fingerprint: str = ""
    """Of the user's verifier file and the function's name; empty where there is none."""
