"""Jobs that would end too late are left, with all that stands on them; shorter ones still run."""

from __future__ import annotations

import math

from allroads.lab import runner
from allroads.lab.jobs import Job

LONG, SHORT, AFTER_LONG, AFTER_BOTH = "long", "short", "after long", "after both"


def job(name: str, *needs: str) -> Job:
    return Job(name, "scorer", 0, needs, {})


def jobs() -> dict[str, Job]:
    rows = (job(LONG), job(SHORT), job(AFTER_LONG, LONG), job(AFTER_BOTH, AFTER_LONG, SHORT))
    return {one.id: one for one in rows}


def latest(**changes: float) -> dict[str, float]:
    return {name: changes.get(name.replace(" ", "_"), math.inf) for name in jobs()}


def test_what_stands_on_a_late_job_is_left_too():
    waiting = jobs()
    runner._drop_late(waiting, set(), latest(long=-1.0))
    assert list(waiting) == [SHORT]


def test_what_runs_already_is_waited_for():
    waiting = jobs()
    del waiting[LONG]
    runner._drop_late(waiting, {LONG}, latest(long=-1.0))
    assert list(waiting) == [SHORT, AFTER_LONG, AFTER_BOTH]
