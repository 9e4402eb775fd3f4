"""Finished runs that many tests read; a test that changes one copies it first."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from allroads import api
from tests.lab import tiny


@dataclass(frozen=True)
class Straight:
    """A run that nothing interrupted, and how long it took."""

    folder: Path
    seconds: float


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """Every named road, one process, never interrupted. Do not write into it."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    since = time.monotonic()
    api.compare(out=folder, config=tiny.config())
    return Straight(folder, time.monotonic() - since)


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
