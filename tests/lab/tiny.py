"""A comparison that takes seconds: the world of routes, small in everything.

With a road of every kind: the contract of `tests/roads` holds each of them, and the slow tests take
each through the whole path.
"""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from allroads import api, files
from allroads.lab.config import CompareConfig, build_config
from allroads.lab.runner import Event
from allroads.roads.atlas import atlas

EVERY_ROAD = tuple(atlas())
ROADS = (
    *("sft", "sft-chosen", "reward-model", "local-rm"),
    *("dpo", "kto", "orpo", "dpo-relabelled", "spin"),
    *("best-of-n", "best-of-n-local", "rejection-sampling"),
    *("online-dpo", "online-dpo-from-dpo", "online-dpo-batch-from-dpo", "online-dpo-verifier"),
    *("rloo", "ppo"),
)

FIELDS: dict[str, Any] = {
    "world": "routes",
    "world_options": {"towns": 16, "max_hops": 5, "test_prompts": 30, "selection_prompts": 20},
    "sizes": {"demonstrations": 200, "pairs": 120, "selection_pairs": 80, "test_pairs": 80},
    "roads": list(ROADS),
    "seeds": [0],
    "betas": [0.5],
    "ns": [2],
    "eval_prompts": 20,
    "pool": 8,
    "snapshots": 2,
    "processes": 1,
    # A checkpoint after every step: what a kill may interrupt most often.
    "checkpoint_seconds": 0,
    "recipe": {
        "sft": {"epochs": 2, "learning_rate": 3e-3, "batch_size": 32},
        "reward": {"epochs": 2, "learning_rate": 2e-3, "batch_size": 32},
        "policy": {"epochs": 2, "learning_rate": 1e-3, "batch_size": 32},
        # Three epochs over each round of samples, so that most checkpoints fall inside a round.
        "online": {"rounds": 3, "epochs": 3, "learning_rate": 1e-3, "batch_size": 32},
        "batch_samples": 4,
        "group": 3,
    },
}


def fields(**changes: Any) -> dict[str, Any]:
    """The tiny comparison's settings, as YAML would hold them."""
    return {**copy.deepcopy(FIELDS), **changes}


def config(**changes: Any) -> CompareConfig:
    """The tiny comparison, with changes."""
    return build_config(fields(**changes), origin="test")


def trained(folder: Path) -> dict[str, bytes]:
    """Every file that training left: models, snapshots and logs, by path."""
    patterns = ("*/model/model.safetensors", "*/snapshots/*.safetensors", "*/metrics.jsonl")
    root = folder / "checkpoints"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in sorted(root.glob(pattern))
    }


def measured(folder: Path) -> dict[str, bytes]:
    """Every file that evaluation left, and the pairs that a world made, by path."""
    names = ["samples.jsonl", "metrics.jsonl"]
    paths = [*folder.glob("evaluations/*.json"), *folder.glob("data/*.json")]
    paths += [folder / name for name in names]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def stage_jobs(folder: Path) -> dict[str, str]:
    """Stage name by the id of each finished stage job of a run folder."""
    return {
        path.parent.name: files.read_json(path)["stage"]["name"]
        for path in sorted(folder.glob("checkpoints/*/stage.json"))
    }


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def worked(self) -> list[str]:
        """Jobs whose first event is not that they are done: those that did something now."""
        first: dict[str, str] = {}
        for kind, name, _, _ in self.events:
            first.setdefault(name, kind)
        return [name for name, kind in first.items() if kind == "progress"]


# A comparison in a process of its own -------------------------------------------------------------

_FORK = multiprocessing.get_context("fork")
# Importing torch and its friends takes longer than the comparison; this process has them already.


def start(chosen: CompareConfig, folder: Path) -> BaseProcess:
    """Start the comparison in another process, which may be killed without a word."""
    return start_call(_compare, chosen, folder)


def start_call(function: Callable[..., None], *args: Any) -> BaseProcess:
    """Start a module's function in another process, which has imported torch already."""
    process = _FORK.Process(target=function, args=args)
    process.start()
    return process


def _compare(chosen: CompareConfig, folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    api.compare(out=folder, config=chosen)
