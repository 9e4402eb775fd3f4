"""Services that draw metrics while they come: wandb, tensorboard and trackio, behind one Protocol.

A tracker's run is a copy of `metrics.jsonl`. Each attempt at a job tells its tracker all lines from
the first on, those that a resume kept included: a local tracker begins its run anew, a server that
holds a beginning is sent what it lacks. So no kill makes a step appear twice or go missing.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_PATIENCE = 30.0
"""Seconds that a server may take to open a run, or to receive the rest of one."""


@dataclass(frozen=True)
class TrackedRun:
    """What is sent as one run of a tracker.

    Attributes:
        id: the same for every attempt at the same work, unlike any other; letters and digits.
        name: what a reader sees; also a folder's name.
        group: the runs that belong together.
        project: of the tracker.
        config: plain facts, shown beside the run.
        folder: where everything that stays on this machine goes.
    """

    id: str
    name: str
    group: str
    project: str
    config: Mapping[str, Any]
    folder: Path


class Tracker(Protocol):
    """One open run; any method may raise what its service raises."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send one step; steps rise."""

    def finish(self) -> None:
        """No more steps."""


class Tensorboard:
    """Event files in `tensorboard/<name>`; they hold single precision."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / "tensorboard" / run.name
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder), flush_secs=10)
        facts = json.dumps({"group": run.group, **run.config}, indent=1, default=str)
        self._writer.add_text("config", f"```json\n{facts}\n```", 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Flush and close the files."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases; with WANDB_MODE=offline only files in `wandb/`, to be synced."""

    def __init__(self, run: TrackedRun) -> None:
        # By name: the package is an extra, which type checkers need not have.
        wandb = importlib.import_module("wandb")
        run.folder.mkdir(parents=True, exist_ok=True)
        for before in (run.folder / "wandb").glob(f"*run-*-{run.id}"):
            shutil.rmtree(before)
        offline = wandb.setup().settings.mode in ("offline", "dryrun", "disabled")
        # Never a prompt: nobody may be there to answer it.
        if not offline and not wandb.login(prompt=False, verify=False):
            raise ConnectionError("no account is logged in")
        self._run = wandb.init(
            project=run.project,
            group=run.group,
            name=run.name,
            id=run.id,
            config=json.loads(json.dumps(run.config, default=str)),
            dir=run.folder,
            resume=None if offline else "allow",
            reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=_PATIENCE, finish_timeout=_PATIENCE
            ),
        )
        self._first = self._run.starting_step

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One line of history, unless the server has it from an attempt that was killed."""
        if step >= self._first:
            self._run.log(dict(values), step=step)

    def finish(self) -> None:
        """Wait for the upload, for a while."""
        self._run.finish()


class Trackio:
    """A run in the database in `trackio/`; a killed attempt's run is deleted first."""

    def __init__(self, run: TrackedRun) -> None:
        home = run.folder / "trackio"
        home.mkdir(parents=True, exist_ok=True)
        if "trackio" not in sys.modules:
            os.environ["TRACKIO_DIR"] = str(home)
        trackio = self._trackio = importlib.import_module("trackio")
        known = importlib.import_module("trackio.utils").TRACKIO_DIR
        if Path(known) != home:
            raise RuntimeError(
                f"this process keeps its database in {known}, and trackio knows only "
                "one; start a new process for another run folder"
            )
        with contextlib.redirect_stdout(io.StringIO()):
            for before in trackio.Api().runs(run.project) if any(home.glob("*.db")) else ():
                if before.name == run.name:
                    before.delete()
            self._run = trackio.init(
                project=run.project,
                name=run.name,
                group=run.group,
                config=json.loads(json.dumps(run.config, default=str)),
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row of the database."""
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        """Write what is queued."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._trackio.finish()


@dataclass(frozen=True)
class Service:
    """One row of the table of trackers.

    Attributes:
        begin: opens a run.
        package: what must be installed.
        advice: what to do when it fails.
        look: where the runs are seen afterwards; `{home}` is the tracking folder.
    """

    begin: Callable[[TrackedRun], Tracker]
    package: str
    advice: str
    look: str


TRACKERS: dict[str, Service] = {
    "wandb": Service(
        Wandb,
        "wandb",
        "log in with `wandb login` or WANDB_API_KEY, or keep files only with WANDB_MODE=offline",
        "wandb: project {project}, group {group}; after WANDB_MODE=offline: "
        "wandb sync {home}/wandb/offline-run-*",
    ),
    "tensorboard": Service(
        Tensorboard,
        "tensorboard",
        "look whether the disk is full",
        "tensorboard --logdir {home}/tensorboard",
    ),
    "trackio": Service(
        Trackio,
        "trackio",
        "look whether the disk is full",
        "TRACKIO_DIR={home}/trackio trackio show --project {project}",
    ),
}
