"""`Results` -> one self-contained HTML page: no script, no request, all data escaped."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from allroads.records import NO_BETTER_THAN_A_COIN, Results
from allroads.report import figures, judge, numbers, reading, scorers, tables

_TEXT_LIMIT = 20_000
"""Characters of one prompt or answer that the page holds: the files hold the rest."""
_CONTROL = {c: "\N{REPLACEMENT CHARACTER}" for c in range(32) if chr(c) not in "\t\n\r"}
_STATES = {
    "decided": "Decided",
    "undecided": "Undecided",
    "no verdict": "No verdict",
}


def render(results: Results) -> str:
    """The whole page. A pure function: the same results give the same bytes."""
    environment = Environment(
        loader=PackageLoader("allroads.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clipped"] = clipped
    environment.filters["tight"] = tight
    environment.filters["number"] = numbers.number
    page = environment.get_template("page.html.j2").render(_view(results))
    page = page.translate(_CONTROL)
    return page.encode("utf-8", "replace").decode("utf-8")


def write(results: Results, path: str | os.PathLike[str]) -> Path:
    """Render into `path` at once: a reader, or a kill, finds the old page or the new one."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    page = render(results).encode("utf-8")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return target


def clipped(text: str) -> str:
    """`text`, cut with a count of what is missing where it is too long for a page."""
    if len(text) <= _TEXT_LIMIT:
        return text
    return f"{text[:_TEXT_LIMIT]}… ({numbers.count(len(text) - _TEXT_LIMIT)} more characters)"


def tight(text: str) -> str:
    """`text` with its per cent signs kept on the line of their numbers."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


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
