"""The one loop: gather a round, take its steps, again; every road goes through here."""

from __future__ import annotations

import json
import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from allroads import files
from allroads.errors import TrainingError
from allroads.models.critic import ActorCritic
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel
from allroads.records import Cost
from allroads.roads import checkpoint, replay
from allroads.roads.accumulate import Trainee, accumulate
from allroads.roads.checkpoint import Position, State
from allroads.roads.optimiser import Optimiser
from allroads.roads.sources import gather, planned_slots, with_leads
from allroads.roads.stage import Schedule, Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Round, Unit
from allroads.seeding import child

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all) after every step."""
Tell = Callable[[dict[str, float]], None]
"""Called with every line of metrics.jsonl in order, those that a resume kept included."""


@dataclass(frozen=True)
class Keeping:
    """What a stage leaves on disk while it runs.

    Attributes:
        folder: the stage's folder.
        snapshots: weights kept at this many evenly spaced moments, the last step included.
        checkpoint_seconds: least time between two checkpoints; 0 writes one after every step.
    """

    folder: Path
    snapshots: int = 1
    checkpoint_seconds: float = 60.0

    def snapshot(self, index: int) -> Path:
        """Where snapshot `index` of 1..snapshots lies."""
        return self.folder / "snapshots" / f"{index}.safetensors"


def steps_per_round(stage: Stage, slots: int) -> int:
    """Optimiser steps that one round takes."""
    if stage.schedule.updates is not None:
        return stage.schedule.updates
    return stage.schedule.epochs * math.ceil(slots / stage.schedule.batch_size)


def train(
    stage: Stage,
    trainee: Trainee,
    supplies: Supplies,
    keeping: Keeping,
    progress: Progress = lambda done, total: None,
    tell: Tell = lambda line: None,
) -> Cost:
    """Train `trainee` in place through all rounds of a stage, from its last checkpoint if any.

    Writes `metrics.jsonl`, one line a step, and the snapshots; the caller saves the final model.
    `tell` hears each line as it is written. A stage on pairs of samples also leaves those pairs, so
    that another one can be trained on them.

    Raises:
        TrainingError: when the loss is not a number, or when no round gave a single unit.
    """
    if stage.source.sampled:  # Every round asks the reference; otherwise a gather lets go of it.
        supplies = supplies.opened_once()
    model = trainee.model
    state = State(model, Optimiser(model, stage.schedule))
    restored = checkpoint.restore(state, keeping.folder / "state")
    log = MetricsLog(keeping.folder / "metrics.jsonl", state.position.step if restored else 0, tell)
    # A checkpoint's cost holds what the leads have taken.
    supplies = with_leads(stage, supplies, Cost() if restored else state.cost)
    slots = planned_slots(stage, supplies.dataset, supplies.replayed)
    per_round = steps_per_round(stage, slots)
    total = per_round * stage.schedule.rounds
    clock = _Clock(state.cost)
    saved_at = time.monotonic()
    policy = None if isinstance(trainee, RewardModel) else _policy(trainee)
    critic = trainee.critic if isinstance(trainee, ActorCritic) else None
    while state.position.round < stage.schedule.rounds:
        if state.material is None:
            state.material = gather(
                stage, supplies, policy, state.position.round, state.cost, critic
            )
            if stage.source.sampled and stage.yields == "pair":
                replay.keep(state.material, state.position.round, keeping.folder)
        for units in _minibatches(stage, supplies, state.material, state.position):
            line = _step(stage, trainee, supplies, state, units, total)
            log.write({"step": state.position.step, "round": state.position.round, **line})
            state.position.step += 1
            state.position.step_in_round += 1
            _snapshots(keeping, state, (policy or trainee).model, total)
            progress(state.position.step, total)
            if state.position.step_in_round < per_round:
                saved_at = _maybe_save(state, keeping, clock, log, saved_at)
        state.position = Position(state.position.round + 1, 0, state.position.step)
        state.material = None
        if state.position.round < stage.schedule.rounds:
            saved_at = _maybe_save(state, keeping, clock, log, saved_at)
    log.close()
    clock.stop()
    if state.cost.tokens_trained == 0:
        raise TrainingError(
            f"stage {stage.name!r}: none of its {stage.schedule.rounds} rounds gave anything to "
            "learn from (every pair tied, or no completion was finished); raise "
            "--max-new-tokens, or look at metrics.jsonl"
        )
    return state.cost


def _minibatches(
    stage: Stage, supplies: Supplies, material: Round, position: Position
) -> Iterator[list[Unit]]:
    """The rest of a round's minibatches: a seeded permutation of the slots for each epoch."""
    by_slot = {unit.slot: unit for unit in material.units}
    size = stage.schedule.batch_size
    per_epoch = math.ceil(material.slots / size)
    for step in range(position.step_in_round, steps_per_round(stage, material.slots)):
        epoch, place = divmod(step, per_epoch)
        rng = child(supplies.seed, supplies.address, "order", position.round, epoch)
        order = rng.permutation(material.slots)[place * size : (place + 1) * size]
        yield [by_slot[slot] for slot in order.tolist() if slot in by_slot]


def _step(
    stage: Stage,
    trainee: Trainee,
    supplies: Supplies,
    state: State,
    units: list[Unit],
    total: int,
) -> dict[str, float]:
    """One optimiser step; without a unit nothing moves and the step is only counted."""
    assert state.material is not None
    rate = _learning_rate(stage.schedule, state.position.step, total)
    facts = {**state.material.facts, "learning_rate": rate, "units": float(len(units))}
    if not units:
        return facts
    loss, metrics = accumulate(stage, trainee, supplies, units, state.cost, state.optimiser.collect)
    if not math.isfinite(loss):
        raise TrainingError(
            f"stage {stage.name!r}: the loss became {loss} at step {state.position.step}; lower "
            f"the learning rate (now {stage.schedule.learning_rate:g})"
        )
    norm = state.optimiser.clip()
    if not math.isfinite(norm):
        raise TrainingError(
            f"stage {stage.name!r}: the gradient became {norm} at step "
            f"{state.position.step}; lower the learning rate (now "
            f"{stage.schedule.learning_rate:g})"
        )
    state.optimiser.step(rate)
    return {"loss": loss, **metrics, "gradient_norm": norm, **facts}


def _learning_rate(schedule: Schedule, step: int, total: int) -> float:
    warm = math.ceil(schedule.warmup * total)
    if step < warm:
        return schedule.learning_rate * (step + 1) / warm
    left = (total - step) / max(1, total - warm)
    shape = {
        "constant": 1.0,
        "linear": left,
        "cosine": 0.5 * (1 - math.cos(math.pi * left)),
    }[schedule.decay]
    return schedule.learning_rate * shape


def _policy(trainee: Policy | ActorCritic) -> Policy:
    return trainee.policy if isinstance(trainee, ActorCritic) else trainee


def _snapshots(keeping: Keeping, state: State, model: nn.Module, total: int) -> None:
    for index in range(1, keeping.snapshots + 1):
        if state.position.step == math.ceil(total * index / keeping.snapshots):
            from safetensors.torch import save_file

            path = keeping.snapshot(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            save_file(checkpoint.weights(model), temporary)
            temporary.replace(path)


def _maybe_save(
    state: State, keeping: Keeping, clock: _Clock, log: MetricsLog, saved_at: float
) -> float:
    if time.monotonic() - saved_at < keeping.checkpoint_seconds:
        return saved_at
    clock.stop()
    log.flush()
    checkpoint.save(state, keeping.folder / "state")
    return time.monotonic()


def clear_checkpoints(keeping: Keeping) -> None:
    """Remove the checkpoints of a finished stage."""
    shutil.rmtree(keeping.folder / "state", ignore_errors=True)


class MetricsLog:
    """`metrics.jsonl`: one line a step; a resumed run drops the lines after its checkpoint."""

    def __init__(self, path: Path, steps: int, tell: Tell) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept: list[str] = []
        if path.is_file() and steps:
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    done = json.loads(line)["step"]
                except (ValueError, KeyError):
                    break
                if done < steps:
                    kept.append(line + "\n")
        files.write_text(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8")
        self._tell = tell
        for line in kept:
            tell(json.loads(line))

    def write(self, line: dict[str, float]) -> None:
        """Append one step."""
        self._file.write(json.dumps(line) + "\n")
        self._tell(line)

    def flush(self) -> None:
        """Bring everything to disk, before the checkpoint that counts on it."""
        self._file.flush()

    def close(self) -> None:
        """No more lines."""
        self._file.close()


class _Clock:
    """Adds the time since the last reading, and the peak memory, to a cost."""

    def __init__(self, cost: Cost) -> None:
        self._cost = cost
        self._since = time.monotonic()

    def stop(self) -> None:
        now = time.monotonic()
        self._cost.seconds += now - self._since
        self._since = now
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        scale = 1.0 if sys.platform == "darwin" else 1024.0
        self._cost.peak_memory_mb = max(self._cost.peak_memory_mb, peak * scale / 2**20)
