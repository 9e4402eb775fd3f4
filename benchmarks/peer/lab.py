"""Our side of `throughput.py`: a comparison through the runner, and its seconds by kind of job.

python -m peer.lab ASKED.json OUT.json
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path


def kind_of(job: object) -> str:
    """The row of the table that a job belongs to."""
    kind, name = job.kind, job.spec.get("stage", {}).get("name", "")  # type: ignore[attr-defined]
    if kind == "stage":
        return "reward model" if name in ("reward-model", "selection-scorer") else name
    return {"evaluate": "evaluation"}.get(kind, kind)


def main() -> None:
    """Run it as the command line does; with one process the seconds by kind are its own."""
    asked = json.loads(Path(sys.argv[1]).read_text())
    from allroads.lab import workers

    if asked["config"]["processes"] > 1:
        workers.begin()
    from allroads.lab.compare import compare, prepare
    from allroads.lab.config import build_config

    prepared = prepare(build_config(asked["config"]))
    kinds: dict[str, float] = defaultdict(float)
    last = time.process_time()

    def listen(event: tuple[str, str, int, int]) -> None:
        nonlocal last
        if event[0] == "done":
            now = time.process_time()
            kinds[kind_of(prepared.plan.jobs[event[1]])] += now - last
            last = now

    compare(prepared, Path(asked["run"]), listen, "benchmark")
    cells = len(prepared.plan.cells)
    Path(sys.argv[2]).write_text(json.dumps({"cells": cells, "kinds": kinds}))


if __name__ == "__main__":
    main()
