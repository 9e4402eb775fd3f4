"""Where the demo's time goes: the share outside matrix products, by stage and by category.

    .venv/bin/python benchmarks/demo.py [--json FILE] [--write docs/performance.md]

Each row is the real work of a stage of the built-in world, one thread: training rows a few steps
of the one loop (online ones with their sampling and scoring), the last rows one call of the
sampler, of a scorer, of the evaluation. Shares are of the wall time beside the profiler: the
kernels' own time, and the rest as Python and dispatch (of which the profiler itself is a part).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from throughput import put
from torch.profiler import ProfilerActivity, profile

from allroads.data.worlds import make_world
from allroads.evaluation.policies import Bench, measure_policy, rows_of
from allroads.judges import GlobalLabeller
from allroads.lab.config import build_config
from allroads.lab.defaults import DEFAULTS
from allroads.lab.prepare import demonstrations_only, with_pairs
from allroads.models.builtin import small_transformer
from allroads.models.critic import ActorCritic, Critic
from allroads.models.reward_model import reward_model_on
from allroads.roads.atlas import atlas
from allroads.roads.loop import Keeping, train
from allroads.roads.supplies import Supplies
from allroads.rollouts.sampler import sample

MARKS = "shares"
PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "aten::linear")
STEPS = 8
BETA = 0.7


def category(name: str) -> str:
    """Of a kernel."""
    if name.startswith(PRODUCTS):
        return "products"
    if "scaled_dot_product" in name or "flash_attention" in name:
        return "attention"
    return "other"


def shares(work: Callable[[], object]) -> dict[str, float]:
    """The share of each category, and processor milliseconds without the profiler."""
    work()
    since = time.process_time()
    work()
    alone = 1e3 * (time.process_time() - since)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        since = time.perf_counter()
        work()
        total = 1e3 * (time.perf_counter() - since)
    spent = {"products": 0.0, "attention": 0.0, "other": 0.0}
    for event in recorded.key_averages():
        if event.key.startswith("aten::") and not event.key.startswith(DISPATCH):
            spent[category(event.key)] += event.self_cpu_time_total / 1e3
    out = {name: value / total for name, value in spent.items()}
    return {**out, "python": 1 - sum(out.values()), "milliseconds": alone}


DISPATCH = (
    *("aten::view", "aten::reshape", "aten::transpose", "aten::t", "aten::slice", "aten::select"),
    *("aten::expand", "aten::as_strided", "aten::unsqueeze", "aten::squeeze", "aten::permute"),
    *("aten::split", "aten::narrow", "aten::alias", "aten::detach", "aten::unbind", "aten::chunk"),
    *("aten::to", "aten::lift_fresh", "aten::item", "aten::_local_scalar_dense", "aten::empty"),
)
"""Calls that touch no numbers: their time is dispatch."""


class Ground:
    """Data, a start policy and a reward model of the built-in world."""

    def __init__(self) -> None:
        self.config = build_config({"world": "routes"})
        self.world: Any = make_world("routes")
        recipe = DEFAULTS["routes"].recipe
        assert recipe is not None
        few = {"rounds": 1, "epochs": 1}
        self.recipe = recipe.model_copy(
            update={
                "sft": recipe.sft.model_copy(update=few),
                "reward": recipe.reward.model_copy(update=few),
                "policy": recipe.policy.model_copy(update=few),
                "online": recipe.online.model_copy(update={"rounds": STEPS}),
            }
        )
        self.start = small_transformer(
            vocabulary=len(self.world.vocabulary), context=self.world.context, eos_id=0, seed=0
        )
        rows = STEPS * recipe.sft.batch_size
        sizes = self.config.sizes.model_copy(update={"demonstrations": 6 * rows, "pairs": rows})
        before = demonstrations_only(self.world, sizes, seed=0)
        # A policy that ends its answers, as the demo's does after SFT.
        self.dataset = before
        self.run("sft", self.start)
        self.dataset = with_pairs(self.world, before, self.start, sizes, seed=0)
        self.judge = GlobalLabeller(reward_model_on(self.start, reading="sum", seed=0), 4096)

    def run(self, name: str, trainee: Any) -> None:
        """Train a road's last stage for a few steps."""
        road = atlas("sft", self.recipe)[name]
        stage = road.at(BETA if road.knob == "beta" else None).last
        supplies = Supplies(
            dataset=self.dataset,
            seed=0,
            address=name,
            reference=(lambda: self.start) if stage.objective.reference else None,
            writer=None,
            labeller=self.judge if stage.source.sampled else None,
            temperature=1.0,
            max_new_tokens=self.world.max_new_tokens,
            token_budget=self.config.token_budget,
            sample_batch=DEFAULTS["routes"].sample_batch,
        )
        with tempfile.TemporaryDirectory() as folder:
            train(stage, trainee, supplies, Keeping(Path(folder), checkpoint_seconds=1e9))

    def works(self) -> dict[str, Callable[[], object]]:
        """The rows of the table."""
        start, world = self.start, self.world

        def road(name: str) -> Callable[[], None]:
            return lambda: self.run(name, start.twin())

        def ppo() -> None:
            critic = Critic(reward_model_on(start, reading="last", seed=0))
            self.run("ppo", ActorCritic(start.twin(), critic))

        prompts = world.prompts("train")[:256]
        drawn = {"temperature": 1.0, "max_new_tokens": world.max_new_tokens}

        def draw() -> Any:
            return sample(start, prompts, per_prompt=4, seed=(0, "b"), batch_size=1024, **drawn)

        flat = rows_of([one for group in draw() for one in group])
        bench = Bench(
            test=world.prompts("test"),
            train=world.prompts("train")[:200],
            selection=world.prompts("selection"),
            metric=lambda answers: world.verify(
                [a.prompt.tokens for a in answers], [a.tokens for a in answers]
            ),
            start=start,
            selection_scorer=self.judge,
            samples=1,
            seed=0,
            token_budget=4096,
            sample_batch=1024,
            **drawn,
        )
        twin = start.twin()
        return {
            "sft": road("sft"),
            "reward model": lambda: self.run(
                "reward-model", reward_model_on(start, reading="sum", seed=0)
            ),
            "dpo": road("dpo"),
            "online-dpo": road("online-dpo"),
            "rloo": road("rloo"),
            "ppo": ppo,
            "sampling": draw,
            "scoring": lambda: self.judge(flat),
            "evaluation": lambda: measure_policy(bench, twin, self.judge),
        }


def table(found: dict[str, dict[str, float]]) -> str:
    """As Markdown: milliseconds, and shares of them."""
    lines = [
        "| stage | ms | matrix products | attention | other kernels | Python and dispatch "
        "| outside products |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        part = [row[key] for key in ("products", "attention", "other", "python")]
        cells = " | ".join(f"{value:.0%}" for value in part)
        lines.append(f"| {name} | {row['milliseconds']:.0f} | {cells} | {1 - part[0]:.0%} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="put the table into this page")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: shares(work) for name, work in Ground().works().items()}
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = table(found)
    print(text)
    if asked.write:
        put(asked.write, text, MARKS)


if __name__ == "__main__":
    main()
