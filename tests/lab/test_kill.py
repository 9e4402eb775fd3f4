"""Real processes killed at random moments: the run that finishes is the one never interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import yaml

from allroads import cli, files
from allroads.errors import RunFolderError
from tests.lab import tiny
from tests.lab.conftest import Straight
from tests.lab.tiny import EVERY_ROAD, measured, stage_jobs, trained

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="watches processes through /proc"
)

PATIENCE = 120.0
"""Seconds after which something that ought to happen is given up."""
LAST_BREATH = 60.0
"""Seconds that an orphan may take: one that is still importing torch looks up only afterwards."""


# Processes ----------------------------------------------------------------------------------------


def status(pid: int) -> tuple[str, int] | None:
    """(state, parent) of a process; None when there is none, or only its unread exit code."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (fields[0], int(fields[1]))


def children(pid: int) -> set[int]:
    """Everything that descends from a process."""
    everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    parents = {one: found[1] for one in everyone if (found := status(one))}
    family = {pid}
    while more := {one for one, parent in parents.items() if parent in family} - family:
        family |= more
    return family - {pid}


def wait_until(true, what: str, patience: float = PATIENCE) -> None:
    """Look every few milliseconds."""
    until = time.monotonic() + patience
    while not true():
        assert time.monotonic() < until, f"waited {patience:g} s in vain: {what}"
        time.sleep(0.01)


def kill(process: BaseProcess) -> bool:
    """SIGKILL the process alone, not its workers; False when it had finished before."""
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def finish(process: BaseProcess) -> None:
    process.join(PATIENCE)
    assert process.exitcode == 0


def among_samples(folder: Path) -> list[str]:
    """Stages whose last checkpoint lies between two steps on the same samples of a policy."""
    out = []
    for pointer in folder.glob("checkpoints/*/state/latest"):
        try:
            state = files.read_json(pointer.parent / pointer.read_text() / "state.json")
        except (OSError, ValueError):  # replaced at this moment
            continue
        if state["material"] and state["material"]["units"][0]["behaviour"]:
            out.append(pointer.parent.parent.name)
    return out


def finished(folder: Path) -> int:
    """Jobs that are done."""
    kinds = ("checkpoints/*/done.json", "evaluations/*.json", "data/*.done.json")
    return sum(len(list(folder.glob(kind))) for kind in kinds)


def assert_same(folder: Path, straight: Path, *, only: set[str] | None = None) -> None:
    """Byte for byte; with `only`, of those stage jobs."""
    expected, found = trained(straight), trained(folder)
    if only is not None:
        expected, found = (
            {name: data for name, data in files.items() if name.split("/")[1] in only}
            for files in (expected, found)
        )
    assert sorted(found) == sorted(expected)
    differing = [name for name in expected if found[name] != expected[name]]
    assert not differing, f"not the bytes of the straight run: {differing}"


# The default suite: all roads in one folder -------------------------------------------------------


def test_kills_at_random_moments_are_not_seen_in_any_road(straight: Straight, tmp_path: Path):
    """Kills at random, kills among a round of samples, and one of a run in two processes.

    So it is also the proof that the number of processes changes nothing, and that workers do not
    outlive the process that started them.
    """
    assert set(stage_jobs(straight.folder).values()) >= {"dpo", "local-rm", "online-dpo", "rloo"}
    folder, rng = tmp_path / "run", random.Random(1)
    kills = 0
    for _ in range(2):
        process = tiny.start(tiny.config(), folder)
        wait_until((folder / "lock").exists, "the run has begun")
        time.sleep(rng.uniform(0.05, 0.25) * straight.seconds)
        kills += kill(process)
    assert kills == 2, "it was over before it could be killed"
    for _ in range(8):
        process = tiny.start(tiny.config(), folder)
        alive = process.is_alive
        wait_until(lambda alive=alive: among_samples(folder) or not alive(), "a round of samples")
        kills += kill(process)
        if among_samples(folder):
            break
    assert among_samples(folder), "no kill fell between two steps on the same samples"
    process = tiny.start(tiny.config(processes=2), folder)
    assert process.pid is not None
    before, pid = finished(folder), process.pid

    def both_work() -> bool:
        return finished(folder) > before and len(children(pid)) >= 2

    wait_until(lambda: both_work() or process.exitcode is not None, "two processes work")
    workers = children(pid)
    assert len(workers) >= 2
    assert kill(process)
    # At once, while the orphans may still be writing: their locks keep the two runs apart.
    process = tiny.start(tiny.config(), folder)
    wait_until(lambda: not any(map(status, workers)), "orphaned workers end", LAST_BREATH)
    finish(process)
    assert_same(folder, straight.folder)
    assert measured(folder) == measured(straight.folder)
    assert not any(path.is_dir() for path in folder.rglob("*.tmp")), "half a model was left behind"
    assert not list(folder.glob("checkpoints/*/state")), "a finished stage keeps no checkpoint"


def test_a_second_process_is_refused_and_told_who_holds_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    folder, settings = tmp_path / "run", tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(tiny.fields()))
    process = tiny.start(tiny.config(), folder)
    try:
        wait_until(lambda: (folder / "manifest.json").is_file(), "the run has begun")
        command = ["allroads", "compare", "--config", str(settings), "--out", str(folder)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert process.is_alive(), "the first run goes on"
    finally:
        kill(process)
    assert left.value.code == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error:")]
    assert f"{folder} is in use by process {process.pid}; wait for it" in line


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path):
    from allroads.lab.runner import locked

    process = tiny.start(tiny.config(), tmp_path / "run")
    wait_until(lambda: (tmp_path / "run" / "manifest.json").is_file(), "the run has begun")
    with pytest.raises(RunFolderError, match="in use"), locked(tmp_path / "run"):
        pass
    assert kill(process)
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / "lock").read_text() == str(os.getpid())


# Slow: each road by itself, and the command line as a user runs it --------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("road", EVERY_ROAD)
def test_kills_at_random_moments_are_not_seen(road: str, straight: Straight, tmp_path: Path):
    """Five kills over the duration of the road's own run, in one process."""
    chosen = tiny.config(roads=[road])
    since = time.monotonic()
    process = tiny.start(chosen, tmp_path / "straight")
    wait_until((tmp_path / "straight" / "lock").exists, "the run has begun")
    begin = time.monotonic() - since
    finish(process)
    seconds = time.monotonic() - since - begin
    own = set(stage_jobs(tmp_path / "straight"))
    # Beside other roads it comes to the same.
    assert_same(tmp_path / "straight", straight.folder, only=own & set(stage_jobs(straight.folder)))
    folder, rng = tmp_path / "run", random.Random(f"kills of {road}")
    kills = 0
    for _ in range(5):
        (folder / "lock").unlink(missing_ok=True)
        process = tiny.start(chosen, folder)
        wait_until((folder / "lock").exists, "the run has begun")
        time.sleep(rng.uniform(0.0, 0.5) * seconds)
        kills += kill(process)
    assert kills >= 2
    finish(tiny.start(chosen, folder))
    assert_same(folder, tmp_path / "straight")
    assert measured(folder) == measured(tmp_path / "straight")


@pytest.mark.slow
def test_the_command_line_killed_and_repeated(straight: Straight, tmp_path: Path):
    folder, settings = tmp_path / "run", tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(tiny.fields(processes=2)))
    command = [sys.executable, "-m", "allroads", "compare", "--config", str(settings)]
    command += ["--out", str(folder)]
    rng = random.Random(2)
    for _ in range(4):
        before = finished(folder)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(
            lambda before=before, process=process: (
                finished(folder) > before or process.poll() is not None
            ),
            "the run works",
        )
        time.sleep(rng.uniform(0.0, 0.2) * straight.seconds)
        workers = children(process.pid)
        process.kill()
        process.wait()
        wait_until(
            lambda workers=workers: not any(map(status, workers)), "orphans end", LAST_BREATH
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Report:" in done.stdout
    assert_same(folder, straight.folder)
    assert measured(folder) == measured(straight.folder)
