"""What a plan will cost, before it runs: tokens from the plan, seconds from a short calibration."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from allroads.data.tokenise import load_tokeniser
from allroads.evaluation import graders
from allroads.lab.compare import Prepared
from allroads.lab.diagnose.fitting import fitted_stage
from allroads.lab.execute import answered
from allroads.lab.jobs import Job
from allroads.models.device import resolve_device
from allroads.models.lora import add_adapter
from allroads.models.policy import Policy
from allroads.models.recompute import recomputing
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads.optimiser import Optimiser
from allroads.roads.stage import DEMONSTRATIONS, JUDGE, Schedule, Stage
from allroads.rollouts.sampler import sample
from allroads.types import Prompt

_CALIBRATION_FLOPS = 4e11
"""Work of one calibration pass: a few seconds on one core, however large the model."""
_CALIBRATION_ANSWERS = 24
_LONG_ENOUGH = 3.0
"""Seconds after which a measurement is not repeated."""
_JOB_OVERHEAD = 0.5
"""Seconds of a job besides its tokens: loading, saving."""


@dataclass(frozen=True)
class Tokens:
    """Tokens that a job trains on, samples, and only runs forward; and answers that it grades.

    `asked` are requests to a judge, at most: nothing is asked about equal texts.
    """

    trained: float = 0.0
    sampled: float = 0.0
    scored: float = 0.0
    graded: float = 0.0
    asked: float = 0.0


@dataclass(frozen=True)
class Speed:
    """Tokens, and graded answers, per second of one process on this machine."""

    train: float
    sample: float
    score: float
    grade: float

    def seconds(self, tokens: Tokens) -> float:
        """Expected time of a job."""
        return (
            tokens.trained / self.train
            + tokens.sampled / self.sample
            + tokens.scored / self.score
            + tokens.graded / self.grade
            + _JOB_OVERHEAD
        )


@dataclass(frozen=True)
class Shape:
    """Counts and typical lengths that a plan's cost follows from."""

    demonstrations: int
    pairs: dict[str, int]
    prompts: dict[str, int]
    prompt_length: float
    completion_length: float
    sample_length: float


def shape_of(prepared: Prepared) -> Shape:
    """Counts and mean lengths: of the data, or what a world will make."""
    config, dataset = prepared.config, prepared.dataset
    if dataset is None:
        world = config.make_world()
        assert world is not None
        length = float(np.mean([len(d.completion) for d in world.demonstrations(200, seed=0)]))
        sizes = config.sizes
        return Shape(
            demonstrations=sizes.demonstrations,
            pairs={
                "train": sizes.pairs,
                "selection": sizes.selection_pairs,
                "test": sizes.test_pairs,
            },
            prompts={s: len(world.prompts(s)) for s in ("train", "selection", "test")},  # type: ignore[arg-type]
            prompt_length=float(len(world.prompts("train")[0].tokens)),
            completion_length=length,
            sample_length=length,
        )
    rows = dataset.pairs["train"]
    lengths = [(len(p.chosen) + len(p.rejected)) / 2 for p in rows]
    mean = float(np.mean(lengths))
    return Shape(
        demonstrations=len(dataset.demonstrations),
        pairs={s: len(dataset.pairs[s]) for s in dataset.pairs},
        prompts={s: len(dataset.prompts[s]) for s in dataset.prompts},
        prompt_length=float(np.mean([len(p.prompt) for p in rows])),
        completion_length=mean,
        sample_length=min(1.3 * mean, float(prepared.settings.max_new_tokens)),
    )


def tokens_of(job: Job, shape: Shape, prepared: Prepared) -> Tokens:
    """Expected tokens of a job."""
    row, sampled_row = (
        shape.prompt_length + shape.completion_length,
        shape.prompt_length + shape.sample_length,
    )
    if job.kind == "stage":
        name = job.spec["links"]["replayed"]
        replayed = prepared.plan.jobs[name].stage if name else None
        return _stage_tokens(job.stage, job.spec["split"], shape, replayed)
    limit = prepared.config.eval_prompts
    test = min(limit, shape.prompts["test"])
    most_train, most_selection = answered(limit)
    train = min(most_train, shape.prompts["train"])
    selection = min(most_selection, shape.prompts["selection"])
    if job.kind == "evaluate":
        each = job.spec["snapshots"] * job.spec["samples"]
        count = each * (test + train + selection)
        # Every answer passes one scorer at most, and those on test prompts the start policy too.
        scored = 1.2 * count * sampled_row
        return Tokens(0, count * shape.sample_length, scored, each * (test + train))
    if job.kind == "best-of-n":
        top = max(job.spec["ns"])
        count = test * job.spec["pool"] + (train + selection) * top
        graded = test * job.spec["pool"] + train * top
        asked = 0.0
        if job.asks(JUDGE):
            asked = _requests(test, job.spec["pool"]) + _requests(train + selection, top)
        return Tokens(0, count * shape.sample_length, count * sampled_row, graded, asked)
    if job.kind == "grader":
        return Tokens(graded=2 * (shape.pairs["grader"] + shape.pairs["test"]))
    if job.kind == "scorer":
        pairs = shape.pairs["test"] + min(150, shape.pairs["train"])
        return Tokens(0, 0, 2 * pairs * row)
    if job.kind == "pairs":
        pairs = sum(shape.pairs.values())
        return Tokens(0, 2 * pairs * shape.sample_length, 0)
    if job.kind == "block":
        whole = Stage.model_validate(job.spec["stage"])
        stage = fitted_stage(whole, shape.pairs["train"], job.spec["capacity"])
        part = 2.0 ** (job.spec["block"] + 1 - job.spec["blocks"])
        full = _stage_tokens(stage, "train", shape, None)
        judged = 2 * row * (_read(job, shape) + part * shape.pairs["train"])
        return Tokens(part * full.trained, 0, judged)
    if job.kind == "reading":
        return Tokens(0, 0, 2 * row * (_read(job, shape) + shape.pairs["train"]))
    if job.kind == "pool":
        prompts = min(job.spec["prompts"], shape.prompts["test"], _read(job, shape))
        count = prompts * job.spec["samples"]
        # Two reward models, the generator, and the beginnings of some samples.
        return Tokens(0, count * shape.sample_length, 3.4 * count * sampled_row)
    if job.kind == "offline":
        prompts = min(job.spec["prompts"], shape.prompts["test"], _read(job, shape))
        count = prompts * job.spec["samples"]
        trials = len(job.spec["policies"]) * job.spec["snapshots"]
        tried = trials * prompts * job.spec["tried_samples"]
        # The start policy and the independent scorer read all; the learners what is chosen.
        scored = (2.0 * tried + 4.0 * count) * sampled_row
        return Tokens(0, (tried + count) * shape.sample_length, scored)
    return Tokens()


def _read(job: Job, shape: Shape) -> int:
    """Held-out pairs that a job of a diagnosis reads."""
    return min(job.spec["held_out"], shape.pairs["test"])


def _stage_tokens(stage: Stage, split: str, shape: Shape, replayed: Stage | None) -> Tokens:
    schedule = stage.schedule
    row = shape.prompt_length + shape.completion_length
    reference = 1 if stage.objective.reference else 0
    if not stage.source.sampled:
        sides = 1 if stage.yields == "single" else 2
        units = shape.demonstrations if stage.source.who == DEMONSTRATIONS else shape.pairs[split]
        if replayed is not None:
            units = _answered(replayed, split, shape)
        once = units * sides * row
        return Tokens(once * _passes(schedule, units), 0, once * reference)
    prompts = _answered(stage, split, shape)
    passes = schedule.epochs if stage.source.refresh == "update" else _passes(schedule, prompts)
    k = stage.source.per_prompt or 1
    used = {"group": k, "winners": 1}.get(stage.pick, 2)
    networks = 1 if stage.objective.critic is None else 2
    again = 0 if stage.on_policy else 1
    asked = _requests(prompts, k) if stage.labeller == JUDGE else 0.0
    sampled = shape.prompt_length + shape.sample_length
    leads = 2 * shape.pairs[split] * row if stage.pick == "margin-matched" else 0.0
    return Tokens(
        prompts * used * sampled * passes * networks,
        prompts * k * shape.sample_length,
        prompts * sampled * (k + used * (reference + again + networks - 1)) + leads,
        asked=asked,
    )


def _answered(stage: Stage, split: str, shape: Shape) -> int:
    """Prompts that a stage which samples answers, in all its rounds."""
    once = shape.prompts["train"] if stage.source.prompts == "all" else shape.pairs[split]
    if stage.source.refresh != "update":
        return once
    return stage.schedule.rounds * min(stage.schedule.batch_size, once)


def _passes(schedule: Schedule, units: float) -> float:
    if schedule.updates is None:
        return schedule.epochs
    return schedule.updates * schedule.batch_size / max(units, schedule.batch_size)


def _requests(prompts: float, completions: int) -> float:
    """Both orders of every two completions of each prompt."""
    return prompts * completions * (completions - 1)


def measure_speed(prepared: Prepared, shape: Shape) -> Speed:
    """Train, score and sample a little on rows of typical length; seconds, not minutes."""
    model = copy.deepcopy(prepared.policy.model)
    if prepared.config.lora is not None:
        add_adapter(model, prepared.config.lora, seed=0)
    policy = Policy(model, prepared.settings.eos_id)
    policy.model.to(resolve_device(prepared.config.device))  # type: ignore[arg-type]
    before = torch.get_num_threads()
    torch.set_num_threads(prepared.config.threads)
    try:
        rows = _typical_rows(prepared, shape)
        train = _rate(rows.tokens, lambda: _train_once(policy, rows))
        with torch.no_grad():
            score = _rate(rows.tokens, lambda: policy.sequence_logprobs(rows))
        prompts = [Prompt(prompt_id=str(i), tokens=p) for i, p in enumerate(rows.prompts)]
        drawn: list[int] = []

        def draw() -> None:
            groups = sample(
                policy,
                prompts,
                per_prompt=2,
                temperature=1.0,
                max_new_tokens=min(prepared.settings.max_new_tokens, 24),
                seed=(0, "calibration"),
            )
            drawn.append(sum(len(one.tokens) for group in groups for one in group))

        seconds = _seconds(draw)
        grade = _grading_rate(prepared)
        return Speed(train=train, sample=drawn[-1] / seconds, score=score, grade=grade)
    finally:
        torch.set_num_threads(before)


def _grading_rate(prepared: Prepared) -> float:
    """Answers per second of the encoder that grades; infinite where there is none."""
    if prepared.config.world is not None:
        return math.inf
    folder = graders.encoder_folder(prepared.settings.grader)
    if folder is None:
        return math.inf
    assert prepared.dataset is not None
    assert prepared.settings.model_folder is not None
    tokeniser = load_tokeniser(
        prepared.settings.model_folder, max_length=prepared.settings.max_length
    )
    pairs = prepared.dataset.pairs["test"][:_CALIBRATION_ANSWERS]
    texts = [tokeniser.decode(pair.chosen) for pair in pairs]
    encoder = graders.load_encoder(folder)
    return len(texts) / _seconds(lambda: encoder.vectors(texts))


def _typical_rows(prepared: Prepared, shape: Shape) -> Rows:
    rng = np.random.default_rng(0)
    tokens = min(8192.0, _CALIBRATION_FLOPS / (6 * prepared.settings.parameters))
    count = max(2, min(64, int(tokens / (shape.prompt_length + shape.completion_length))))

    def draw(length: float) -> tuple[int, ...]:
        size = max(1, round(length))
        return tuple(rng.integers(1, prepared.settings.vocabulary, size=size).tolist())

    return Rows(
        [draw(shape.prompt_length) for _ in range(count)],
        [draw(shape.completion_length) for _ in range(count)],
    )


def _train_once(policy: Policy, rows: Rows) -> None:
    optimiser = Optimiser(policy.model, Schedule(learning_rate=0.0))
    with recomputing(policy.model):
        policy.sequence_logprobs(rows).mean().backward()
    optimiser.collect()
    optimiser.step(0.0)


def _rate(tokens: int, work: object) -> float:
    return tokens / _seconds(work)


def _seconds(work: object) -> float:
    """The fastest of three runs; of one, where that takes long enough to be believed."""
    assert callable(work)
    best = float("inf")
    for _ in range(3):
        since = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - since)
        if best > _LONG_ENOUGH:
            break
    return best


def estimate(prepared: Prepared) -> dict[str, tuple[Tokens, float]]:
    """(tokens, seconds in one process) of every job."""
    return _estimated(prepared, prepared.plan.jobs)


def estimate_jobs(prepared: Prepared, jobs: Mapping[str, Job]) -> dict[str, Cost]:
    """What jobs are expected to cost: tokens, FLOPs, seconds in one process.

    Args:
        prepared: whose data and model they work on.
        jobs: of its plan, or further ones.
    """
    parameters = prepared.settings.parameters
    return {
        name: Cost(
            tokens_trained=round(tokens.trained),
            tokens_sampled=round(tokens.sampled),
            tokens_scored=round(tokens.scored),
            flops=parameters * (6 * tokens.trained + 2 * (tokens.sampled + tokens.scored)),
            seconds=seconds,
        )
        for name, (tokens, seconds) in _estimated(prepared, jobs).items()
    }


def _estimated(prepared: Prepared, jobs: Mapping[str, Job]) -> dict[str, tuple[Tokens, float]]:
    shape = shape_of(prepared)
    speed = measure_speed(prepared, shape)
    out = {}
    for name, job in jobs.items():
        tokens = tokens_of(job, shape, prepared)
        out[name] = (tokens, speed.seconds(tokens))
    return out
