"""The one runner: jobs in order, in worker processes, each once, resumable after any kill."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty
from typing import Any, Protocol

from allroads.errors import AllroadsError, RunFolderError
from allroads.lab import workers
from allroads.lab.config import CompareConfig
from allroads.lab.jobs import Job
from allroads.lab.settings import Settings

Event = tuple[str, str, int, int]
"""('progress' or 'done', job id, steps done, steps in all)."""


class Listener(Protocol):
    """Told what happens; the command line draws it."""

    def __call__(self, event: Event) -> None:
        """Take one event."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder; the lock goes with the process, however it ends.

    Raises:
        RunFolderError: when another process holds it, or when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be a run folder: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RunFolderError(
                f"{folder} is in use by process {holder}; wait for it, or choose another --out"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def run_jobs(
    jobs: dict[str, Job],
    folder: Path,
    config: CompareConfig,
    settings: Settings,
    listener: Listener,
    *,
    until: float = math.inf,
    latest: Mapping[str, float] | None = None,
    steadily: bool = False,
) -> None:
    """Do every job that is not done; returns when all are, or when the time is up.

    With one process the jobs run here; with more, in that many workers of `config.threads` threads
    each. The result does not depend on the number of processes. After `until` (of `time.monotonic`)
    no job is begun; those that run are finished. `latest` says so for each job by itself: one that
    cannot be begun in time is left, with all that needs it, and shorter ones still run. Several
    processes take the longest chains of jobs first, which ends soonest, or with `steadily` the
    plan's order, which leaves whole cells behind whenever it is stopped.

    Raises:
        AllroadsError: what a job raised; finished jobs stay finished.
    """
    from allroads.lab.execute import result_path

    done = {name for name, job in jobs.items() if result_path(folder, job).is_file()}
    for name in done:
        listener(("done", name, 1, 1))
    left = {name: job for name, job in jobs.items() if name not in done}
    if not left:
        return
    latest = dict.fromkeys(left, until) if latest is None else latest
    if config.processes == 1:
        _run_here(left, done, folder, config, settings, listener, latest)
    else:
        waiting = dict(left) if steadily else longest_chain_first(left)
        _run_in_pool(waiting, done, folder, config, settings, listener, latest)


def _run_here(
    left: dict[str, Job],
    done: set[str],
    folder: Path,
    config: CompareConfig,
    settings: Settings,
    listener: Listener,
    latest: Mapping[str, float],
) -> None:
    import torch

    from allroads.lab.execute import execute
    from allroads.lab.workshop import Workshop

    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    gc.freeze()  # See `_begin_worker`.
    try:
        shop = Workshop(folder, config, settings)
        for name, job in left.items():
            if time.monotonic() > latest[name] or not done.issuperset(job.needs):
                continue

            def progress(step: int, total: int, name: str = name) -> None:
                listener(("progress", name, step, total))

            with _job_lock(folder, name):
                execute(shop, job, progress)
            done.add(name)
            listener(("done", name, 1, 1))
    finally:
        torch.set_num_threads(before)
        gc.unfreeze()


def _run_in_pool(
    waiting: dict[str, Job],
    done: set[str],
    folder: Path,
    config: CompareConfig,
    settings: Settings,
    listener: Listener,
    latest: Mapping[str, float],
) -> None:
    context = workers.begin()
    events: Any = context.Queue()
    running: dict[Future[None], str] = {}
    with ProcessPoolExecutor(
        config.processes,
        mp_context=context,
        initializer=_begin_worker,
        initargs=(folder, config, settings, events),
    ) as pool:
        try:
            while waiting or running:
                _drop_late(waiting, {*done, *running.values()}, latest)
                for name in _ready(waiting, done, config.processes - len(running)):
                    running[pool.submit(_work, waiting.pop(name))] = name
                finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                _drain(events, listener)
                for future in finished:
                    name = running.pop(future)
                    future.result()
                    done.add(name)
                    listener(("done", name, 1, 1))
        except BrokenProcessPool as error:
            raise AllroadsError(
                "a worker process was killed (often: out of memory). Finished work is kept; run "
                "the same command again to go on, with --processes 1 if memory is short"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _stop(pool)
            raise


def longest_chain_first(jobs: dict[str, Job]) -> dict[str, Job]:
    """The jobs, those with the longest chain of followers first; otherwise in the plan's order.

    What a long chain waits for must not come last: the other processes would stand idle behind it.
    """
    chain = dict.fromkeys(jobs, 0)
    for name, job in reversed(jobs.items()):
        for need in job.needs:
            if need in chain:
                chain[need] = max(chain[need], chain[name] + 1)
    return dict(sorted(jobs.items(), key=lambda item: -chain[item[0]]))


def _drop_late(waiting: dict[str, Job], known: set[str], latest: Mapping[str, float]) -> None:
    """Forget what cannot be begun in time any more, and what needs it; `known` run or are done."""
    now = time.monotonic()
    for name in [name for name in waiting if now > latest[name]]:
        del waiting[name]
    while late := [n for n, job in waiting.items() if not {*known, *waiting} >= {*job.needs}]:
        for name in late:
            del waiting[name]


def _ready(waiting: dict[str, Job], done: set[str], free: int) -> list[str]:
    """Jobs that can start now, in order."""
    ready = [n for n, job in waiting.items() if all(need in done for need in job.needs)]
    return ready[: max(0, free)]


def _drain(events: Any, listener: Listener) -> None:
    while True:
        try:
            listener(events.get_nowait())
        except Empty:
            return


def _stop(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.terminate()


_work_one: Callable[[Job], None] | None = None
"""Set in each worker process by `_begin_worker`."""


def _begin_worker(folder: Path, config: CompareConfig, settings: Settings, events: Any) -> None:
    global _work_one
    os.environ["OMP_NUM_THREADS"] = str(config.threads)
    workers.end_with_parent()
    import torch

    torch.set_num_threads(config.threads)
    from allroads.lab.execute import execute
    from allroads.lab.workshop import Workshop

    # What was imported lives as long as the process. Walking through it for garbage takes a quarter
    # of a second each time, in all a twentieth of the work on small models.
    gc.freeze()
    shop = Workshop(folder, config, settings)
    last_told = 0.0

    def work(job: Job) -> None:
        def progress(step: int, total: int) -> None:
            nonlocal last_told
            now = time.monotonic()
            if now - last_told > 0.5:
                last_told = now
                events.put(("progress", job.id, step, total))

        with _job_lock(folder, job.id):
            execute(shop, job, progress)

    _work_one = work


def _work(job: Job) -> None:
    assert _work_one is not None
    _work_one(job)


@contextlib.contextmanager
def _job_lock(folder: Path, name: str) -> Iterator[None]:
    """Wait for a worker of a killed run to let go of this job."""
    path = folder / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
