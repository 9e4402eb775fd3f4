"""The study's numbers as Markdown: the blocks of docs/regret.md, made from the results alone.

A page holds `<!-- numbers: NAME -->` and `<!-- end -->`; `fill` writes what belongs between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from allroads.exact.regret.curves import (
    Cell,
    NotRunError,
    Results,
    code_growth,
    data_ratio,
    interval,
    mean_regret,
    predicted_ratio,
)
from allroads.exact.regret.settings import CELLS, SIZES
from allroads.exact.regret.verdicts import (
    COVERAGE,
    DIMENSION,
    HORIZON,
    NOISE,
    OUTSIDE,
    POSITIONS,
    RIDGE,
    dimensions,
    judge,
    ratio_of,
    table_ratio,
    words,
)

BLOCK = re.compile(r"(<!-- numbers: ([a-z ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def fill(page: str, cells: Results) -> str:
    """The page with every block written anew.

    Raises:
        KeyError: a block's name is not one of `BLOCKS`.
    """

    def numbers(name: str) -> str:
        try:
            return BLOCKS[name](cells)
        except NotRunError as missing:
            return f"Not run yet: {missing}."

    return BLOCK.sub(lambda found: f"{found[1]}{numbers(found[2])}\n{found[4]}", page)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(number: float) -> str:
    """Three digits; fewer where they would say nothing."""
    return "over the grid" if np.isinf(number) else f"{number:.3g}"


def _regrets(cell: Cell) -> list[list[str]]:
    rows = []
    for learner, letter in (("simple", "(c)"), ("token", "(a')"), ("inside", "(c')")):
        if learner in cell["regret"]:
            rows.append([letter, *(f"{x:.4f}" for x in mean_regret(cell, learner)[0])])
    if "table" in cell["regret"]:
        own = iter(mean_regret(cell, "table")[0])
        rows.append(["(a)", *("" if k % 2 else f"{next(own):.3f}" for k in range(len(SIZES)))])
    return rows


def _curves_of(name: str) -> Callable[[Results], str]:
    head = ["mean regret", *(f"{size:,}" for size in SIZES)]
    return lambda cells: table(head, _regrets(cells[name]))


def _ratios(names: Iterable[str]) -> Callable[[Results], str]:
    head = [
        "cell", "d_P / d_R", "Fisher", "n_a' / n_c at 512 [95 %]", "at 128", "at 256", "at 1,024"
    ]  # fmt: skip

    def write(cells: Results) -> str:
        rows = []
        for name in names:
            d_p, d_r = dimensions(name)
            promised = predicted_ratio(cells[name])
            others = [data_ratio(cells[name], at)[0] for at in (128, 256, 1024)]
            rows.append([
                name,
                plain(d_p / d_r),
                "" if promised is None else f"{promised:.2f}",
                words(ratio_of(cells, name)),
                *(plain(other) for other in others),
            ])  # fmt: skip
        return table(head, rows)

    return write


def _outside(cells: Results) -> str:
    rows = [[f"{name}, {row[0]}", *row[1:]] for name in OUTSIDE for row in _regrets(cells[name])]
    return table(["mean regret", *(f"{size:,}" for size in SIZES)], rows)


def _blind(cells: Results) -> str:
    floor = np.mean(cells["blind policy"]["inside_floor"]) * 1e-6
    return (
        _curves_of("blind policy")(cells)
        + f"\n\nThe least regret that these policies can have is {floor:.4f}."
    )


def _one_token(cells: Results) -> str:
    head = ["pairs", *(f"{size:,}" for size in SIZES[::2])]
    row = ["table's regret over (c)'s", *(words(x) for x in table_ratio(cells, "one token"))]
    return table(head, [row])


def _description(cells: Results) -> str:
    head = ["cell", "(d_P - d_R) / 2", "growth per doubling, nats [95 %]", "each doubling"]
    rows = []
    for name, setting in CELLS.items():
        if name in cells and setting.policy_features != "blind" and not setting.outside:
            d_p, d_r = dimensions(name)
            each = ", ".join(f"{x / 1000:.2f}" for x in cells[name]["code_of_each_doubling"])
            rows.append([name, plain((d_p - d_r) / 2),
                         words(interval(code_growth(cells[name]))), each])  # fmt: skip
    return table(head, rows)


def _verdicts(cells: Results) -> str:
    said = {True: "agrees", False: "**does not**", None: "open"}
    rows = [[v.rule, said[v.holds], v.says] for v in judge(cells)]
    return table(["rule", "verdict", "numbers"], rows)


def _time(cells: Results) -> str:
    hours = sum(cell["seconds"] for cell in cells.values()) / 3600
    seeds = len(cells["centre"]["code"])
    worst = {
        name: max(cell["checks"].get(name, 0.0) for cell in cells.values())
        for name in ("b_minus_c", "slope")
    }
    start = {n: cell["checks"]["start"] for n, cell in cells.items() if "start" in cell["checks"]}
    apart = [f"{name}: {value:.1g} nats" for name, value in start.items() if value > 1e-6]
    return (
        f"{len(cells)} of {len(CELLS)} cells, of {seeds} seeds each, took {hours:.2f} processor "
        f"hours on one core. The greatest slope that a fit left is {worst['slope']:.0e} nats per "
        f"unit of a parameter; (b) and (c) differ by at most {worst['b_minus_c']:.0e} nats in any "
        f"completion. The search of (a') from the reference and the one from the truth end at the "
        f"same value in {len(start) - len(apart)} of {len(start)} cells; elsewhere they are "
        f"apart by at most this: {', '.join(apart) or 'nowhere'}."
    )


BLOCKS: dict[str, Callable[[Results], str]] = {
    "verdicts": _verdicts,
    "time": _time,
    "centre": _curves_of("centre"),
    "dimension": _ratios(DIMENSION),
    "horizon": _ratios(HORIZON),
    "positions": _ratios(POSITIONS),
    "noise": _ratios(NOISE),
    "coverage": _ratios(COVERAGE),
    "ridge": _ratios(RIDGE),
    "strong ridge": _curves_of("ridge 100"),
    "outside": _outside,
    "blind": _blind,
    "one token": _one_token,
    "description": _description,
}
