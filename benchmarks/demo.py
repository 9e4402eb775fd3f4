"""Where the demo's time goes: seconds by kind of job, and the share of matrix products.

    .venv/bin/python benchmarks/demo.py [--seeds 1]

Runs the demo's jobs in this process (one thread), then profiles one training step and one sampling
batch of the demo's shapes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from allroads.lab.compare import compare, prepare
from allroads.lab.config import build_config
from allroads.lab.estimate import shape_of
from allroads.models.states import Rows
from allroads.rollouts.sampler import sample
from allroads.types import Prompt

PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "aten::_scaled_dot_product_flash_attention_for")


def by_job(seeds: int) -> None:
    config = build_config({"world": "routes", "seeds": list(range(seeds)), "processes": 1})
    prepared = prepare(config)
    seconds: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    last = time.perf_counter()

    def listen(event: tuple[str, str, int, int]) -> None:
        nonlocal last
        if event[0] == "done":
            now = time.perf_counter()
            job = prepared.plan.jobs[event[1]]
            name = job.kind if job.kind != "stage" else f"stage {job.spec['stage']['name']}"
            seconds[name] += now - last
            counts[name] += 1
            last = now

    with tempfile.TemporaryDirectory() as folder:
        compare(prepared, Path(folder) / "run", listen, "benchmark")
    total = sum(seconds.values())
    print(f"{seeds} seed(s), one process, one thread: {total:.1f} s in jobs")
    for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
        print(f"  {name:<28}{counts[name]:>4} jobs {value:>8.1f} s {value / total:>6.1%}")


def products(label: str, work: object) -> None:
    assert callable(work)
    work()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        work()
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    spent = sum(e.self_cpu_time_total for e in events if e.key.startswith(PRODUCTS))
    print(f"  {label:<28}{total / 1e3:>8.1f} ms, matrix products {spent / total:.0%}")


def by_operation() -> None:
    prepared = prepare(build_config({"world": "routes"}))
    shape = shape_of(prepared)
    length = round(shape.completion_length)
    policy = prepared.policy
    rows = Rows([(1, 2)] * 128, [tuple(range(1, length + 1))] * 128)

    def step() -> None:
        policy.sequence_logprobs(rows).sum().backward()

    prompts = [Prompt(prompt_id=str(i), tokens=(1, 2)) for i in range(64)]

    def draw() -> None:
        sample(policy, prompts, per_prompt=4, temperature=1.0, max_new_tokens=11, seed=(0, "b"))

    print("one batch of 64 units:")
    products("forward and backward", step)
    products("sampling, 4 per prompt", draw)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    by_operation()
    by_job(arguments.seeds)
