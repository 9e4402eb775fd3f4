"""Trackers show what metrics.jsonl holds, once each, and can neither change nor end anything."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

import allroads
from allroads import files
from allroads.lab import trackers
from allroads.lab.compare import prepare
from allroads.lab.config import CompareConfig
from allroads.lab.trackers import TRACKERS, TrackedRun, Wandb
from tests.lab import tiny
from tests.lab.tiny import measured, trained

ROADS = ["dpo"]


def needs(package: str) -> pytest.MarkDecorator:
    absent = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(absent, reason=f"{package} is not installed (extra 'track')")


def config(**changes: Any) -> CompareConfig:
    return tiny.config(roads=ROADS, **changes)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without any tracker. Do not write into it."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    allroads.compare(out=folder, config=config())
    return folder


def lines(folder: Path) -> dict[str, list[dict[str, float]]]:
    """metrics.jsonl of every stage job."""
    return {
        path.parent.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("checkpoints/*/metrics.jsonl"))
    }


def same_run(folder: Path, plain: Path) -> None:
    """Weights, logs and measurements, byte for byte."""
    assert trained(folder) == trained(plain)
    assert measured(folder) == measured(plain)


def figures(folder: Path) -> dict[str, float]:
    """What the summary must hold of the selected points, by hand from results.json."""
    out = {}
    for p in files.read_json(folder / "results.json")["points"]:
        if p["selected"]:
            out[f"{p['road']}/true reward"] = p["reward"]["value"]
            out[f"{p['road']}/kl"] = p["kl"]["value"]
            out[f"{p['road']}/length"] = p["length"]["value"]
    return out


class Killed(BaseException):
    """Not an Exception, as a signal would not be."""


def stop() -> None:
    raise Killed


def kill_after(steps: int, end: Callable[[], None] = stop) -> Any:
    """Stop the next training in the middle of everything, after this many optimiser steps."""
    count = 0

    def before_step(*args: object) -> None:
        nonlocal count
        count += 1
        if count > steps:
            end()

    return register_optimizer_step_pre_hook(before_step)


def apart(
    folder: Path,
    track: str,
    *,
    kill_at: int = 0,
    processes: int = 1,
    cwd: Path | None = None,
    **env: str,
) -> int | None:
    """Exit code of a comparison in a process of its own, which kills itself after some steps."""
    process = tiny.start_call(_apart, folder, track, kill_at, processes, cwd, env)
    process.join()
    return process.exitcode


def _apart(
    folder: Path, track: str, kill_at: int, processes: int, cwd: Path | None, env: dict[str, str]
) -> None:
    os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    torch.set_num_threads(1)
    if kill_at:
        kill_after(kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    allroads.compare(out=folder, config=config(track=track, processes=processes))


# A tracker made for the tests ---------------------------------------------------------------------


class Memory:
    """A server that keeps what a killed attempt sent, as a listening test can see it."""

    runs: dict[str, TrackedRun]
    told: dict[str, list[tuple[int, Mapping[str, float]]]]
    finished: list[str]

    def __init__(self, run: TrackedRun) -> None:
        self._name = run.name
        self.runs[run.name] = run
        self.told[run.name] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.told[self._name].append((step, dict(values)))

    def finish(self) -> None:
        self.finished.append(self._name)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> type[Memory]:
    """In the place of tensorboard."""
    Memory.runs, Memory.told, Memory.finished = {}, {}, []
    put(monkeypatch, Memory)
    return Memory


def put(monkeypatch: pytest.MonkeyPatch, begin: Any) -> None:
    row = replace(TRACKERS["tensorboard"], begin=begin, package="json")
    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", row)


def test_every_line_is_told_under_the_job_and_the_folder(
    memory: type[Memory], plain: Path, tmp_path: Path
):
    folder = tmp_path / "mine"
    allroads.compare(out=folder, config=config(track="tensorboard", track_project="ours"))
    same_run(folder, plain)
    (summary,) = [name for name in memory.told if name.startswith("summary-")]
    for job, expected in lines(folder).items():
        assert [{"step": step, **values} for step, values in memory.told[job]] == expected
        run = memory.runs[job]
        assert (run.group, run.project) == ("mine", "ours")
        assert (
            run.config["stage"]
            == files.read_json(folder / f"checkpoints/{job}/stage.json")["stage"]
        )
        assert (run.config["seed"], run.config["data"]) == (0, "the built-in world 'routes'")
    assert memory.told[summary] == [(0, figures(folder))]
    about = memory.runs[summary].config
    assert about["report"] == str(folder / "report.html")
    assert about["selected"].keys() == {"sft", "dpo"}
    assert sorted(memory.finished) == sorted([*lines(folder), summary])
    assert len({run.id for run in memory.runs.values()}) == len(memory.runs)


def test_no_kill_makes_a_step_appear_twice_or_go_missing(
    memory: type[Memory], plain: Path, tmp_path: Path
):
    """Killed in the middle of the first stage and again in a later one; checkpoints are rare."""
    folder = tmp_path / "run"
    chosen = config(track=("tensorboard",))
    ids: dict[str, str] = {}
    for steps in (5, 17):
        hook = kill_after(steps)
        try:
            with pytest.raises(Killed):
                allroads.compare(out=folder, config=chosen)
        finally:
            hook.remove()
        ids |= {name: run.id for name, run in memory.runs.items()}
    allroads.compare(out=folder, config=chosen)
    same_run(folder, plain)
    for job, expected in lines(folder).items():
        assert [{"step": step, **values} for step, values in memory.told[job]] == expected
    assert ids.items() <= {name: run.id for name, run in memory.runs.items()}.items()


def test_tracking_is_no_part_of_a_jobs_identity():
    silent = prepare(config()).plan.jobs
    assert list(prepare(config(track="tensorboard", track_project="x")).plan.jobs) == list(silent)


@pytest.mark.parametrize("moment", ["begin", "log", "finish"])
def test_a_failing_tracker_is_reported_once_and_ends_nothing(
    moment: str,
    memory: type[Memory],
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    class Broken(memory):
        def __init__(self, run: TrackedRun) -> None:
            super().__init__(run)
            if moment == "begin":
                raise ConnectionError("no\nnetwork")

        def log(self, step: int, values: Mapping[str, float]) -> None:
            if moment == "log" and step == 3:
                raise OSError("no network")

        def finish(self) -> None:
            if moment == "finish":
                raise TimeoutError("no network")

    put(monkeypatch, Broken)
    folder = tmp_path / "run"
    allroads.compare(out=folder, config=config(track="tensorboard"))
    same_run(folder, plain)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: --track tensorboard: no network; look whether the disk")
    assert "every line is in metrics.jsonl" in line
    assert len(memory.runs) == 1, "not tried again in this comparison"
    # The next call gives it a new chance.
    put(monkeypatch, memory)
    allroads.compare(out=folder, config=config(track="tensorboard"))
    assert any(name.startswith("summary-") for name in memory.told)


# Tensorboard --------------------------------------------------------------------------------------


@needs("tensorboard")
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_tensorboard_holds_metrics_jsonl_value_by_value(
    plain: Path, tmp_path: Path, processes: int
):
    """After a kill, read back with tensorboard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    assert apart(folder, "tensorboard", kill_at=9) == -signal.SIGKILL
    assert apart(folder, "tensorboard", processes=processes) == 0
    same_run(folder, plain)
    home = folder / "tracking" / "tensorboard"

    def curves(name: str) -> dict[str, list[tuple[int, float]]]:
        events = EventAccumulator(str(home / name), size_guidance={"scalars": 0})
        events.Reload()
        return {
            tag: [(point.step, point.value) for point in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }

    for job, rows in lines(folder).items():
        expected: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            for tag, value in row.items():
                if tag != "step":
                    point = (int(row["step"]), float(np.float32(value)))
                    expected.setdefault(tag, []).append(point)
        assert curves(job) == expected
    (summary,) = home.glob("summary-*")
    expected = {tag: [(0, float(np.float32(v)))] for tag, v in figures(folder).items()}
    assert curves(summary.name) == expected
    assert {path.name for path in home.iterdir()} == {*lines(folder), summary.name}


# Weights & Biases ---------------------------------------------------------------------------------


def records(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format behind seven bytes of its own."""
    data, at, held = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        held += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, last
            yield held
            held = b""


def history(path: Path) -> list[dict[str, float]]:
    from wandb.proto import wandb_internal_pb2 as proto

    out = []
    for raw in records(path):
        record = proto.Record.FromString(raw)
        if record.WhichOneof("record_type") == "history":
            row = {item.key or ".".join(item.nested_key): item for item in record.history.item}
            out.append({key: json.loads(item.value_json) for key, item in row.items()})
    return out


@pytest.mark.slow
@needs("wandb")
def test_wandb_offline_needs_no_account_and_stays_in_the_run_folder(plain: Path, tmp_path: Path):
    """In processes of their own, as users run it: killed once, then finished."""
    (tmp_path / "cwd").mkdir()
    env = {"WANDB_MODE": "offline", "WANDB_API_KEY": ""}
    env |= dict.fromkeys(("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"), str(tmp_path / "home"))
    folder = tmp_path / "run"
    for kill_at, code in ((9, -signal.SIGKILL), (0, 0)):
        assert apart(folder, "wandb", kill_at=kill_at, cwd=tmp_path / "cwd", **env) == code
    assert not list((folder / "tracking").glob("*.failed"))
    same_run(folder, plain)
    assert list((tmp_path / "cwd").iterdir()) == []
    offline = sorted((folder / "tracking" / "wandb").glob("offline-run-*"))
    assert len(offline) == len(lines(folder)) + 1, "one run a job, and the summary"
    found = [history(next(path.glob("run-*.wandb"))) for path in offline]
    by_hand = [
        [{key: float(value) for key, value in row.items() if key != "step"} for row in rows]
        for rows in lines(folder).values()
    ]
    shown = [
        [{k: float(v) for k, v in row.items() if not k.startswith("_")} for row in rows]
        for rows in found
    ]
    key = lambda rows: json.dumps(rows, sort_keys=True)  # noqa: E731
    assert sorted(map(key, shown)) == sorted(map(key, [*by_hand, [figures(folder)]]))
    for rows in found:
        assert [row["_step"] for row in rows] == list(range(len(rows)))


def fake_wandb(mode: str, *, logged_in: bool = True, held: int = 0) -> Any:
    """wandb's face: a server that already holds the first `held` steps of every run."""
    sent: list[int] = []
    asked: list[dict[str, Any]] = []

    def init(**options: Any) -> Any:
        asked.append(options)
        return SimpleNamespace(
            starting_step=held,
            log=lambda values, step: sent.append(step),
            finish=lambda: None,
        )

    return SimpleNamespace(
        setup=lambda: SimpleNamespace(settings=SimpleNamespace(mode=mode)),
        login=lambda **options: logged_in,
        Settings=dict,
        init=init,
        sent=sent,
        asked=asked,
    )


def a_run(folder: Path) -> TrackedRun:
    return TrackedRun("ab12", "job", "group", "project", {"seed": 0}, folder)


def test_a_resumed_wandb_run_is_sent_only_what_its_server_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = fake_wandb("online", held=3)
    monkeypatch.setitem(sys.modules, "wandb", server)
    left_over = tmp_path / "wandb" / "run-20260101_000000-ab12"
    left_over.mkdir(parents=True)
    tracker = Wandb(a_run(tmp_path))
    for step in range(5):
        tracker.log(step, {"loss": 1.0})
    tracker.finish()
    assert server.sent == [3, 4]
    (options,) = server.asked
    assert (options["id"], options["name"], options["group"]) == ("ab12", "job", "group")
    assert (options["resume"], options["dir"]) == ("allow", tmp_path)
    assert not left_over.exists()


def test_wandb_without_a_login_says_so_instead_of_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb("online", logged_in=False))
    with pytest.raises(ConnectionError, match="no account is logged in"):
        Wandb(a_run(tmp_path))
    assert "WANDB_MODE=offline" in TRACKERS["wandb"].advice


# Trackio ------------------------------------------------------------------------------------------


def _read_trackio(folder: Path, out: Path) -> None:
    os.environ["TRACKIO_DIR"] = str(folder / "tracking" / "trackio")
    trackio = importlib.import_module("trackio")
    store = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    runs = [run.name for run in trackio.Api().runs("allroads")]
    rows = {run: store.get_logs("allroads", run) for run in runs}
    out.write_text(json.dumps([runs, rows], default=str))


@needs("trackio")
def test_trackio_keeps_its_database_in_the_run_folder(plain: Path, tmp_path: Path):
    """In processes of their own: trackio knows one database a process."""
    folder = tmp_path / "run"
    for kill_at, code in ((9, -signal.SIGKILL), (0, 0)):
        assert apart(folder, "trackio", kill_at=kill_at) == code
    reading = tiny.start_call(_read_trackio, folder, tmp_path / "read.json")
    reading.join()
    same_run(folder, plain)
    runs, rows = files.read_json(tmp_path / "read.json")
    (summary,) = [name for name in runs if name.startswith("summary-")]
    assert sorted(runs) == sorted([*lines(folder), summary]), "each once"
    for job, expected in lines(folder).items():
        assert [
            {key: value for key, value in row.items() if key != "timestamp"} for row in rows[job]
        ] == expected
    assert {k: rows[summary][0][k] for k in figures(folder)} == figures(folder)
    assert list((folder / "tracking" / "trackio").glob("*.db"))
