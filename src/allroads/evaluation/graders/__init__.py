"""Who grades the policies where no truth is known, and the rule by which a grader may be believed.

A grader is fitted on pairs that neither the roads nor the selection scorer see, on a backbone that
is not the policy's. Length and tf-idf are fitted on the same pairs: the baselines that it has to
beat on held-out pairs before any verdict is drawn from it.
"""

from allroads.evaluation.graders.choice import (
    INSTALL,
    MINILM,
    TF_IDF,
    describe,
    encoder_folder,
    fit_grader,
    resolve,
)
from allroads.evaluation.graders.encoder import load_encoder, shares_weights
from allroads.evaluation.graders.length import fit_length
from allroads.evaluation.graders.protocol import Grader, TextPairs, margins
from allroads.evaluation.graders.rule import LEAST_CLUSTERS, Grade, grade
from allroads.evaluation.graders.tf_idf import TfIdf, fit_tf_idf

__all__ = [
    "INSTALL",
    "LEAST_CLUSTERS",
    "MINILM",
    "TF_IDF",
    "Grade",
    "Grader",
    "TextPairs",
    "TfIdf",
    "describe",
    "encoder_folder",
    "fit_grader",
    "fit_length",
    "fit_tf_idf",
    "grade",
    "load_encoder",
    "margins",
    "resolve",
    "shares_weights",
]
