"""Finished runs that many tests read; a test that changes one copies it first."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from allroads import api
from allroads.lab.compare import prepare
from allroads.lab.jobs import Plan
from allroads.records import Results
from tests.lab import tiny

T = TypeVar("T")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """What `make` returns of a new folder: the first worker that asks makes it, others wait."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    kept = root / f"{name}.pickle"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make(root / name)))
    return pickle.loads(kept.read_bytes())


@dataclass(frozen=True)
class Straight:
    """A run that nothing interrupted, and how long it took."""

    folder: Path
    seconds: float


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """Every named road, one process, never interrupted. Do not write into it."""

    def make(folder: Path) -> Straight:
        since = time.monotonic()
        api.compare(out=folder, config=tiny.config())
        return Straight(folder, time.monotonic() - since)

    return made_once(tmp_path_factory, "straight", make)


@pytest.fixture
def copied(straight: Straight, tmp_path: Path) -> Path:
    """A copy of the straight run, to be changed."""
    folder = tmp_path / "copied"
    shutil.copytree(straight.folder, folder)
    return folder


@pytest.fixture
def quietly(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make any attempt to load a model an error."""

    def forbid() -> None:
        def refuse(*args: object, **options: object) -> None:
            raise AssertionError("a model was loaded")

        monkeypatch.setattr("allroads.lab.workshop.load_policy", refuse)
        monkeypatch.setattr("allroads.lab.workshop.load_reward_model", refuse)
        monkeypatch.setattr("allroads.lab.workshop.small_transformer", refuse)

    return forbid


@dataclass(frozen=True)
class Grown:
    """The straight run, continued with another seed and another price."""

    folder: Path
    results: Results
    heard: tiny.Heard
    before: dict[str, int]
    """When each file of the jobs was last written, before the run was continued."""


GROWN = {"roads": ["dpo", "best-of-n", "online-dpo", "online-dpo-verifier", "rloo"]}
SEEDS = (0, 1)
_OF_GROWN = {**GROWN, "seeds": list(SEEDS), "betas": [0.5, 0.2]}
"""Roads and seeds of the continued run, and all that it differs in from `tiny`; its N is 2."""


def written(folder: Path) -> dict[str, int]:
    """Time of the last change of every file that a job wrote; cards follow the figures."""
    rooms = ("checkpoints", "evaluations", "data", "cache")
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for room in rooms
        for path in (folder / room).rglob("*")
        if path.is_file() and path.name != "README.md"
    }


@pytest.fixture(scope="session")
def grown(straight: Straight, tmp_path_factory: pytest.TempPathFactory) -> Grown:
    """Two seeds at two prices. Do not write into it."""

    def make(folder: Path) -> Grown:
        shutil.copytree(straight.folder, folder)
        before, heard = written(folder), tiny.Heard()
        config = tiny.config(**_OF_GROWN)
        return Grown(folder, api.compare(out=folder, config=config, listener=heard), heard, before)

    return made_once(tmp_path_factory, "grown", make)


@pytest.fixture
def changed(grown: Grown, tmp_path: Path) -> Path:
    """A copy of the grown run, to be changed."""
    shutil.copytree(grown.folder, tmp_path / "changed")
    return tmp_path / "changed"


@pytest.fixture(scope="session")
def plan() -> Plan:
    """That of the grown run."""
    return prepare(tiny.config(**_OF_GROWN)).plan


def evaluations(plan: Plan, road: str, value: float | None) -> list[str]:
    """The evaluation jobs of a road at a setting, by seed."""
    return [c.evaluation for c in plan.cells if (c.road, c.value) == (road, value)]
