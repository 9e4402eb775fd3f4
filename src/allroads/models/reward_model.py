"""The global reward model: the policy's backbone with one scalar head over the whole completion."""

from __future__ import annotations

import json
import math
from functools import reduce
from pathlib import Path
from typing import Literal, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from allroads.errors import ModelError
from allroads.models import lora
from allroads.models.policy import Policy, load_policy
from allroads.models.states import Rows, completion_states, wide
from allroads.seeding import address

Reading = Literal["last", "mean", "sum"]
"""Where the scalar head reads: the last token, the mean or the sum over completion tokens.

They are different classes of verifier. `last` is what reward models commonly do; `sum` adds one
score per token, which suits rewards that are made of local checks.
"""

_SIDE_FILE = "allroads.json"
_HEAD = "score"


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
        return cast(nn.Linear, self.model.get_submodule(_HEAD))

    @property
    def parameters_count(self) -> int:
        """Weights, embeddings included."""
        return sum(p.numel() for p in self.model.parameters())

    def scores(self, rows: Rows) -> Tensor:
        """(B,) rewards in reward units, higher is better; blind to padding and batch mates."""
        read = "last" if self.reading == "last" else "after"
        states = completion_states(self.model.base_model, rows, read)
        scores = self.scores_of(states.flat)
        if self.reading != "last":
            scores = states.spread(scores).sum(dim=1)
        if self.reading == "mean":
            scores = scores / states.mask.sum(dim=1)
        return scores - self.offset

    def scores_of(self, states: Tensor) -> Tensor:
        """What the head says of hidden states: their shape without the last axis."""
        # An adapter's head is wider than a half-precision base.
        wider = reduce(torch.promote_types, (p.dtype for p in self.head.parameters()))
        return wide(self.head(states.to(wider))[..., 0])

    def merged(self) -> RewardModel:
        """The same scores without an adapter: it, if there is one, is added into the weights."""
        if not lora.has_adapter(self.model):
            return self
        return RewardModel(lora.merged(self.model), self.reading, self.offset)

    def save(self, folder: Path) -> None:
        """Write a checkpoint that `AutoModelForSequenceClassification.from_pretrained` loads.

        The reading and the offset, which that class does not know, go into a side file. With an
        adapter, it and the head are written, and the folder of the base is named.
        """
        if lora.has_adapter(self.model):
            lora.write_adapter(self.model, folder)
        else:
            self.model.save_pretrained(folder)
        side = {"reading": self.reading, "offset": self.offset}
        (folder / _SIDE_FILE).write_text(json.dumps(side) + "\n")


def reward_model_on(
    policy: Policy, *, reading: Reading, seed: int, adapter: lora.Lora | None = None
) -> RewardModel:
    """A fresh reward model with the policy's backbone and a new head.

    The head is drawn from N(0, 1/(d+1)) at an address of `seed`.

    Args:
        policy: whose backbone it starts from; left as it is.
        reading: where the head reads.
        seed: root seed.
        adapter: train an adapter and the head only, on the policy's base (shared); it starts from
            the policy's own adapter, if it has one. None: everything is copied and trained.

    Raises:
        ModelError: when the architecture has no sequence classifier.

    Source: Huang et al. 2024, arXiv:2403.17031 (head initialisation).
    """
    own = lora.has_adapter(policy.model)
    if own and adapter is None:
        policy, own = Policy(policy.merged(), policy.eos_id), False
    model = _classifier(policy, lora.bare(policy.backbone) if own else lora.twin(policy.backbone))  # type: ignore[arg-type]
    head = cast(nn.Linear, model.get_submodule(_HEAD))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(address(seed, "reward-head"))
        fresh = torch.randn(head.weight.shape) / math.sqrt(head.weight.shape[1] + 1)
        head.weight.copy_(fresh)
        if head.bias is not None:
            head.bias.zero_()
    if adapter is not None:
        lora.add_adapter(model, adapter, seed, head=_HEAD)
        if own:
            _copy_trained(policy.backbone, model.base_model)
    return RewardModel(model, reading)


def _classifier(policy: Policy, backbone: nn.Module) -> PreTrainedModel:
    """A sequence classifier with one label around a backbone; its head is not yet drawn."""
    config = type(policy.model.config).from_dict(policy.model.config.to_dict())
    config.num_labels = 1
    if config.pad_token_id is None:
        config.pad_token_id = policy.eos_id
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise ModelError(
            f"{config.model_type} has no sequence classifier in transformers, so no reward "
            "model can be built on it; choose another base model"
        ) from error
    model.name_or_path = policy.model.name_or_path
    setattr(model, model.base_model_prefix, backbone)
    head = model.get_submodule(_HEAD).to_empty(device=policy.device)
    head.to(dtype=next(policy.model.parameters()).dtype)
    return model


@torch.no_grad()
def _copy_trained(source: nn.Module, target: nn.Module) -> None:
    """The adapter's weights from one backbone to another of the same shape."""
    own = dict(target.named_parameters())
    for name, parameter in source.named_parameters():
        if parameter.requires_grad:
            own[name].copy_(parameter)


def load_reward_model(
    folder: str | Path, *, dtype: torch.dtype, device: torch.device, base: Policy | None = None
) -> RewardModel:
    """A reward model from a folder; without our side file it is read at the last token.

    `base` is the base of an adapter, if it is loaded already: its weights are shared.

    Raises:
        ModelError: when the folder holds no sequence classifier with exactly one label.
    """
    path = Path(folder)
    side = path / _SIDE_FILE
    extra = json.loads(side.read_text()) if side.is_file() else {"reading": "last", "offset": 0.0}
    if lora.is_adapter(path):
        base = base or load_policy(lora.base_of(path), eos_id=0, dtype=dtype, device=device)
        base.model.requires_grad_(requires_grad=False)
        model = _classifier(base, lora.twin(base.backbone))  # type: ignore[arg-type]
        lora.read_adapter(model, path)
        return RewardModel(model, extra["reading"], extra["offset"])
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
    return RewardModel(model.to(device), extra["reading"], extra["offset"])
