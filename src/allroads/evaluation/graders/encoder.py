"""A pretrained text encoder with a linear head: a grader on a backbone that is not the policy's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from allroads.errors import ModelError
from allroads.evaluation.graders.head import fit_head
from allroads.evaluation.graders.protocol import TextPairs

MOST_TOKENS = 512
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


class Encoder:
    """Texts to unit vectors: the last hidden state, averaged over the tokens, L2-normalised.

    Texts go through one at a time, on the CPU, in single precision and one thread. So a vector is
    a function of its text alone: equal texts tie exactly, and no order of jobs and no number of
    threads changes a grade. On the CPU this costs about what padded batches do.

    Source: Reimers and Gurevych 2019, arXiv:1908.10084 (mean pooling).
    """

    def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
        self.model = model.eval()
        self._tokenizer = tokenizer
        positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._limit = min(MOST_TOKENS, positions or MOST_TOKENS, tokenizer.model_max_length)

    @torch.no_grad()
    def vectors(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(N, d) unit vectors; what lies beyond 512 tokens (or the model's limit) is not read."""
        found: dict[str, NDArray[np.float64]] = {}
        with _one_thread():
            for text in dict.fromkeys(texts):
                found[text] = self._vector(text)
        return np.stack([found[text] for text in texts])

    def _vector(self, text: str) -> NDArray[np.float64]:
        ids = self._tokenizer(text, truncation=True, max_length=self._limit)["input_ids"]
        if not ids:  # an empty answer, and a tokenizer that adds nothing of its own
            return np.zeros(self.model.config.get_text_config().hidden_size)
        states = self.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        mean = states.double().mean(dim=0).numpy()
        return mean / max(float(np.linalg.norm(mean)), 1e-12)


def load_encoder(folder: str | Path) -> Encoder:
    """The encoder in a folder: any that `AutoModel` opens and that gives a last hidden state.

    Raises:
        ModelError: when the folder holds no such model, or no tokenizer.
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"--grader {folder}: expected auto, minilm, tf-idf, or a folder with an encoder and "
            "its tokenizer; found "
            + ("no config.json in it" if path.is_dir() else "no such folder")
        )
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"--grader {folder}: expected one of {', '.join(_TOKENIZER_FILES)} beside the "
            "weights, found none"
        )
    try:
        model = AutoModel.from_pretrained(path, dtype=torch.float32)
        encoder = Encoder(model, AutoTokenizer.from_pretrained(str(path)))
        encoder.vectors(["probe"])
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"--grader {folder}: not an encoder of texts: {reason}") from error
    return encoder


class EncoderGrader:
    """A linear score of an answer's vector. The prompt is not read; see `fit_encoder`."""

    def __init__(self, encoder: Encoder, weights: NDArray[np.float64]) -> None:
        self._encoder, self.weights = encoder, weights
        self._known: dict[str, float] = {}

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """(N,) log-odds; each text is encoded once in the life of this grader."""
        new = [text for text in dict.fromkeys(answers) if text not in self._known]
        if new:
            scores = [float(vector @ self.weights) for vector in self._encoder.vectors(new)]
            self._known.update(zip(new, scores, strict=True))
        return np.array([self._known[text] for text in answers], dtype=np.float64)


def fit_encoder(encoder: Encoder, pairs: TextPairs) -> EncoderGrader:
    """Fit the head on the difference of the two answers' vectors; deterministic.

    The answer is read alone. A sentence encoder has been trained on single texts, and in an
    average over prompt and answer the prompt, which both answers share, drowns them. By 5-fold
    cross-validation within the grader's splits (nats per pair, a coin is .693; answer alone
    against prompt and answer averaged): HH harmless .684 and .693, OASST .635 and .668. The price:
    whether an answer fits its prompt is not seen.
    """
    vectors = encoder.vectors([*pairs.chosen, *pairs.rejected])
    difference = vectors[: len(pairs)] - vectors[len(pairs) :]
    return EncoderGrader(encoder, fit_head(difference, pairs.clusters))


def shares_weights(encoder: Encoder, policy: torch.nn.Module) -> bool:
    """Whether any weight matrix of the encoder is also the policy's (up to half precision)."""
    by_shape: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for weight in policy.parameters():
        if weight.dim() > 1:
            by_shape.setdefault(tuple(weight.shape), []).append(weight.detach().float().cpu())
    for weight in encoder.model.parameters():
        own = weight.detach().float()
        if own.dim() < 2 or bool((own == own.flatten()[0]).all()):
            continue
        if any(
            torch.allclose(own, other, rtol=2**-7) for other in by_shape.get(tuple(own.shape), ())
        ):
            return True
    return False


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
