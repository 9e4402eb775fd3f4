"""Labellers: whatever says how good a completion is.

A labeller is a function of the preference data (a learned reward model, global or local) or it
brings information from outside (a verifier, any callable). Only the first keep the question
"does the second stage pay although no information is added?".

A language model that judges finished answers (`judges.llm`) labels nothing: it is a second opinion
from outside on what the roads have become.
"""

from allroads.judges.labellers import (
    CallableLabeller,
    GlobalLabeller,
    Labeller,
    LocalLabeller,
)

__all__ = ["CallableLabeller", "GlobalLabeller", "Labeller", "LocalLabeller"]
