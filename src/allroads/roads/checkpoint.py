"""Where a stage stands, written so that any kill at any moment resumes to the same weights.

A checkpoint holds the trained weights, the optimiser's moments, the position, the cost so far and,
inside a round, that round's units with their scores and behaviour log-probabilities. Randomness
needs no state: it is a function of the position.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from allroads import files
from allroads.records import Cost
from allroads.roads.optimiser import Optimiser
from allroads.roads.units import Round


@dataclass
class Position:
    """How far a stage has come; counted in finished rounds and optimiser steps."""

    round: int = 0
    step_in_round: int = 0
    step: int = 0


@dataclass
class State:
    """Everything that a stage changes while it trains."""

    model: nn.Module
    optimiser: Optimiser
    position: Position = field(default_factory=Position)
    material: Round | None = None
    cost: Cost = field(default_factory=Cost)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """What training changes of a model: its parameters but the frozen ones, tied ones once."""
    out: dict[str, Tensor] = {}
    seen: set[int] = set()
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    for name, tensor in model.state_dict().items():
        if name in frozen:
            continue
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            seen.add(tensor.data_ptr())
            out[name] = tensor.detach().cpu().contiguous()
    return out


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of a file that `weights` wrote into a model of the same shape."""
    saved = load_file(path)
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in saved.items():
            own[name].copy_(tensor)


def save(state: State, folder: Path) -> None:
    """Write a checkpoint beside the last one, then let it take its place."""
    name = f"step-{state.position.step}-round-{state.position.round}"

    def fill(path: Path) -> None:
        save_file(weights(state.model), path / "model.safetensors")
        save_file(state.optimiser.state(), path / "optimiser.safetensors")
        files.write_json(
            path / "state.json",
            {
                "position": asdict(state.position),
                "cost": state.cost.model_dump(),
                "material": None if state.material is None else state.material.plain(),
            },
        )

    files.write_folder(folder / name, fill)
    files.write_text(folder / "latest", name)
    for old in folder.glob("step-*"):
        if old.name != name:
            shutil.rmtree(old)


def restore(state: State, folder: Path) -> bool:
    """Bring `state` to the last checkpoint; False when there is none."""
    pointer = folder / "latest"
    if not pointer.is_file():
        return False
    path = folder / pointer.read_text()
    load_weights(state.model, path / "model.safetensors")
    state.optimiser.load(load_file(path / "optimiser.safetensors"))
    saved = files.read_json(path / "state.json")
    state.position = Position(**saved["position"])
    state.cost = Cost(**saved["cost"])
    state.material = None if saved["material"] is None else Round.of(saved["material"])
    return True
