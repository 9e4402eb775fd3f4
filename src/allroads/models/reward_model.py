"""The global reward model: the policy's backbone with one scalar head over the whole completion."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from allroads.errors import ModelError
from allroads.models.policy import Policy
from allroads.models.states import Rows, completion_states, wide
from allroads.seeding import address

Reading = Literal["last", "mean", "sum"]
"""Where the scalar head reads: the last token, the mean or the sum over completion tokens.

They are different classes of verifier. `last` is what reward models commonly do; `sum` adds one
score per token, which suits rewards that are made of local checks.
"""

_SIDE_FILE = "allroads.json"


class RewardModel:
    """A sequence classifier with one label, read where `reading` says.

    Attributes:
        model: an `AutoModelForSequenceClassification` with `num_labels=1`, in evaluation mode.
        reading: see `Reading`. Hugging Face's own forward always reads the last token.
        offset: reward units subtracted from every score; no pair can see it.
    """

    def __init__(self, model: PreTrainedModel, reading: Reading, offset: float = 0.0) -> None:
        self.model = model.eval()
        self.reading: Reading = reading
        self.offset = offset

    @property
    def head(self) -> nn.Linear:
        """The scalar head."""
        return cast(nn.Linear, self.model.get_submodule("score"))

    @property
    def parameters_count(self) -> int:
        """Weights, embeddings included."""
        return sum(p.numel() for p in self.model.parameters())

    def scores(self, rows: Rows) -> Tensor:
        """(B,) rewards in reward units, higher is better; blind to padding and batch mates."""
        states = completion_states(self.model.base_model, rows)
        score_BT = wide(self.head(states.after)[..., 0]).masked_fill(~states.mask, 0.0)
        if self.reading == "sum":
            return score_BT.sum(dim=1) - self.offset
        lengths = states.mask.sum(dim=1)
        if self.reading == "mean":
            return score_BT.sum(dim=1) / lengths - self.offset
        return score_BT.gather(1, lengths[:, None] - 1)[:, 0] - self.offset

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `AutoModelForSequenceClassification.from_pretrained` loads.

        The reading and the offset, which that class does not know, go into a side file.
        """
        self.model.save_pretrained(folder)
        side = {"reading": self.reading, "offset": self.offset}
        (folder / _SIDE_FILE).write_text(json.dumps(side) + "\n")


def reward_model_on(policy: Policy, *, reading: Reading, seed: int) -> RewardModel:
    """A fresh reward model with the policy's backbone (copied) and a new head.

    The head is drawn from N(0, 1/(d+1)) at an address of `seed`, before anything else.

    Raises:
        ModelError: when the architecture has no sequence classifier.

    Source: Huang et al. 2024, arXiv:2403.17031 (head initialisation).
    """
    config = type(policy.model.config).from_dict(policy.model.config.to_dict())
    config.num_labels = 1
    if config.pad_token_id is None:
        config.pad_token_id = policy.eos_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(address(seed, "reward-head"))
        try:
            model = AutoModelForSequenceClassification.from_config(config)
        except ValueError as error:
            raise ModelError(
                f"{config.model_type} has no sequence classifier in transformers, so no reward "
                "model can be built on it; choose another base model"
            ) from error
        model = model.to(dtype=next(policy.model.parameters()).dtype, device=policy.device)
        model.base_model.load_state_dict(policy.backbone.state_dict())
        head = cast(nn.Linear, model.get_submodule("score"))
        with torch.no_grad():
            width = head.weight.shape[1]
            fresh = torch.randn(head.weight.shape) / math.sqrt(width + 1)
            head.weight.copy_(fresh)
            if head.bias is not None:
                head.bias.zero_()
    return RewardModel(model, reading)


def load_reward_model(
    folder: str | Path, *, dtype: torch.dtype, device: torch.device
) -> RewardModel:
    """A reward model from a folder; without our side file it is read at the last token.

    Raises:
        ModelError: when the folder holds no sequence classifier with exactly one label.
    """
    path = Path(folder)
    if not (path / "config.json").is_file():
        raise ModelError(f"--reward-model {folder}: expected a folder with config.json")
    try:
        model = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"--reward-model {folder}: cannot be loaded: {reason}") from error
    if model.config.num_labels != 1:
        raise ModelError(
            f"--reward-model {folder}: expected num_labels = 1, found {model.config.num_labels}"
        )
    side = path / _SIDE_FILE
    extra = json.loads(side.read_text()) if side.is_file() else {"reading": "last", "offset": 0.0}
    return RewardModel(model.to(device), extra["reading"], extra["offset"])
