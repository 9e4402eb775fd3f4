"""What the command line prints: the plan, progress with time left; plain lines off a terminal."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from allroads.records import NO_BETTER_THAN_A_COIN

if TYPE_CHECKING:
    from allroads.findings import Finding
    from allroads.lab.compare import Prepared
    from allroads.lab.estimate import Tokens
    from allroads.lab.runner import Event
    from allroads.records import Duels, Judgement

_PLAIN_EVERY = 15.0
"""Seconds between two lines about the same job, off a terminal."""


def duration(seconds: float) -> str:
    """Readable time."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def count(number: float) -> str:
    """A number with a unit prefix."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def plan_lines(
    prepared: Prepared, costs: dict[str, tuple[Tokens, float]], done: set[str]
) -> list[str]:
    """The plan as a table: what is trained, sampled and judged, and how long it may take."""
    from allroads.lab import outside
    from allroads.lab.jobs import chosen_roads

    config, settings, jobs = prepared.config, prepared.settings, prepared.plan.jobs
    roads = chosen_roads(config, settings.recipe)
    groups: dict[str, list[str]] = {}
    for name, job in jobs.items():
        label = name.rsplit("-", 2)[0]
        groups.setdefault(f"{job.kind}: {label}" if job.kind == "stage" else job.kind, []).append(
            name
        )
    lines = [
        f"Data   {settings.data_label}",
        f"Model  {settings.model_label}",
        f"Roads  {', '.join(config.roads)}",
        f"Cells  {len(config.seeds)} seeds, beta {_list(config.betas)}, N {_list(config.ns)}; "
        f"{len(jobs)} jobs in {config.processes} processes of {config.threads} thread(s)",
        *(f"Note   {note}" for note in (*settings.model_notes, *outside.notes(config, roads))),
        "",
        f"{'stage':<38}{'jobs':>5}{'tokens trained':>16}{'sampled':>10}{'scored':>10}{'time':>10}",
    ]
    for label, names in groups.items():
        tokens = [costs[name][0] for name in names]
        left = [costs[name][1] for name in names if name not in done]
        lines.append(
            f"{label.removeprefix('stage: '):<38}{len(names):>5}"
            f"{count(sum(t.trained for t in tokens)):>16}"
            f"{count(sum(t.sampled for t in tokens)):>10}"
            f"{count(sum(t.scored for t in tokens)):>10}"
            f"{duration(sum(left)) if left else 'done':>10}"
        )
    total = sum(seconds for name, (_, seconds) in costs.items() if name not in done)
    asked = sum(tokens.asked for name, (tokens, _) in costs.items() if name not in done)
    apart = f", and up to {count(asked)} requests to the judge" if asked else ""
    lines += ["", f"Estimated time: {duration(total / config.processes)}{apart}"]
    return lines


def _list(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)


def judge_lines(judge: Judgement) -> list[str]:
    """What a judge said: its agreement with the labels first, then road by road."""
    lines = [f"Judge {judge.model}, agreement with the labels: {_duels(judge.people.duels)}"]
    if not judge.better_than_a_coin:
        lines.append(NO_BETTER_THAN_A_COIN)
    lines += ["", f"Preferred to {judge.start}, a tie counts half"]
    for row in judge.roads:
        setting = "" if row.value is None else f" {row.knob} {row.value:g}"
        lines.append(f"  {row.road + setting:<36}{_duels(row.duels)}")
    return lines


def _duels(duels: Duels) -> str:
    failed = ", ".join(f"{f.count} {f.reason}" for f in duels.failures)
    counts = f"{duels.wins} won, {duels.ties} tied, {duels.losses} lost" + (
        f"; left out: {failed}" if failed else ""
    )
    if duels.share is None:
        return f"not measured ({counts})"
    return f"{duels.share.value:.3f} [{duels.share.low:.3f}, {duels.share.high:.3f}] ({counts})"


def claim_lines(finding: Finding, place: str) -> list[str]:
    """One claim as a table: both sides of each variant, their gap, and whether it should be 0."""
    lines = [
        f"{place} {finding.name}",
        *textwrap.wrap(finding.statement, 96, initial_indent="  ", subsequent_indent="  "),
        f"  {'premise':<9}{'variant':<52}{'left':>11}    {'right':<11}{'gap':>8}",
    ]
    for check in finding.checks:
        premise = "kept" if check.premise else "broken"
        lines.append(
            f"  {premise:<9}{check.variant:<52}{check.left:>11.5g}{check.sign:>3} "
            f"{check.right:<11.5g}{check.gap:>8.1e}"
            + ("" if check.expected else "  NOT AS EXPECTED")
        )
    return [*lines, ""]


def claims_verdict(findings: Sequence[Finding]) -> str:
    """All claims in one sentence."""
    checks = [check for finding in findings for check in finding.checks]
    kept = [check for check in checks if check.premise]
    wrong = [
        f"{finding.name}: {check.variant}"
        for finding in findings
        for check in finding.checks
        if not check.expected
    ]
    if wrong:
        return f"{len(wrong)} of {len(checks)} checks are not as expected: {'; '.join(wrong)}"
    return (
        f"{len(findings)} claim{'' if len(findings) == 1 else 's'}: {len(kept)} checks agree where "
        f"the premise holds, {len(checks) - len(kept)} differ where it is broken."
    )


class Counted:
    """Follows a count of equal pieces."""

    def __init__(self, what: str) -> None:
        self._what, self._told, self._since = what, 0.0, time.monotonic()
        self._live, self._before = sys.stderr.isatty(), -1

    def __call__(self, done: int, total: int) -> None:
        """Take the count."""
        now = time.monotonic()
        if self._before < 0:
            self._before = done
        if done < total and now - self._told < (0.2 if self._live else _PLAIN_EVERY):
            return
        self._told = now
        text = f"{done} of {total} {self._what}"
        if done > self._before and done < total:
            left = (total - done) * (now - self._since) / (done - self._before)
            text += f", about {duration(left)} left"
        end = "\n" if done == total or not self._live else ""
        sys.stderr.write(("\r\x1b[K" if self._live else "") + text + end)
        sys.stderr.flush()


class Progress:
    """Follows jobs; knows how much of the estimated work is left."""

    def __init__(self, seconds: dict[str, float], processes: int) -> None:
        self._seconds, self._processes = seconds, processes
        self._part = dict.fromkeys(seconds, 0.0)
        self._since = time.monotonic()
        self._before = 0.0
        self._told: dict[str, float] = {}
        self._live = sys.stderr.isatty()
        self._started = False

    def __call__(self, event: Event) -> None:
        """Take an event of the runner."""
        kind, name, step, total = event
        now = time.monotonic()
        self._part[name] = step / max(1, total)
        finished = sum(part >= 1 for part in self._part.values())
        if kind == "done" and not self._started and now - self._since < 1e-3 * len(self._part):
            # Jobs of an earlier run are reported at once, before any work.
            self._before = self._work()
            return
        self._started = True
        left = self._left(now)
        head = f"[{finished}/{len(self._part)}]"
        if kind == "done":
            self._line(f"{head} {name} done{left}", final=True)
        elif self._live:
            self._line(f"{head} {name} {step}/{total}{left}", final=False)
        elif now - self._told.setdefault(name, now) > _PLAIN_EVERY:
            self._told[name] = now
            self._line(f"{head} {name} step {step} of {total}{left}", final=True)

    def _work(self) -> float:
        return sum(self._seconds[name] * part for name, part in self._part.items())

    def _left(self, now: float) -> str:
        done = self._work() - self._before
        remaining = sum(self._seconds.values()) - self._before - done
        elapsed = now - self._since
        if done <= 0 or elapsed < 3:
            return f", about {duration(remaining / self._processes)} left"
        return f", about {duration(remaining * elapsed / done)} left"

    def _line(self, text: str, *, final: bool) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K" + text + ("\n" if final else ""))
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()
