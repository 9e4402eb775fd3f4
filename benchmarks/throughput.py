"""Cells per hour of the demo's comparison: our runner against one plain script, on the same cores.

    .venv/bin/python benchmarks/throughput.py [--quick] [--json FILE] [--write docs/performance.md]

A cell is one road at one setting with one seed, trained and evaluated. In turn, each side in
processes of its own, from the start of its interpreter to its last result:

- ours: `allroads compare --world routes`, two worker processes of one thread;
- plain, two threads: `peer/plain.py`, one process;
- plain, two processes (not with `--quick`): the same over the seeds, one thread each.

Then both sides in one process of one thread, for processor time by kind of job; and the losses
and gradients of both sides' first steps on the same rows (`peer/agreement.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = (
    *("sft", "pairs", "reward model", "dpo", "online-dpo", "rloo"),
    *("best-of-n", "scorer", "evaluation"),
)


def demo(asked: argparse.Namespace) -> dict[str, Any]:
    """The comparison, as a configuration holds it."""
    if asked.quick:
        return {"world": "routes", "seeds": [0], "betas": [0.7], "ns": [4]}
    return {"world": "routes", "seeds": list(range(asked.seeds))}


def spent(commands: list[list[str]], threads: int) -> dict[str, float]:
    """Wall and processor seconds of processes that run side by side, their children included."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": path_with_peers(),
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    before, since = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr)
        for command in commands
    ]
    if any(process.wait() for process in running):
        raise SystemExit(f"failed: {commands}")
    wall = time.perf_counter() - since
    reap()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu}


def adopt() -> None:
    """Become the parent of what a child leaves behind: our fork server, which ends after it."""
    set_child_subreaper = 36
    ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def reap() -> None:
    """Wait for all that is left, so that its time is counted."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def ours(config: dict[str, Any], folder: Path) -> dict[str, float]:
    """Our runner on two cores."""
    out, asked = folder / "ours.json", folder / "ours-asked.json"
    asked.write_text(json.dumps({"config": config, "run": str(folder / "run")}))
    took = spent([[sys.executable, "-m", "peer.lab", str(asked), str(out)]], 1)
    return {**took, **json.loads(out.read_text())}


def plain(config: dict[str, Any], folder: Path, processes: int, threads: int) -> dict[str, Any]:
    """The plain script; the seeds dealt to its processes."""
    commands, outs = [], []
    for i in range(processes):
        asked, out = folder / f"plain-asked-{i}.json", folder / f"plain-{i}.json"
        part = {**config, "seeds": config["seeds"][i::processes]}
        asked.write_text(json.dumps({"config": part, "threads": threads}))
        commands.append([sys.executable, "-m", "peer.plain", str(asked), str(out)])
        outs.append(out)
    took = spent(commands, threads)
    found = [json.loads(out.read_text()) for out in outs]
    kinds = {kind: sum(one["kinds"].get(kind, 0.0) for one in found) for kind in KINDS}
    return {**took, "cells": sum(one["cells"] for one in found), "kinds": kinds}


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Every run, in turn."""
    config = demo(asked)
    sides: dict[str, Any] = {
        "ours": lambda folder: ours({**config, "processes": 2}, folder),
        "plain, two threads": lambda folder: plain(config, folder, 1, 2),
    }
    if len(config["seeds"]) > 1:
        sides["plain, two processes"] = lambda folder: plain(config, folder, 2, 1)
    single = {
        "ours": lambda folder: ours({**config, "processes": 1}, folder),
        "plain": lambda folder: plain(config, folder, 1, 1),
    }
    out: dict[str, Any] = {"config": config, "two": {}, "one": {}}
    for kind, table in (("two", sides), ("one", single)):
        if kind not in asked.parts.split(","):
            continue
        for repeat in range(asked.repeats):
            for name, run in table.items():
                with tempfile.TemporaryDirectory() as folder:
                    out[kind].setdefault(name, []).append(run(Path(folder)))
                print(f"{kind} core(s), {name}, repeat {repeat + 1}: done", file=sys.stderr)
    if "agreement" in asked.parts.split(","):
        done = subprocess.run(
            [sys.executable, "-m", "peer.agreement"],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path_with_peers()},
            check=True,
            capture_output=True,
            text=True,
        )
        out["agreement"] = json.loads(done.stdout.splitlines()[-1])
    return out


def path_with_peers() -> str:
    """Where the peers' modules are found."""
    return os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])


def middle(runs: list[dict[str, Any]], name: str) -> float:
    """Median over the repeats."""
    return statistics.median(run[name] for run in runs)


def tables(found: dict[str, Any]) -> str:
    """All of it as Markdown."""
    lines = []
    if found["two"]:
        lines += [
            "| two cores | cells | cells an hour | ours / this | a processor hour | ours / this |"
        ]
        lines += ["|---|---|---|---|---|---|"]
        own = found["two"]["ours"]
        for name, runs in found["two"].items():
            cells = runs[0]["cells"]
            rates = [3600 * cells / middle(runs, what) for what in ("wall", "cpu")]
            ratios = [middle(runs, what) / middle(own, what) for what in ("wall", "cpu")]
            lines.append(
                f"| {name} | {cells} | {rates[0]:.0f} | {ratios[0]:.2f} | {rates[1]:.0f} | "
                f"{ratios[1]:.2f} |"
            )
    if found["one"]:
        lines += ["", "| kind of job | ours, s | plain, s | plain / ours |", "|---|---|---|---|"]
        total = [0.0, 0.0]
        for kind in KINDS:
            pair = [
                statistics.median(run["kinds"].get(kind, 0.0) for run in found["one"][side])
                for side in ("ours", "plain")
            ]
            total = [a + b for a, b in zip(total, pair, strict=True)]
            lines.append(f"| {kind} | {pair[0]:.1f} | {pair[1]:.1f} | {pair[1] / pair[0]:.2f} |")
        lines.append(f"| all | {total[0]:.1f} | {total[1]:.1f} | {total[1] / total[0]:.2f} |")
    if "agreement" in found:
        lines += ["", "| first step | our loss | the plain loop's | gradients differ by |"]
        lines += ["|---|---|---|---|"]
        for name, (a, b, off) in found["agreement"].items():
            losses = "| | " if a is None else f"| {a:.6f} | {b:.6f} "
            lines.append(f"| {name} {losses}| {off:.1e} |")
    return "\n".join(lines)


def put(page: Path, text: str, name: str) -> None:
    """Between the markers of a page, or at its end."""
    first, last = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = page.read_text(encoding="utf-8")
    before, _, rest = whole.partition(first)
    after = rest.partition(last)[2] or "\n"
    before = before if rest else f"{before.rstrip()}\n\n"
    page.write_text(f"{before}{first}\n{text}\n{last}{after}", encoding="utf-8")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, one setting")
    parser.add_argument("--seeds", type=int, default=2, help="of the full run")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--parts", default="two,one,agreement")
    parser.add_argument("--json", type=Path, help="every run")
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    parser.add_argument("--read", type=Path, help="print an earlier --json again; measure nothing")
    asked = parser.parse_args()
    adopt()
    found = json.loads(asked.read.read_text()) if asked.read else measured(asked)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = tables(found)
    print(text)
    if asked.write:
        put(asked.write, text, "throughput")


if __name__ == "__main__":
    main()
