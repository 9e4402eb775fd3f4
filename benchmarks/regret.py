"""The regret study: run its cells, merge them into docs/regret.json, write tables and figures.

    python benchmarks/regret.py run [--jobs 2] [--only "d_P 8"]   cells to runs/regret, resumable
    python benchmarks/regret.py merge                             runs/regret to docs/regret.json
    python benchmarks/regret.py write                             docs/regret.md and its figures

A cell that is there with the fingerprint of its setting is not run again. Every number of pairs is
`allroads.exact.regret.settings.SIZES`, and every rule of the verdicts is in `verdicts`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from allroads.exact.regret.cell import run_cell
from allroads.exact.regret.curves import Cell, NotRunError, Results, mean_regret
from allroads.exact.regret.settings import CELLS, SEEDS, SIZES
from allroads.exact.regret.tables import fill
from allroads.exact.regret.verdicts import (
    DIMENSION,
    HORIZON,
    POSITIONS,
    dimensions,
    ratio_of,
)
from allroads.files import read_json, write_indented_json, write_text

matplotlib.use("Agg")

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "regret"
RESULTS = ROOT / "docs" / "regret.json"
PAGE = ROOT / "docs" / "regret.md"
INK = {"simple": "#1b6ca8", "token": "#c8553d", "inside": "#1b6ca8", "table": "#6b6b6b"}


def path_of(name: str) -> Path:
    """Where a cell's own file is."""
    return RUNS / f"{name.replace(' ', '-')}.json"


def is_done(name: str) -> bool:
    """Whether the cell was run with its present setting and number of seeds."""
    path = path_of(name)
    if not path.exists():
        return False
    cell = read_json(path)
    return cell["fingerprint"] == CELLS[name].fingerprint and len(cell["code"]) == SEEDS


def run_one(name: str) -> tuple[str, float]:
    """Run a cell and write its file; says how many processor seconds it took."""
    start = time.process_time()
    cell = run_cell(CELLS[name], range(SEEDS))
    seconds = time.process_time() - start
    write_indented_json(
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


def merge() -> None:
    """The cells that are done, one line each: changes of the committed file can be read."""
    cells = {name: read_json(path_of(name)) for name in CELLS if is_done(name)}
    lines = [f"{json.dumps(n)}: {json.dumps(c, separators=(',', ':'))}" for n, c in cells.items()]
    write_text(RESULTS, "{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(cells)} of {len(CELLS)} cells")


def write() -> None:
    """The page's numbers and its figure, from the merged file alone."""
    cells = Results(read_json(RESULTS))
    write_text(PAGE, fill(PAGE.read_text(encoding="utf-8"), cells))
    try:
        figure(cells)
    except NotRunError as missing:
        print(f"no figure yet: it needs the cell {missing}")


def figure(cells: Results) -> None:
    """Regret against pairs, the data ratio against its prediction, and where it turns round."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    centre, ratios, outside, blind = axes.ravel()
    _curves(
        centre, cells["centre"], {"simple": "(c) reward + soft RL", "token": "(a') DPO, d_P = 16"}
    )
    centre.plot(SIZES[::2], mean_regret(cells["centre"], "table")[0], "s-", color=INK["table"],
                ms=3, label="(a) DPO, table")  # fmt: skip
    centre.set_title("Centre")
    _curves(outside, cells["outside 0.5"], {"simple": "(c), misses half", "token": "(a')"})
    outside.set_title("The reward class misses the truth")
    _curves(blind, cells["blind policy"], {"token": "(a')", "inside": "(c') RL inside the class"})
    floor = np.mean(cells["blind policy"]["inside_floor"]) * 1e-6
    blind.axhline(floor, color="0.5", lw=0.8, ls=":", label="best of the class")
    blind.set_title("The policy class misses the truth")
    for axis in (centre, outside, blind):
        axis.set(xscale="log", yscale="log", xlabel="pairs", ylabel="mean regret")
        axis.legend(frameon=False, fontsize=8)
    _against_prediction(ratios, cells)
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)


def _curves(axis: Axes, cell: Cell, names: dict[str, str]) -> None:
    for name, label in names.items():
        curve = mean_regret(cell, name)
        low, high = np.quantile(curve[1:], [0.025, 0.975], axis=0)
        axis.plot(SIZES, curve[0], "o-", ms=3, color=INK[name], label=label)
        axis.fill_between(SIZES, low, high, color=INK[name], alpha=0.2, lw=0)


def _against_prediction(axis: Axes, cells: Results) -> None:
    groups = {"d_P and d_R": DIMENSION, "horizon, d_P = d_R H": POSITIONS, "horizon alone": HORIZON}
    for mark, (label, names) in zip("osd", groups.items(), strict=True):
        found = np.array([ratio_of(cells, name) for name in names])
        share = [dimensions(name)[0] / dimensions(name)[1] for name in names]
        bars = [found[:, 0] - found[:, 1], found[:, 2] - found[:, 0]]
        axis.errorbar(share, found[:, 0], bars, fmt=mark, ms=4, capsize=2, lw=1, label=label)
    axis.plot([0.4, 10], [0.4, 10], color="0.5", lw=0.8, ls=":", label="d_P / d_R")
    axis.set(xscale="log", yscale="log", xlabel="d_P / d_R", ylabel="n_a' / n_c at equal regret")
    axis.set_title("Data ratio")
    axis.legend(frameon=False, fontsize=8)


def main() -> None:
    """Read the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "merge", "write"])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=list(CELLS), action="append")
    args = parser.parse_args()
    if args.command == "run":
        run(args.only or list(CELLS), args.jobs)
    else:
        {"merge": merge, "write": write}[args.command]()


if __name__ == "__main__":
    main()
