"""Low-rank adapters (through peft): what is trained is small, and the frozen base is held once.

A policy with an adapter is the base model with small matrices beside its linear layers; the base
with the adapter left out is the reference at no further memory. Checkpoints are peft's own format,
so `AutoModelForCausalLM.from_pretrained` loads them where peft is installed.

Source: Hu et al. 2021, arXiv:2106.09685.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from allroads.errors import ConfigError, ModelError
from allroads.models.states import wide
from allroads.records import Record
from allroads.seeding import address

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_NAME = "default"


class Lora(Record):
    """The size of an adapter."""

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    """The adapter's output is scaled by alpha / rank."""


def require_peft() -> None:
    """Refuse at once what would fail after the first stage.

    Raises:
        ConfigError: when peft is not installed.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ConfigError("--lora needs the package peft: pip install 'allroads[peft]'") from error


def is_adapter(folder: str | Path) -> bool:
    """Whether a checkpoint folder holds an adapter instead of a whole model."""
    return (Path(folder) / _CONFIG).is_file()


def base_of(folder: str | Path) -> str:
    """The folder of the model that an adapter belongs to.

    Raises:
        ModelError: when the adapter does not say.
    """
    name = json.loads((Path(folder) / _CONFIG).read_text("utf-8")).get("base_model_name_or_path")
    if not name:
        raise ModelError(f"{folder}: its {_CONFIG} names no base_model_name_or_path")
    return name


def twin(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that may be trained: frozen weights are shared, all others its own."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    return copy.deepcopy(model, {id(p): p for p in frozen})


def add_adapter(model: PreTrainedModel, lora: Lora, seed: int, *, head: str | None = None) -> None:
    """Freeze a model in place and put a fresh adapter beside every linear layer of its backbone.

    The adapter starts at zero effect and is drawn at an address of `seed`. Its weights (and the
    head's) are held in single precision, whatever the base's.

    Args:
        model: a model without an adapter.
        lora: the size.
        seed: root seed.
        head: name of a module that is trained and saved whole.
    """
    from peft import LoraConfig

    linear = _linear_layers(model)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        target_modules=sorted(linear),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linear.values()),
        modules_to_save=None if head is None else [head],
        task_type="CAUSAL_LM" if head is None else "SEQ_CLS",
    )
    model.requires_grad_(requires_grad=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(address(seed, "lora"))
        model.add_adapter(config, adapter_name=_NAME)
    _widen(model)


def read_adapter(model: PreTrainedModel, folder: str | Path) -> None:
    """Freeze a model in place and give it the adapter (and head) of a checkpoint folder.

    Raises:
        ModelError: when the adapter does not belong to such a model.
    """
    from peft import LoraConfig, set_peft_model_state_dict

    model.requires_grad_(requires_grad=False)
    try:
        model.add_adapter(LoraConfig.from_pretrained(str(folder)), adapter_name=_NAME)
        _widen(model)
        saved = load_file(Path(folder) / _WEIGHTS)
        # The file's names are those of peft's own wrapper around the model.
        names = {name: name.removeprefix("base_model.model.") for name in saved}
        outcome = set_peft_model_state_dict(model, {names[n]: t for n, t in saved.items()})
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder}: its adapter does not fit the base model: {reason}") from error
    if outcome.unexpected_keys:
        raise ModelError(
            f"{folder}: its adapter does not fit the base model, which has no "
            f"{outcome.unexpected_keys[0]}"
        )


def write_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write the adapter (and head); the same adapter gives the same bytes."""
    model.save_pretrained(folder)
    path = folder / _CONFIG
    fields = json.loads(path.read_text("utf-8"))
    # peft keeps these as sets, whose order differs from process to process.
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = sorted(value)
    path.write_text(json.dumps(fields, indent=2) + "\n", "utf-8")


def has_adapter(model: nn.Module) -> bool:
    """Whether the model carries an adapter."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def bare(module: nn.Module) -> nn.Module:
    """A copy without the adapter; it shares all weights with the original."""
    stripped = twin(cast(PreTrainedModel, module))
    _strip(stripped, merge=False)
    return stripped


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """A plain copy of the model with the adapter added into its weights, in single precision."""
    whole = copy.deepcopy(model).float()  # type: ignore[operator]
    _strip(whole, merge=True)
    for name in ("peft_config", "_hf_peft_config_loaded"):
        whole.__dict__.pop(name, None)
    return whole


def _linear_layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    return {
        f"{model.base_model_prefix}.{name}": module
        for name, module in model.base_model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def _widen(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = wide(parameter.data)


def _strip(module: nn.Module, *, merge: bool) -> None:
    from peft.tuners.lora import LoraLayer
    from peft.utils import ModulesToSaveWrapper

    for name, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            if merge:
                cast(Any, layer).merge(safe_merge=True)
            plain = layer.get_base_layer()
        elif isinstance(layer, ModulesToSaveWrapper) and merge:
            plain = layer.modules_to_save[_NAME]
        else:
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, plain)
