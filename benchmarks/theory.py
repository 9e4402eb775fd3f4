"""The tables and figures of docs/theory.md, and how long a tree of a million leaves takes.

    .venv/bin/python benchmarks/theory.py [--write]

Without --write only the times are printed. A test compares the document with the code, so that
--write is needed exactly when that test fails.
"""

from __future__ import annotations

import argparse
import re
import resource
import time
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from allroads.exact import Tree, leaf_logprobs, random_policy, soft_value_iteration
from allroads.exact.claims import CLAIMS
from allroads.findings import Check, Drawing

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = ("data-processing", "token-level", "best-of-n")


def times() -> None:
    for vocabulary, horizon, eos in ((10, 6, None), (2, 20, None), (11, 6, 0)):
        tree = Tree(vocabulary=vocabulary, horizon=horizon, eos=eos)
        rng = np.random.default_rng(0)
        reward, reference = rng.standard_normal((1, tree.leaves)), random_policy(tree, rng)
        begun = time.process_time()
        plain = soft_value_iteration(tree, reward)
        middle = time.process_time()
        soft_value_iteration(tree, reward, beta=0.5, reference=reference)
        done = time.process_time()
        leaf_logprobs(tree, plain.policy)
        print(
            f"V {vocabulary} H {horizon} eos {eos}: {tree.leaves:,} leaves, soft values "
            f"{middle - begun:.2f} s, with a reference {done - middle:.2f} s, leaf "
            f"log-probabilities {time.process_time() - done:.2f} s"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process {peak:.0f} MB")
    for name, claim in CLAIMS.items():
        begun = time.process_time()
        claim.examine()
        print(f"{name}: {time.process_time() - begun:.2f} s")


def row(check: Check) -> str:
    left, right = (f"{0.0 if abs(x) < 1e-9 else x:.4g}" for x in (check.left, check.right))
    sign = {"=": "=", "<=": "≤", "!=": "≠", ">": ">"}[check.sign]
    premise = "holds" if check.premise else "broken"
    return f"| {check.variant} | {premise} | {left} {sign} {right} |"


def write_tables() -> None:
    path = DOCS / "theory.md"
    text = path.read_text(encoding="utf-8")
    for name, claim in CLAIMS.items():
        lines = ["| variant | premise | the two sides |", "|---|---|---|"]
        lines += [row(check) for check in claim.examine().checks]
        table = "\n".join(lines)
        text, found = re.subn(
            rf"(<!-- checks: {name} -->\n).*?(<!-- end -->)",
            lambda marks, table=table: f"{marks[1]}{table}\n{marks[2]}",
            text,
            flags=re.DOTALL,
        )
        assert found == 1, f"{path} has no place for the checks of {name}"
    path.write_text(text, encoding="utf-8")


def write_figure(name: str, drawing: Drawing) -> None:
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 11})
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for line, marker in zip(drawing.lines, "os^vPX", strict=False):
        dots = len(line.x) <= 16
        axes.plot(line.x, line.y, marker=marker if dots else None, label=line.name, linewidth=1.8)
    axes.set(xlabel=drawing.x, ylabel=drawing.y)
    axes.set_xscale("log" if drawing.log_x else "linear")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(DOCS / f"theory-{name}.png", dpi=120, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--write", action="store_true")
    if arguments.parse_args().write:
        write_tables()
        for name in FIGURES:
            write_figure(name, CLAIMS[name].draw())
    times()
