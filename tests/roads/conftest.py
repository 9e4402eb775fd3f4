"""Fixtures for the tests of roads."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from allroads.roads import sources
from allroads.rollouts.sampler import sample
from allroads.types import Completion
from tests.conftest import EOS
from tests.roads.problem import STAGES, Finished, Straight, counters, run


@pytest.fixture
def all_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample ends with end-of-sequence: an unfinished one is placed by a rule of its own."""

    def finished(*args: Any, **options: Any) -> list[list[Completion]]:
        return [
            [replace(one, tokens=(*one.tokens[:-1], EOS), stop="eos") for one in group]
            for group in sample(*args, **options)
        ]

    monkeypatch.setattr(sources, "sample", finished)


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    """A stage by name, trained once for all tests."""

    @cache
    def of(name: str) -> Finished:
        folder = tmp_path_factory.mktemp(name)
        model, cost = run(STAGES[name], folder)
        return Finished(model, (folder / "metrics.jsonl").read_text(), counters(cost))

    return of
