"""The base model of a comparison: opened once, named, described and fingerprinted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from allroads.data.worlds import World
from allroads.errors import ModelError
from allroads.lab.config import CompareConfig
from allroads.lab.jobs import fingerprint
from allroads.models import recompute
from allroads.models.builtin import small_transformer
from allroads.models.device import bfloat16_gain, resolve_device
from allroads.models.gguf import note_on
from allroads.models.hub import located
from allroads.models.policy import Policy, load_policy


def opened(config: CompareConfig) -> tuple[Path, Policy]:
    """The base model that the user gave, as a checkpoint folder and as a policy."""
    assert config.model is not None
    # One progress bar per model is noise, and hides the one line that matters.
    transformers_logging.disable_progress_bar()
    folder = located(config.model)
    policy = load_policy(
        folder, eos_id=-1, dtype=getattr(torch, config.dtype), device=resolve_device("cpu")
    )
    if config.gradient_checkpointing:
        recompute.prepare(policy.model)
    return folder, policy


def of_world(config: CompareConfig, world: World) -> tuple[Policy, Path | None, str, str]:
    """The base model (of the first seed), its folder if it has one, name and fingerprint."""
    if not world.needs_model:
        policy = small_transformer(
            vocabulary=len(world.vocabulary),
            context=world.context,
            eos_id=world.eos_id,
            seed=config.seeds[0],
        )
        return (
            policy,
            None,
            f"built-in GPT-2, 2 layers of 64 ({policy.parameters_count:,} weights)",
            fingerprint(policy.model.config.to_dict()),
        )
    folder, policy = opened(config)
    policy.eos_id = world.eos_id
    if world.context > policy.context:
        raise ModelError(
            f"--model {config.model}: world {world.name!r} needs {world.context} positions, the "
            f"model has {policy.context}"
        )
    return policy, folder, label(config, policy), hash_folder(folder)


def data_fingerprint(config: CompareConfig, world: World) -> str:
    """Of the task and how much of it is drawn: what all data of a world follow from."""
    return fingerprint([world.identity, config.sizes.identity])


def width(policy: Policy) -> int:
    """Size of the hidden states, from which learning rates follow."""
    return policy.model.config.get_text_config().hidden_size


def label(config: CompareConfig, policy: Policy) -> str:
    """What a reader calls the model: name, size, adapter, precision."""
    assert config.model is not None
    name = f"{Path(config.model).name} ({policy.parameters_count:,} weights)"
    if config.lora is not None:
        name += f", LoRA of rank {config.lora.rank}"
    return name + ("" if config.dtype == "float32" else f", {config.dtype}")


def notes(config: CompareConfig, folder: Path) -> tuple[str, ...]:
    """Sentences that a reader of the results must know about the model."""
    out = [note_on(folder)]
    if config.lora is not None:
        out.append(
            f"every stage trains an adapter of rank {config.lora.rank} (alpha "
            f"{config.lora.alpha:g}) and leaves the base model's weights as they are"
        )
    if config.dtype == "bfloat16":
        gain = bfloat16_gain(resolve_device(config.device))
        if gain < 1:
            out.append(
                "this device has no bfloat16 instructions: a matrix product takes "
                f"{1 / gain:.1f} times as long as in float32; --dtype float32 is faster here"
            )
    if config.start == "base":
        out.append("the roads start from the base model as it is, without likelihood first")
    return tuple(note for note in out if note)


def hash_folder(folder: Path) -> str:
    """Fingerprint of a model folder's weights, configuration and tokenizer."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".json", ".bin", ".model", ".jinja"):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()
