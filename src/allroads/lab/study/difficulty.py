"""How hard verifying and generating are on a world: what a fixed learner needs of each.

The learner is the world's built-in transformer from its first weights, trained for the same number
of steps whatever it is given: as a verifier on preference pairs without label noise (two answers
of the world's demonstrators to one prompt, ordered by the truth), as a generator on
demonstrations without an error. What it needs is where its curve over a rising amount of data
first reaches a level: share of held-out pairs ordered right, or true reward of its likeliest
answers to held-out prompts. More data than that is not tried.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from allroads.data.audit import audit_of
from allroads.data.dataset import Dataset
from allroads.data.split import SPLITS
from allroads.data.worlds import World, make_world
from allroads.data.worlds.world import Demonstrator
from allroads.errors import ConfigError
from allroads.evaluation import scorers
from allroads.judges import GlobalLabeller
from allroads.lab import workers
from allroads.lab.study.curves import LEVEL
from allroads.lab.study.lines import CurveLine
from allroads.lab.study.variants import Variant
from allroads.models.builtin import small_transformer
from allroads.models.policy import Policy
from allroads.models.reward_model import reward_model_on
from allroads.roads.accumulate import Trainee
from allroads.roads.choices import DATA, DEMONSTRATIONS, PAIRS, Objective, Schedule, Source
from allroads.roads.loop import Keeping, train
from allroads.roads.stage import Stage
from allroads.roads.supplies import Supplies
from allroads.rollouts.sampler import sample
from allroads.seeding import address, child
from allroads.types import Demonstration, Pair, Prompt, Split

Learner = Literal["verifier", "generator"]
COUNTS = (250, 1000, 4000, 16000, 64000)
"""Amounts of data, pairs or demonstrations."""
_STEPS = 1000
_BATCH = 64
_TESTED = 600
"""Held-out pairs; of prompts a third."""
_GREEDY = 0.01
"""Temperature of the generator's answers."""


@dataclass(frozen=True)
class Curve:
    """One learner on one world with one seed; and what is known of it already, by amount."""

    variant: Variant
    learner: Learner
    seed: int
    known: dict[int, float] = field(default_factory=dict)

    @property
    def trial(self) -> Trial | None:
        """The least amount that has not been tried; none where the level is reached, or all are."""
        for count in COUNTS:
            if count not in self.known:
                return Trial(self.variant, self.learner, count, self.seed)
            if self.known[count] >= LEVEL:
                return None
        return None

    def after(self, line: CurveLine) -> Curve:
        """With one more amount known."""
        return replace(self, known={**self.known, line.count: line.reached})


@dataclass(frozen=True)
class Trial:
    """One learner with one amount of data and one seed."""

    variant: Variant
    learner: Learner
    count: int
    seed: int


def distinct(variants: Iterable[Variant]) -> list[Variant]:
    """The first of those that pose one task; how much a study draws of it makes it no harder."""
    first: dict[object, Variant] = {}
    for one in variants:
        first.setdefault((one.world, *sorted(one.options.items())), one)
    return list(first.values())


def measure(trial: Trial) -> float:
    """What the learner reaches: share of pairs ordered right, or mean true reward."""
    torch.set_num_threads(1)
    work = _verifier if trial.learner == "verifier" else _generator
    return work(trial)


def measure_all(curves: Sequence[Curve], processes: int, told: Callable[[CurveLine], None]) -> None:
    """Measure curves until they reach the level, in worker processes; `told` of each amount."""
    if processes == 1:
        for curve in curves:
            while (trial := curve.trial) is not None:
                line = _line(trial, measure(trial))
                told(line)
                curve = curve.after(line)
        return
    with ProcessPoolExecutor(processes, mp_context=workers.begin()) as pool:

        def begun(curve: Curve) -> dict[Future[float], tuple[Curve, Trial]]:
            trial = curve.trial
            return {} if trial is None else {pool.submit(measure, trial): (curve, trial)}

        going = {future: at for curve in curves for future, at in begun(curve).items()}
        while going:
            done, _ = wait(going, return_when=FIRST_COMPLETED)
            for future in done:
                curve, trial = going.pop(future)
                line = _line(trial, future.result())
                told(line)
                going |= begun(curve.after(line))


def _line(trial: Trial, reached: float) -> CurveLine:
    return CurveLine(
        variant=trial.variant.name,
        learner=trial.learner,
        count=trial.count,
        seed=trial.seed,
        reached=float(f"{reached:.4g}"),
    )


def _verifier(trial: Trial) -> float:
    world = _world(trial.variant)
    train_pairs = _pairs(world, "train", trial.count, trial.seed)
    dataset = _dataset(world, pairs=train_pairs)
    stage = Stage(
        name="difficulty-verifier",
        source=Source(who=PAIRS),
        labeller=DATA,
        objective=Objective(loss="bradley-terry", score="head-sum"),
        schedule=_schedule(len(train_pairs), 2e-3),
    )
    model = reward_model_on(_policy(world, trial.seed), reading="sum", seed=trial.seed)
    _train(stage, model, dataset, world, trial.seed)
    held_out = _pairs(world, "test", _TESTED, trial.seed)
    found = scorers.margins(GlobalLabeller(model, 4096), held_out)
    return float(np.mean(scorers.hits(found)))


def _generator(trial: Trial) -> float:
    expert = _world(trial.variant, **trial.variant.flawless)
    shown = expert.demonstrations(trial.count, seed=trial.seed)
    dataset = _dataset(expert, demonstrations=shown)
    stage = Stage(
        name="difficulty-generator",
        source=Source(who=DEMONSTRATIONS),
        objective=Objective(loss="likelihood"),
        schedule=_schedule(len(shown), 3e-3),
    )
    policy = _policy(expert, trial.seed)
    _train(stage, policy, dataset, expert, trial.seed)
    drawn = sample(
        policy,
        expert.prompts("test")[: _TESTED // 3],
        per_prompt=1,
        temperature=_GREEDY,
        max_new_tokens=expert.max_new_tokens,
        seed=(address(trial.seed, "difficulty"), "test"),
    )
    answers = [one for group in drawn for one in group]
    rewards = expert.verify([one.prompt.tokens for one in answers], [a.tokens for a in answers])
    return float(np.mean(rewards))


def _world(variant: Variant, **changes: float) -> World:
    options: dict[str, Any] = {**variant.options, **changes}
    return make_world(variant.world, **options)


def _schedule(rows: int, rate: float) -> Schedule:
    epochs = max(1, round(_STEPS * _BATCH / rows))
    return Schedule(epochs=epochs, batch_size=_BATCH, learning_rate=rate)


def _policy(world: World, seed: int) -> Policy:
    return small_transformer(
        vocabulary=len(world.vocabulary),
        context=world.context,
        eos_id=world.eos_id,
        seed=seed,
    )


def _train(stage: Stage, trainee: Trainee, dataset: Dataset, world: World, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        supplies = Supplies(
            dataset=dataset,
            seed=seed,
            address=stage.name,
            reference=None,
            writer=None,
            labeller=None,
            temperature=1.0,
            max_new_tokens=world.max_new_tokens,
            token_budget=4096,
            sample_batch=1024,
        )
        train(stage, trainee, supplies, Keeping(Path(folder), checkpoint_seconds=math.inf))


def _pairs(world: World, split: Split, count: int, seed: int) -> list[Pair]:
    """Pairs of the demonstrators' answers that differ in truth, the better one chosen.

    Raises:
        ConfigError: when the world's demonstrators cannot be asked, or hardly ever differ.
    """
    if not isinstance(world, Demonstrator):
        raise ConfigError(f"world {world.name!r}: its demonstrators cannot be asked twice")
    rng = child(seed, "difficulty", split)
    prompts = world.prompts(split)
    out: list[Pair] = []
    for _ in range(20):
        asked = [prompts[i] for i in rng.integers(len(prompts), size=count)]
        both = [[world.demonstrate(prompt, rng) for prompt in asked] for _ in range(2)]
        tokens = [prompt.tokens for prompt in asked]
        truths = [world.verify(tokens, answers) for answers in both]
        out += [
            _pair(prompt, a, b, x - y)
            for prompt, a, b, x, y in zip(asked, *both, *truths, strict=True)
            if x != y
        ]
        if len(out) >= count:
            return out[:count]
    raise ConfigError(
        f"world {world.name!r}: two answers of its demonstrators differ in truth too seldom to "
        "measure how hard verifying is; make them worse"
    )


def _pair(prompt: Prompt, a: tuple[int, ...], b: tuple[int, ...], lead: float) -> Pair:
    chosen, rejected = (a, b) if lead > 0 else (b, a)
    return Pair(prompt_id=prompt.prompt_id, prompt=prompt.tokens, chosen=chosen, rejected=rejected)


def _dataset(
    world: World, *, pairs: Sequence[Pair] = (), demonstrations: Sequence[Demonstration] = ()
) -> Dataset:
    every: dict[Split, tuple[Pair, ...]] = {split: () for split in SPLITS}
    every["train"] = tuple(pairs)
    return Dataset(
        pairs=every,
        demonstrations=tuple(demonstrations),
        prompts={split: world.prompts(split) for split in SPLITS},
        audit=audit_of(
            pairs=every,
            demonstrations=tuple(demonstrations),
            sources=[],
            max_length=world.context,
            over_long="drop",
            eos_id=world.eos_id,
        ),
    )
