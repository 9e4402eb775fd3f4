"""Gradient checkpointing: layers keep their input only, and run forward again on the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from allroads.errors import ModelError


def prepare(model: PreTrainedModel) -> None:
    """Make a model able to recompute; it does so only inside `recomputing`.

    Raises:
        ModelError: when the architecture cannot.
    """
    if not any(isinstance(m, GradientCheckpointingLayer) for m in model.modules()):
        raise ModelError(
            f"--gradient-checkpointing: {model.config.model_type} has no layers that can recompute"
        )
    # The newer name of the same thing, where this release of transformers has it.
    newer = getattr(model, "activation_checkpointing_enable", None)
    enable = newer or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def prepared(module: nn.Module) -> list[GradientCheckpointingLayer]:
    """The layers that `prepare` made able to recompute."""
    layers = (m for m in module.modules() if isinstance(m, GradientCheckpointingLayer))
    return [layer for layer in layers if getattr(layer, "gradient_checkpointing", False)]


def is_recomputing(module: nn.Module) -> bool:
    """Whether a forward pass now keeps no more than the layers' inputs."""
    return any(layer.training for layer in prepared(module))


@contextmanager
def recomputing(module: nn.Module) -> Iterator[None]:
    """Within it, a prepared model's layers recompute; sources of randomness stay off."""
    layers = prepared(module)
    # transformers recomputes in training mode only. Setting the mode on the layers themselves, not
    # on what they hold, leaves every dropout in evaluation mode.
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
