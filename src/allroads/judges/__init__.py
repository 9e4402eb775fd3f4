"""Labellers: whatever says how good a completion is.

A labeller is a function of the preference data (a learned reward model, global or local) or it
brings information from outside (a verifier, any callable). Only the first keep the question
"does the second stage pay although no information is added?".

A language model (`judges.llm`) is one from outside too. It labels where a road asks for it, and as
`allroads judge` it is a second opinion on what the roads have become.
"""

from allroads.judges.judge_labeller import JudgeLabeller
from allroads.judges.labellers import (
    CallableLabeller,
    GlobalLabeller,
    Labeller,
    LocalLabeller,
    reading_text,
)
from allroads.judges.verifier import UserVerifier, load_verifier

__all__ = [
    "CallableLabeller",
    "GlobalLabeller",
    "JudgeLabeller",
    "Labeller",
    "LocalLabeller",
    "UserVerifier",
    "load_verifier",
    "reading_text",
]
