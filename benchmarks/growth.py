"""How time and memory grow: exponents of power laws fitted to our loop and our data code.

    python benchmarks/growth.py [--threads 2] [--series pairs,tokens] [--json FILE] [--write]
    python benchmarks/growth.py --read FILE --write     # no measuring

Every point is measured in a process of its own: the seconds of a step (a round of RLOO, a dataset),
and the peak of its memory less what the process held before there was a model or a row; the least
of two runs. The model is the A of `vs_trl.py` but for what a series varies. Pieces are cut at 1,024
tokens and 32 rows are decoded together, so that every point fills at least one piece.

What is expected of time in pairs, tokens, width and rounds is the exponent of the FLOPs
(`arithmetic.py`): 1 in pairs, and in tokens nearly so, for attention adds a little. In vocabulary
and depth it is 1 at most, because work that is no product grows with them too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from arithmetic import BYTES, Decoding, Training
from exponents import Exponent, fitted, slope, verdict
from peer.task import GROUP, LENGTH, SKIP, Task
from sections import load, table, write_section
from vs_trl import SIZES, Side, model_of, peak, settle, words_of
from vs_trl import measure as measure_step

BUDGET, ROWS = 1024, 32
"""Padded tokens a piece, and completions decoded together."""
WORDS = 32
"""Of every text of a dataset."""
Held = dict[str, Any]


@dataclass(frozen=True)
class Preparation:
    """A dataset from a file of `count` pairs, or from a world of `count` towns.

    Its measurement says what x is: pairs, or prompts.
    """

    kind: str
    count: int
    folder: str


@dataclass(frozen=True)
class Series:
    """What one line of the table varies.

    Attributes:
        work: what is measured, in words.
        against: what x is, in words.
        values: of what is varied.
        make: a value to its task (its model is `size`) or preparation.
        x: a value to x; the value itself if None.
        size: a value to the model's size.
        memory: the exponent that is expected of the peak.
        time: the same of the seconds; None for that of the FLOPs.
    """

    work: str
    against: str
    values: tuple[int, ...]
    make: Callable[[int], Any]
    memory: float
    x: Callable[[int], float] = float
    size: Callable[[int], dict[str, int]] = lambda _: SIZES["A"]
    time: float | None = None


def task(work: str, batch: int, length: int = LENGTH, vocabulary: int = 1024) -> Task:
    return Task(
        side="ours",
        work=work,
        folder="",
        vocabulary=vocabulary,
        batch=batch,
        adapter=False,
        steps=SKIP + 3,
        length=length,
        token_budget=BUDGET,
        sample_batch=ROWS,
    )


def shaped(**changed: int) -> dict[str, int]:
    """Model A with another shape; heads stay 32 wide."""
    size = SIZES["A"] | changed
    return size | {"heads": size["width"] // 32}


def of_vocabulary(batch: int, memory: float) -> Series:
    return Series(
        f"DPO, {batch} pairs",
        "vocabulary",
        (1024, 4096, 16384, 32768),
        lambda words: task("dpo", batch, vocabulary=words),
        memory,
        size=lambda words: shaped(vocabulary=words),
        time=1,
    )


SERIES: dict[str, Series] = {
    "pairs": Series("DPO step", "pairs", (8, 16, 32, 64, 128), partial(task, "dpo"), memory=0),
    "pairs-wide": Series(
        "DPO step, vocabulary 16,384",
        "pairs",
        (8, 16, 32, 64),
        lambda pairs: task("dpo", pairs, vocabulary=16384),
        memory=0,
        size=lambda _: shaped(vocabulary=16384),
    ),
    "tokens": Series(
        "DPO step, completions of 16 to 256",
        "tokens",
        (16, 32, 64, 128, 256),
        lambda length: task("dpo", 16, length),
        memory=0,
        x=lambda length: 16 * (LENGTH + 2 * length),
    ),
    "vocabulary": of_vocabulary(8, memory=1),
    "vocabulary-many": of_vocabulary(32, memory=1),
    "width": Series(
        "DPO step, 8 pairs",
        "width",
        (64, 128, 256, 512),
        lambda _: task("dpo", 8),
        memory=2,
        size=lambda width: shaped(width=width),
    ),
    "depth": Series(
        "DPO step, 8 pairs",
        "layers",
        (2, 4, 8, 16),
        lambda _: task("dpo", 8),
        memory=1,
        size=lambda layers: shaped(layers=layers),
        time=1,
    ),
    "completions": Series(
        "RLOO round", "completions", (32, 64, 128, 256), partial(task, "rloo"), memory=0
    ),
    "new-tokens": Series(
        "RLOO round, completions of 16 to 128",
        "tokens",
        (16, 32, 64, 128),
        lambda length: task("rloo", 32, length),
        memory=1,
        x=lambda length: 32 // GROUP * LENGTH + 32 * length,
    ),
    "dataset": Series(
        "dataset from a file",
        "pairs",
        (2000, 4000, 8000, 16000),
        lambda count: Preparation("file", count, ""),
        memory=1,
        time=1,
    ),
    "world": Series(
        "dataset of `routes`, a demonstration a prompt",
        "prompts",
        (30, 45, 66, 96),
        lambda towns: Preparation("world", towns, ""),
        memory=1,
        time=1,
    ),
}


def flops(series: Series, value: int) -> float:
    """Of the step that a task of the series takes, by formula."""
    made, size = series.make(value), series.size(value)
    if made.work == "dpo":
        return Training(size, made.batch, LENGTH, made.length, forwards=1).flops
    # A reference passes over what was drawn, then the policy learns from it.
    learnt = Training(size, made.prompts, LENGTH, made.length, per_prompt=GROUP, forwards=1)
    drawn = Decoding(size, made.prompts, GROUP, LENGTH, made.length)
    written = drawn.first_flops + sum(map(drawn.step_flops, drawn.contexts))
    return learnt.flops + written


# Measuring ---------------------------------------------------------------------------------------


def measure(point: Any, queue: Any) -> None:
    """In a process of its own: seconds and memory of a point, or (a tuple) a model's folder."""
    if isinstance(point, Task):
        measure_step(point, queue)
        return
    try:
        if isinstance(point, Preparation):
            queue.put(json.dumps(prepared(point)))
            return
        size, positions, folder = point
        model = model_of(size, positions)
        model.save_pretrained(folder)
        queue.put(json.dumps({"weights": sum(p.numel() for p in model.parameters())}))
    except Exception:
        queue.put(json.dumps({"error": traceback.format_exc()}))


def prepared(point: Preparation) -> Held:
    """Seconds and peak of making a dataset, its audit and fingerprint."""
    from allroads.data.dataset import build
    from allroads.data.split import SPLITS
    from allroads.data.tokenise import load_tokeniser
    from allroads.data.worlds.routes import Routes
    from allroads.lab.prepare import WorldSizes, demonstrations_only

    tokeniser = load_tokeniser(f"{point.folder}/words", max_length=4 * WORDS)
    count = point.count
    idle, wall, processor = peak(), time.perf_counter(), time.process_time()
    if point.kind == "file":
        made = build(f"{point.folder}/{point.count}.jsonl", None, tokeniser)
    else:
        world = Routes(towns=point.count, test_prompts=50, selection_prompts=20)
        count = sum(len(world.prompts(split)) for split in SPLITS)
        made = demonstrations_only(world, WorldSizes(demonstrations=count), seed=0)
    made.fingerprint()
    return {
        "x": float(count),
        "seconds": time.perf_counter() - wall,
        "cpu": time.process_time() - processor,
        "idle": idle,
        "peak": peak(),
    }


def write_pairs(folder: str, count: int) -> None:
    """A file of pairs with random words."""
    import random

    rng = random.Random(0)

    def text() -> str:
        return " ".join(f"w{rng.randrange(2, 1024)}" for _ in range(WORDS))

    with Path(folder, f"{count}.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(count):
            row = {"prompt": text(), "chosen": " " + text(), "rejected": " " + text()}
            file.write(json.dumps(row) + "\n")


def points_of(series: Series, side: Side, folder: str, asked: argparse.Namespace) -> list[Held]:
    """Every point of a series, in order: the least of its runs."""
    values = series.values[:3] if asked.quick else series.values
    out = []
    for value in values:
        made = replace(series.make(value), folder=folder)
        found: Held = {"value": value, "x": series.x(value)}
        if isinstance(made, Task):
            found |= side.measured((series.size(value), LENGTH + made.length, folder))
        elif made.kind == "file":
            write_pairs(folder, value)
        runs = [side.measured(made) for _ in range(1 if asked.quick else asked.runs)]
        out.append(found | {name: min(run[name] for run in runs) for name in runs[0]})
    return out


def keep(held: Held, path: Path | None) -> None:
    """What is known so far, if it is asked for."""
    if path:
        path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def measured(asked: argparse.Namespace) -> Held:
    """Every point of every series."""
    held: Held = {
        "threads": asked.threads,
        "clock": asked.clock,
        "load": load(),
        "series": {},
    }
    modules = ["allroads.roads.loop", "allroads.lab.prepare", "allroads.data.dataset"]
    side = Side(modules, measure)
    try:
        with tempfile.TemporaryDirectory() as folder:
            words_of(1024).save_pretrained(f"{folder}/words")
            for name in asked.series:
                held["series"][name] = points_of(SERIES[name], side, folder, asked)
                print(line(name, held), file=sys.stderr, flush=True)
                keep(held, asked.json)
    finally:
        side.close()
    return held


# The section -------------------------------------------------------------------------------------


def expected_time(series: Series, points: list[Held]) -> float:
    """The exponent that the series states, or that of its FLOPs."""
    if series.time is not None:
        return series.time
    xs = [point["x"] for point in points]
    return fitted(xs, [flops(series, point["value"]) for point in points]).value


def seconds_of(points: list[Held], held: Held) -> list[float]:
    return [point["seconds" if held["clock"] == "wall" else "cpu"] for point in points]


def memory_of(points: list[Held]) -> list[float]:
    """Peak less idle, in MB."""
    return [point["peak"] - point["idle"] for point in points]


def row(name: str, held: Held) -> list[str]:
    """A line of the table."""
    series, points = SERIES[name], held["series"][name]
    xs = [point["x"] for point in points]
    seconds, memory = seconds_of(points, held), memory_of(points)
    most = expected_time(series, points)
    of_time, of_memory = fitted(xs, seconds), fitted(xs, memory)
    return [
        series.work,
        f"{series.against} {xs[0]:,.0f} to {xs[-1]:,.0f}",
        f"{seconds[0]:.3g} to {seconds[-1]:.3g}",
        shown(of_time),
        f"{of_time.last:.2f}",
        f"{most:.2f}",
        verdict(of_time, most),
        f"{memory[0]:.0f} to {memory[-1]:.0f}",
        shown(of_memory),
        f"{of_memory.last:.2f}",
        f"{series.memory:g}",
        verdict(of_memory, series.memory),
    ]


def line(name: str, held: Held) -> str:
    return f"| {' | '.join(row(name, held))} |"


def shown(found: Exponent) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def per_word(held: Held) -> str:
    """What a word of the vocabulary costs in memory, few pairs a step and many."""
    names = [name for name in ("vocabulary", "vocabulary-many") if name in held["series"]]
    parts = []
    for name in names:
        points = held["series"][name]
        cost = slope([point["x"] for point in points], [2**20 * m for m in memory_of(points)])
        batch = SERIES[name].make(points[0]["value"]).batch
        rows = 2 * SIZES["A"]["width"] * BYTES
        logits = BYTES * batch * 2 * LENGTH
        parts.append(
            f"at {batch} pairs a step {cost:,.0f} bytes, {cost / rows:.1f} times its two rows of "
            f"weights (the logits of all completions, held at once, would add {logits:,})"
        )
    return f"A word more in the vocabulary costs {'; '.join(parts)}.\n" if parts else ""


def section(held: Held) -> str:
    """One table, and what memory does with the vocabulary."""
    kind = "processor time" if held["clock"] == "processor" else "wall time"
    threads = "one thread" if held["threads"] == 1 else f"{held['threads']} threads"
    head = ["work", "against", "seconds", "exponent of time", "at the end", "at most", "holds"]
    head += ["peak MB less idle", "exponent of memory", "at the end", "at most", "holds"]
    return "\n".join(
        [
            f"Single precision, {threads}, {kind}; a load of {held['load']:.1f} before the start. "
            "Exponents by least squares in logarithms, with their 95 % interval; *at the end*: "
            "between the last two points. *Holds*: the whole interval is at most 0.1 above what "
            "is expected; *no*: all of it is above that; else *unclear*. What is expected of "
            "time in pairs, tokens, width and rounds is the exponent of the FLOPs.\n",
            table(head, [row(name, held) for name in held["series"]]),
            per_word(held),
        ]
    )


def main() -> None:
    """Measure or read, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--series", default=",".join(SERIES))
    parser.add_argument("--runs", type=int, default=2, help="of every point; the least counts")
    parser.add_argument("--quick", action="store_true", help="three points of each, one run")
    parser.add_argument("--json", type=Path, help="where to keep what was measured")
    parser.add_argument("--read", type=Path, help="an earlier --json, instead of measuring")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    asked = parser.parse_args()
    asked.series = asked.series.split(",")
    if unknown := set(asked.series) - set(SERIES):
        parser.error(f"--series {','.join(sorted(unknown))}: expected some of {', '.join(SERIES)}")
    if asked.clock == "processor" and asked.threads > 1:
        parser.error("--clock processor adds up the threads' time: expected --threads 1")
    settle(asked.threads)
    if asked.read:
        held = json.loads(asked.read.read_text(encoding="utf-8"))
    else:
        held = measured(asked)
    text = section(held)
    print(text)
    if asked.write:
        write_section("growth", text)


if __name__ == "__main__":
    main()
