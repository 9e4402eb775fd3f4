"""Every road: no kill is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from allroads import files
from allroads.roads.loop import Keeping, clear_checkpoints
from tests.roads.problem import (
    STAGES,
    Killed,
    Straight,
    die_at,
    run,
    total_steps,
)

NAMES = sorted(STAGES)


@pytest.mark.parametrize("name", ["dpo", "rloo"])
def test_a_kill_at_any_step_is_not_seen(name: str, tmp_path: Path, straight: Straight):
    """Each step is lost once: the kill at step n resumes from the checkpoint of step n - 1."""
    stage = STAGES[name]
    total = total_steps(stage)
    assert total >= 4
    for step in range(1, total + 1):
        folder = tmp_path / str(step)
        with pytest.raises(Killed):
            run(stage, folder, progress=die_at(step), checkpoint_seconds=0)
        seen: list[int] = []
        model, cost = run(
            stage, folder, progress=lambda done, _, seen=seen: seen.append(done),
            checkpoint_seconds=0,
        )  # fmt: skip
        assert seen == list(range(step, total + 1))
        straight(name).check(model, cost, folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_kill_at_every_step_is_not_seen(name: str, tmp_path: Path, straight: Straight):
    """The unluckiest run: it dies after every single step, until it is done."""
    stage = STAGES[name]
    for step in range(2, total_steps(stage) + 1):
        with pytest.raises(Killed):
            run(stage, tmp_path, progress=die_at(step), checkpoint_seconds=0)
    model, cost = run(stage, tmp_path, checkpoint_seconds=0)
    straight(name).check(model, cost, tmp_path)


@pytest.mark.parametrize("name", ["dpo", "rloo"])
@pytest.mark.parametrize("call", range(1, 9))
def test_a_kill_while_a_checkpoint_is_written_is_not_seen(
    name: str, call: int, tmp_path: Path, straight: Straight, monkeypatch: pytest.MonkeyPatch
):
    """Between any two of its writes: the state's JSON, the folder's rename, the pointer."""
    calls = 0

    def fragile(real):
        def write(*args):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            real(*args)

        return write

    with monkeypatch.context() as patch:
        for function in ("write_json", "write_folder", "write_text"):
            patch.setattr(files, function, fragile(getattr(files, function)))
        with pytest.raises(Killed):
            run(STAGES[name], tmp_path, checkpoint_seconds=0)
    model, cost = run(STAGES[name], tmp_path, checkpoint_seconds=0)
    straight(name).check(model, cost, tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can be cloned")
@pytest.mark.parametrize("name", ["dpo", "ppo"])
def test_the_death_of_the_whole_process_is_not_seen(name: str, tmp_path: Path, straight: Straight):
    """No exception handler and no closing of files: what was not written is lost."""

    def die(done: int, total: int) -> None:
        if done == 5:
            os._exit(9)

    child = os.fork()
    if child == 0:
        try:
            run(STAGES[name], tmp_path, progress=die, checkpoint_seconds=0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (tmp_path / "state" / "latest").read_text().startswith("step-4-")
    model, cost = run(STAGES[name], tmp_path, checkpoint_seconds=0)
    straight(name).check(model, cost, tmp_path)


def test_one_checkpoint_is_kept_and_can_be_cleared(tmp_path: Path):
    with pytest.raises(Killed):
        run(STAGES["dpo"], tmp_path, progress=die_at(4), checkpoint_seconds=0)
    state = tmp_path / "state"
    name = (state / "latest").read_text()
    assert {path.name for path in state.iterdir()} == {"latest", name}
    assert name == "step-3-round-0"
    clear_checkpoints(Keeping(tmp_path))
    assert not state.exists()
    clear_checkpoints(Keeping(tmp_path))


def test_no_checkpoint_before_its_time(tmp_path: Path):
    with pytest.raises(Killed):
        run(STAGES["dpo"], tmp_path, progress=die_at(4), checkpoint_seconds=60)
    assert not (tmp_path / "state").exists()


def test_a_line_that_was_cut_by_the_kill_is_written_again(tmp_path: Path, straight: Straight):
    stage = STAGES["dpo"]
    with pytest.raises(Killed):
        run(stage, tmp_path, progress=die_at(3), checkpoint_seconds=0)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 9, "los')
    model, cost = run(stage, tmp_path, checkpoint_seconds=0)
    straight("dpo").check(model, cost, tmp_path)
