"""A peer's loss on a tiny model against ours: the same tokens, the loss, its gradient."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from allroads.models.policy import Policy
from allroads.models.states import Rows
from tests.conftest import EOS, VOCABULARY
from tests.words import save_model

PAD = 1
"""A token that no sequence holds."""

TOLERANCE = 3e-5
"""Of the larger of the two sides: both work in single precision, in another order."""

PLAIN = {
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}
"""Settings of a TRL trainer that touch no mathematics."""


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    found = AutoTokenizer.from_pretrained(save_model(Path(mkdtemp()), "llama"))
    found.pad_token = found.convert_ids_to_tokens(PAD)
    return found


def sequences(seed: int, count: int, longest: int) -> list[list[int]]:
    """Random completions, end-of-sequence included."""
    rng = random.Random(seed)
    return [
        [rng.randrange(PAD + 1, VOCABULARY) for _ in range(rng.randint(1, longest))] + [EOS]
        for _ in range(count)
    ]


def prompts(seed: int, count: int) -> list[list[int]]:
    return [ids[:-1] for ids in sequences(seed, count, 4)]


def rows_of(ids_BT: Tensor, attention_BT: Tensor, completion_BT: Tensor) -> Rows:
    """A TRL batch as our rows: the same tokens, prompt and completion told apart."""
    parts = list(zip(ids_BT, attention_BT.bool(), completion_BT.bool(), strict=True))
    return Rows(
        [tuple(ids[real & ~own].tolist()) for ids, real, own in parts],
        [tuple(ids[own].tolist()) for ids, _, own in parts],
    )


def policy_of(model: nn.Module) -> Policy:
    """The model that TRL trains, read by our own log-probability."""
    return Policy(model, EOS)  # type: ignore[arg-type]


@torch.no_grad()
def shake(model: nn.Module, seed: int) -> None:
    """Another model than before, as after a few steps."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.add_(0.2 * parameter.std().nan_to_num() * noise)


def loss_of(trainer: Any, batch: dict[str, Tensor]) -> Tensor:
    """TRL's loss, as its training step computes it."""
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    trainer.model.eval()
    return loss


def gap(ours: Tensor, theirs: Tensor) -> float:
    """Greatest difference, as a share of the largest entry."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def check(
    record: Callable[[str, object], None],
    ours: tuple[Tensor, Sequence[Tensor]],
    theirs: Tensor,
    model: nn.Module,
    *,
    within: float = TOLERANCE,
) -> None:
    """Our loss and its derivative by every weight are the peer's; `record` keeps how nearly."""
    weights = list(model.parameters())
    found = torch.autograd.grad(theirs, weights, allow_unused=True)
    slopes = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
    loss, theirs = ours[0], theirs.detach()
    # A mean of advantages may come near 0 by cancelling: a loss is compared on the scale of one.
    value = float((loss - theirs).abs() / theirs.abs().clamp(min=1))
    slope = gap(torch.cat([g.flatten() for g in ours[1]]), torch.cat([g.flatten() for g in slopes]))
    record("gap_value", value)
    record("gap_gradient", slope)
    assert value < within
    assert slope < within
