"""The regret study: run its cells, merge them into docs/regret.json, write tables and figures.

    python benchmarks/regret.py run [--jobs 2] [--only "d_P 8"]   cells to runs/regret, resumable
    python benchmarks/regret.py merge                             runs/regret to docs/regret.json
    python benchmarks/regret.py write                             docs/regret.md and its figures

A cell that is there with the fingerprint of its setting is not run again. Every number of pairs is
`allroads.exact.regret.settings.SIZES`, and every rule of the verdicts is in `verdicts`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

from allroads.exact.regret.cell import run_cell
from allroads.exact.regret.settings import CELLS, SEEDS
from allroads.files import read_json, write_json

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "regret"


def path_of(name: str) -> Path:
    """Where a cell's own file is."""
    return RUNS / f"{name.replace(' ', '-')}.json"


def is_done(name: str) -> bool:
    """Whether the cell was run with its present setting."""
    path = path_of(name)
    return path.exists() and read_json(path)["fingerprint"] == CELLS[name].fingerprint


def run_one(name: str) -> tuple[str, float]:
    """Run a cell and write its file; says how many processor seconds it took."""
    start = time.process_time()
    cell = run_cell(CELLS[name], range(SEEDS))
    seconds = time.process_time() - start
    write_json(
        path_of(name),
        {"fingerprint": CELLS[name].fingerprint, "seconds": round(seconds, 1), **cell},
    )
    return name, seconds


def run(names: list[str], jobs: int) -> None:
    """Run what is not there yet."""
    RUNS.mkdir(parents=True, exist_ok=True)
    todo = [name for name in names if not is_done(name)]
    print(f"{len(todo)} of {len(names)} cells to run, {SEEDS} seeds each", flush=True)
    with multiprocessing.Pool(jobs) as pool:
        for count, (name, seconds) in enumerate(pool.imap_unordered(run_one, todo), 1):
            print(f"{count}/{len(todo)} {name}: {seconds:.0f} s", flush=True)


def main() -> None:
    """Read the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "merge", "write"])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=list(CELLS), action="append")
    args = parser.parse_args()
    if args.command == "run":
        run(args.only or list(CELLS), args.jobs)


if __name__ == "__main__":
    main()
