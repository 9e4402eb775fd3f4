"""How close training and decoding come to what this machine can do.

    python benchmarks/limits.py [--threads 2] [--models A,B] [--json FILE] [--write] [--quick]
    python benchmarks/limits.py --read FILE --write      # no measuring

1. The ceiling: FLOP/s of matrix products alone, of the shapes of the model's own linear layers
   (all three products of each, at the tokens of one step), the best of some repeats.
2. DPO and reward-model steps of `vs_trl.py`: FLOPs done, over the step's time, over the ceiling of
   the step's own products. FLOPs are what torch counts outside attention, and attention's by
   formula (`arithmetic.py`). "Needed" is a formula for both; what is done beyond it is recomputed.
3. Decoding: our sampler beside `generate` of transformers with a dynamic and with a static cache,
   in turn, no end-of-sequence, temperature 1; and beside the floor, the least time in which the
   FLOPs can be done (at the ceiling of a step's shapes) or the weights and the cache be read (at
   the bandwidth measured on as many bytes), whichever is longer.

The clock is wall time, or processor time (`--clock processor`, one thread) beside other work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from arithmetic import Decoding, Linear, Training, floor, forward
from peer.task import EOS, LENGTH, SKIP, Task
from sections import load, table, write_section
from vs_trl import SIZES, Side, alone, prepare, settle

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
NEW = 32
"""Tokens that are decoded."""
BATCHES = {"A": ((64, 1), (16, 4)), "B": ((64, 1),)}
"""Prompts and completions a prompt."""
AIMS = {"A": 3.0, "B": 1.5}
"""Of decoding, over `generate`."""
TRAINING_AIM = 0.6
"""Of the ceiling, at B."""
PLAIN = Linear(2048, 256, 1024)
WAYS = ("ours", "dynamic", "static")
Held = dict[str, Any]


def work_of(model: str, name: str) -> Training:
    """A step of `vs_trl.py`; DPO's includes its share of the reference's pass."""
    size = SIZES[model]
    step = partial(Training, size, size["batch"], LENGTH, LENGTH)
    return step(forwards=1) if name == "dpo" else step(head=1)


# The ceiling -------------------------------------------------------------------------------------


def least(function: Callable[[], object], clock: Callable[[], float], repeats: int) -> float:
    """Seconds of one call: the least of some repeats, each long enough for the clock."""
    function()
    since = clock()
    function()
    count = max(1, round(0.05 / max(clock() - since, 1e-6)))
    found = []
    for _ in range(repeats):
        since = clock()
        for _ in range(count):
            function()
        found.append((clock() - since) / count)
    return min(found)


class Products:
    """Seconds of the products of linear layers, each shape measured once."""

    def __init__(self, clock: str, repeats: int) -> None:
        self._clock, self._repeats = CLOCKS[clock], repeats
        self._known: dict[tuple[int, int, int, bool], float] = {}

    def forward(self, layers: list[Linear]) -> float:
        """Of one forward pass through the layers."""
        return sum(self._seconds(layer, backward=False) * layer.times for layer in layers)

    def backward(self, layers: list[Linear]) -> float:
        """Of the gradients of inputs and weights."""
        return sum(self._seconds(layer, backward=True) * layer.times for layer in layers)

    def rate(self, layers: list[Linear]) -> float:
        """FLOP/s of the forward products."""
        return forward(layers) / self.forward(layers)

    def training_rate(self, work: Training) -> float:
        """FLOP/s of all products of a training step."""
        seconds = (1 + work.forwards) * self.forward(work.layers) + self.backward(work.layers)
        return (3 + work.forwards) * forward(work.layers) / seconds

    def _seconds(self, layer: Linear, *, backward: bool) -> float:
        key = (layer.tokens, layer.inputs, layer.outputs, backward)
        if key not in self._known:
            self._known[key] = self._measured(layer, backward=backward)
        return self._known[key]

    def _measured(self, layer: Linear, *, backward: bool) -> float:
        import torch

        read = torch.randn(layer.tokens, layer.inputs)
        weight = torch.randn(layer.outputs, layer.inputs)
        if not backward:
            ways = [lambda: torch.nn.functional.linear(read, weight)]
        else:
            gradient = torch.randn(layer.tokens, layer.outputs)
            ways = [lambda: gradient @ weight, lambda: gradient.T @ read]
        with torch.inference_mode():
            return sum(least(way, self._clock, self._repeats) for way in ways)


def bandwidth(size: int, clock: str, repeats: int) -> float:
    """Bytes/s of reading `size` bytes: the fastest of a sum, a dot product and a matrix-vector."""
    import torch

    count = size // 4 // 4096 * 4096
    values, vector = torch.randn(count), torch.randn(4096)
    half, rows = count // 2, values.view(-1, 4096)
    ways = [
        values.sum,
        lambda: torch.dot(values[:half], values[half:]),
        lambda: torch.mv(rows, vector),
    ]
    with torch.inference_mode():
        return 4 * count / min(least(way, CLOCKS[clock], repeats) for way in ways)


def ceilings(models: list[str], clock: str, repeats: int, queue: Any) -> None:
    """FLOP/s and bytes/s by model, in a process of its own."""
    import torch

    torch.manual_seed(0)
    products = Products(clock, repeats)
    found: Held = {"plain": products.rate([PLAIN]), "training": {}, "decoding": {}}
    for model in models:
        found["training"][model] = {
            name: products.training_rate(work_of(model, name)) for name in ("dpo", "reward")
        }
        found["decoding"][model] = []
        for prompts, each in BATCHES[model]:
            work = Decoding(SIZES[model], prompts, each, LENGTH, NEW)
            middle = work.contexts[len(work.contexts) // 2]
            found["decoding"][model].append(
                {
                    "first": products.rate(work.first),
                    "next": products.rate(work.next),
                    "bytes": work.step_bytes(middle),
                    "bandwidth": bandwidth(work.step_bytes(middle), clock, repeats),
                }
            )
    queue.put(found)


# Decoding ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draw:
    """One batch to decode, by every way in turn."""

    model: str
    folder: str
    prompts: int
    per_prompt: int
    repeats: int
    clock: str


def writer(draw: Draw, way: str) -> Callable[[int], object]:
    """Decodes the batch once, as many new tokens as it is told."""
    import torch

    from allroads.models.policy import load_policy
    from allroads.rollouts.sampler import sample
    from allroads.types import Prompt

    policy = load_policy(draw.folder, eos_id=-1, dtype=torch.float32, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    vocabulary = SIZES[draw.model]["vocabulary"]
    ids = torch.randint(2, vocabulary, (draw.prompts, LENGTH), generator=generator)
    if way == "ours":
        given = [Prompt(prompt_id=str(i), tokens=tuple(row)) for i, row in enumerate(ids.tolist())]
        return lambda new: sample(
            policy,
            given,
            per_prompt=draw.per_prompt,
            temperature=1.0,
            max_new_tokens=new,
            seed=(0, "benchmark"),
        )
    model: Any = policy.model
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = EOS

    def generate(new: int) -> object:
        with torch.inference_mode():
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                num_return_sequences=draw.per_prompt,
                cache_implementation="static" if way == "static" else None,
            )

    return generate


def decode(draw: Draw, queue: Any) -> None:
    """Seconds of every repeat by way, in a process of its own."""
    clock = CLOCKS[draw.clock]
    writers = {way: writer(draw, way) for way in WAYS}
    for write in writers.values():
        write(2)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(draw.repeats):
        for way, write in writers.items():
            since = clock()
            write(NEW)
            seconds[way].append(clock() - since)
    queue.put(seconds)


# All of it ---------------------------------------------------------------------------------------


def measured(asked: argparse.Namespace) -> Held:
    """Everything that the section needs."""
    found: Held = {
        "threads": asked.threads,
        "clock": asked.clock,
        "repeats": asked.repeats,
        "load": load(),
        "ceiling": alone(ceilings, asked.models, asked.clock, asked.repeats),
        "training": [],
        "decoding": [],
    }
    side = Side(["allroads.roads.loop"])
    try:
        for model in asked.models:
            with tempfile.TemporaryDirectory() as folder:
                vocabulary = alone(prepare, model, folder)
                for name in ("dpo", "reward"):
                    steps = stepped(side, model, name, folder, vocabulary, asked)
                    found["training"].append({"model": model, "work": name} | steps)
                    tell(training_line(found["training"][-1], found["ceiling"]))
                for prompts, each in BATCHES[model]:
                    draw = Draw(model, folder, prompts, each, asked.repeats, asked.clock)
                    seconds = alone(decode, draw)
                    found["decoding"].append(asdict(draw) | {"folder": "", "seconds": seconds})
                    tell(decoding_line(found["decoding"][-1], found["ceiling"]))
    finally:
        side.close()
    return found


def tell(cells: list[str]) -> None:
    """A line of a table as soon as it is known."""
    print("| " + " | ".join(cells) + " |", file=sys.stderr, flush=True)


def stepped(
    side: Side, model: str, name: str, folder: str, vocabulary: int, asked: argparse.Namespace
) -> Held:
    """Seconds of a step, by repeat, and the FLOPs that torch counts."""
    runs = [
        side.measured(
            Task(
                side="ours",
                work=name,
                folder=folder,
                vocabulary=vocabulary,
                batch=SIZES[model]["batch"],
                adapter=False,
                steps=SKIP + (asked.steps if model == "A" else max(1, asked.steps // 4)),
                count=repeat == 0,
            )
        )
        for repeat in range(1 if asked.quick else 2)
    ]
    of_clock = "seconds" if asked.clock == "wall" else "cpu"
    return {"seconds": [run[of_clock] for run in runs], "dense": runs[0]["flops"]}


# The section -------------------------------------------------------------------------------------


TRAINING_HEAD = [
    *("model", "work", "s a step", "GFLOP done", "needed", "GFLOP/s", "ceiling", "share"),
    "share, of what is needed",
]
DECODING_HEAD = [
    *("model", "prompts x each", "ours, tokens/s", "generate", "cache", "times as fast"),
    *("a step's GFLOP/s", "GB/s", "floor, tokens/s", "binds", "share of the floor"),
]


def section(held: Held) -> str:
    """Three tables in words that say how they were made."""
    ceiling = held["ceiling"]
    kind = "processor time" if held["clock"] == "processor" else "wall time"
    threads = "one thread" if held["threads"] == 1 else f"{held['threads']} threads"
    parts = [
        f"Single precision, {threads}, {kind}; a load of {held['load']:.1f} before the start. "
        f"A product of 2048x256x1024 runs at {ceiling['plain'] / 1e9:.0f} GFLOP/s.\n",
        "**Training.** The ceiling is that of the step's own products (every linear layer, forward "
        "and backward, at the tokens of the step). FLOPs are what torch counts outside attention "
        "plus attention's by formula; *needed*: both by formula, nothing twice. "
        f"Aim at B: {TRAINING_AIM:.0%}.\n",
        table(
            TRAINING_HEAD,
            [training_line(row, ceiling) for row in held["training"]],
        ),
        f"**Decoding** {NEW} new tokens after prompts of {LENGTH}, against `generate` with its "
        "faster cache, the median of "
        f"{held['repeats']} alternating repeats (range). The floor is the least time of the "
        "prompts' FLOPs, then of every step's FLOPs or bytes, at the rates beside it, which are "
        "measured alone. Aims: "
        + ", ".join(f"{times:g} times `generate` at {model}" for model, times in AIMS.items())
        + ".\n",
        table(
            DECODING_HEAD,
            [decoding_line(row, ceiling) for row in held["decoding"]],
        ),
    ]
    return "\n".join(parts)


def training_line(row: Held, ceiling: Held) -> list[str]:
    work = work_of(row["model"], row["work"])
    done, seconds = row["dense"] + work.attention, statistics.median(row["seconds"])
    most = ceiling["training"][row["model"]][row["work"]]
    return [
        row["model"],
        row["work"],
        f"{seconds:.3f}",
        f"{done / 1e9:.1f}",
        f"{work.flops / 1e9:.1f}",
        f"{done / seconds / 1e9:.1f}",
        f"{most / 1e9:.1f}",
        f"{done / seconds / most:.0%}",
        f"{work.flops / seconds / most:.0%}",
    ]


def decoding_line(row: Held, ceiling: Held) -> list[str]:
    work = Decoding(SIZES[row["model"]], row["prompts"], row["per_prompt"], LENGTH, NEW)
    place = BATCHES[row["model"]].index((row["prompts"], row["per_prompt"]))
    rates = ceiling["decoding"][row["model"]][place]
    least = floor(work, first_rate=rates["first"], rate=rates["next"], bandwidth=rates["bandwidth"])
    seconds, tokens = row["seconds"], work.rows * NEW
    cache = min(("dynamic", "static"), key=lambda way: statistics.median(seconds[way]))
    ours = statistics.median(seconds["ours"])
    ratios = [b / a for a, b in zip(seconds["ours"], seconds[cache], strict=True)]
    return [
        row["model"],
        f"{row['prompts']} x {row['per_prompt']}",
        f"{tokens / ours:.0f}",
        f"{tokens / statistics.median(seconds[cache]):.0f}",
        cache,
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{rates['next'] / 1e9:.1f}",
        f"{rates['bandwidth'] / 1e9:.1f}",
        f"{tokens / least.seconds:.0f}",
        least.binds,
        f"{least.seconds / ours:.0%}",
    ]


def main() -> None:
    """Measure or read, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--models", default="A,B")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="timed at A; a quarter of it at B")
    parser.add_argument("--quick", action="store_true", help="one short repeat")
    parser.add_argument("--json", type=Path, help="where to keep what was measured")
    parser.add_argument("--read", type=Path, help="an earlier --json, instead of measuring")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    asked = parser.parse_args()
    asked.models = asked.models.split(",")
    if unknown := set(asked.models) - set(SIZES):
        parser.error(f"--models {','.join(sorted(unknown))}: expected some of {', '.join(SIZES)}")
    if asked.clock == "processor" and asked.threads > 1:
        parser.error("--clock processor adds up the threads' time: expected --threads 1")
    if asked.quick:
        asked.repeats, asked.steps = 1, 4
    settle(asked.threads)
    if asked.read:
        held = json.loads(asked.read.read_text(encoding="utf-8"))
    else:
        held = measured(asked)
    if asked.json:
        asked.json.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    text = section(held)
    print(text)
    if asked.write:
        write_section("limits", text)


if __name__ == "__main__":
    main()
