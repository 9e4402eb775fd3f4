"""What of a comparison goes to which tracker, and that a tracker's failure ends nothing.

Each stage job is one run, named by the job, in the group of the run folder; the final figures are
one more. Tracking is no part of any job's identity and changes no result.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from allroads.errors import ConfigError
from allroads.lab.config import CompareConfig
from allroads.lab.folder import read_manifest
from allroads.lab.jobs import Job, fingerprint
from allroads.lab.settings import Settings
from allroads.lab.trackers import TRACKERS, TrackedRun, Tracker
from allroads.records import Results

HOME = "tracking"
"""Where trackers keep their files, below the run folder."""
Tell = Callable[[Mapping[str, float]], None]
"""Takes one line of metrics.jsonl."""


def check(config: CompareConfig) -> None:
    """Refuse a tracker whose package is not there, before anything is trained.

    Raises:
        ConfigError: naming the package and how to install it.
    """
    for kind in config.track:
        package = TRACKERS[kind].package
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"--track {kind} needs the package {package}: pip install 'allroads[track]'"
            )


def begin(folder: Path) -> None:
    """Forget the failures of an earlier call: every tracker gets a new chance."""
    for mark in (folder / HOME).glob("*.failed"):
        mark.unlink()


@contextlib.contextmanager
def tracked(
    folder: Path, config: CompareConfig, name: str, about: Mapping[str, Any]
) -> Iterator[Tell]:
    """What sends lines to every chosen tracker as the run `name`; it never raises."""
    if not config.track:
        yield lambda line: None
        return
    run = TrackedRun(
        id=_identity(folder, name),
        name=name,
        group=folder.resolve().name,
        project=config.track_project,
        config=about,
        folder=folder.resolve() / HOME,
    )
    guarded = [_Guarded(kind, run) for kind in config.track]

    def tell(line: Mapping[str, float]) -> None:
        values = {key: value for key, value in line.items() if key != "step"}
        for one in guarded:
            one.attempt(lambda tracker: tracker.log(int(line["step"]), values))

    try:
        yield tell
    finally:
        for one in guarded:
            one.attempt(lambda tracker: tracker.finish())


def _identity(folder: Path, name: str) -> str:
    """Equal after a kill and in no other run folder."""
    return fingerprint([folder.resolve().name, read_manifest(folder)["created"], name])[:16]


class _Guarded:
    """A tracker that is given up, with one warning, when anything in it fails."""

    def __init__(self, kind: str, run: TrackedRun) -> None:
        self._kind, self._run = kind, run
        self._mark = run.folder / f"{kind}.failed"
        self._tracker: Tracker | None = None
        if not self._mark.exists():
            try:
                self._tracker = TRACKERS[kind].begin(run)
            # Whatever a foreign package does, the comparison goes on.
            except Exception as error:
                self._give_up(error)

    def attempt(self, action: Callable[[Tracker], None]) -> None:
        """Do it, unless this tracker was given up."""
        if self._tracker is None:
            return
        try:
            action(self._tracker)
        except Exception as error:
            self._tracker = None
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._mark.open("x", encoding="utf-8") as file:
                file.write(reason + "\n")
        except FileExistsError:
            return
        sys.stderr.write(
            f"warning: --track {self._kind}: {reason}; {TRACKERS[self._kind].advice}. Training "
            "goes on without it; nothing is lost: every line is in metrics.jsonl\n"
        )
        sys.stderr.flush()


def about_stage(job: Job, settings: Settings) -> dict[str, Any]:
    """What a reader of a stage's curves wants beside them."""
    return {
        "stage": job.spec["stage"],
        "links": job.spec["links"],
        "split": job.spec["split"],
        "seed": job.seed,
        "data": settings.data_label,
        "model": settings.model_label,
    }


def send_summary(folder: Path, config: CompareConfig, results: Results) -> None:
    """The final figures of a comparison as one more run; other figures are another run."""
    figures: dict[str, float] = {}
    chosen: dict[str, str] = {}
    for point in results.points:
        if not point.selected:
            continue
        setting = "" if point.value is None else f"{point.knob} {point.value:g}, "
        chosen[point.road] = f"{setting}{point.fraction:.0%} of the training"
        for name, mean in (
            (results.metric.name, point.reward),
            ("kl", point.kl),
            ("length", point.length),
        ):
            figures[f"{point.road}/{name}"] = mean.value
            if mean.low is not None and mean.high is not None:
                figures[f"{point.road}/{name} (low)"] = mean.low
                figures[f"{point.road}/{name} (high)"] = mean.high
    about = {
        "selected": chosen,
        "verdict": results.verdict.headline,
        "report": str((folder / "report.html").resolve()),
        "seeds": list(results.seeds),
        "data": results.data,
        "model": results.model,
    }
    # A server does not replace a step that it holds, so a comparison that has grown gets a new run.
    for before in (folder / HOME / "tensorboard").glob("summary-*"):
        shutil.rmtree(before)
    name = f"summary-{fingerprint([figures, about])[:8]}"
    with tracked(folder, config, name, about) as tell:
        tell({"step": 0, **figures})


def where_to_look(folder: Path, config: CompareConfig) -> list[str]:
    """One line for each tracker that did not fail: how its runs are seen."""
    home = folder / HOME
    places = {
        "home": shlex.quote(str(home)),
        "project": shlex.quote(config.track_project),
        "group": shlex.quote(folder.resolve().name),
    }
    return [
        TRACKERS[kind].look.format(**places)
        for kind in config.track
        if not (home / f"{kind}.failed").exists()
    ]
