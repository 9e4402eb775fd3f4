"""`Results` -> one self-contained HTML page: no script, no request, all data escaped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from allroads.records import NO_BETTER_THAN_A_COIN, Results
from allroads.report import figures, html, judge, numbers, reading, scorers, tables

_STATES = {
    "decided": "Decided",
    "undecided": "Undecided",
    "no verdict": "No verdict",
}


def render(results: Results) -> str:
    """The whole page. A pure function: the same results give the same bytes."""
    return html.fill("page.html.j2", _view(results))


def write(results: Results, path: str | os.PathLike[str]) -> Path:
    """Render into `path` at once: a reader, or a kill, finds the old page or the new one."""
    return html.save(render(results), path)


def _view(results: Results) -> dict[str, Any]:
    state = reading.state(results)
    return {
        "r": results,
        "state": state.replace(" ", "-"),
        "state_word": _STATES[state],
        "sizes": tables.usual_size(results),
        "differences": figures.differences(results),
        "frontier": figures.frontier(results),
        "overoptimisation": figures.overoptimisation(results),
        "accuracy": scorers.accuracy(results),
        "reliability": scorers.reliability(results),
        "roads": tables.of_roads(results),
        "reward_models": tables.of_reward_models(results),
        "judged": judge.of_verdicts(results.judge) if results.judge else None,
        "judge_failures": judge.of_failures(results.judge) if results.judge else None,
        "no_better_than_a_coin": NO_BETTER_THAN_A_COIN,
        "audit": tables.of_audit(results),
        "ledger": tables.of_ledger(results),
        "stages": tables.of_stages(results),
        "trials": _trials(results),
        "kinds": {row.kind for row in results.reward_models},
        "outside": [c.road for c in results.comparisons if c.labeller == "outside"],
        "margin": _margin(results),
    }


def _trials(results: Results) -> str:
    """How many settings each road was given, for example `3 settings for each road`."""
    sizes = {
        road: len(reading.last(reading.of_road(results, road))) for road in reading.roads(results)
    }
    if not sizes:
        return ""
    if len(set(sizes.values())) == 1:
        size = next(iter(sizes.values()))
        return f"{size} setting{'' if size == 1 else 's'} for each road"
    return ", ".join(f"{road} {size}" for road, size in sizes.items())


def _margin(results: Results) -> str:
    """The margin below which a difference counts as none; '' when there is none or several."""
    margins = {c.margin for c in results.comparisons}
    return numbers.number(margins.pop()) if len(margins) == 1 else ""
