"""Adapters, half precision and recomputing: the same contract as training all weights plainly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from allroads.models.lora import Lora, add_adapter
from allroads.models.policy import Policy
from allroads.models.recompute import prepare
from allroads.models.reward_model import RewardModel, reward_model_on
from allroads.models.states import Rows
from allroads.roads.loop import Keeping, train
from allroads.roads.stage import Stage
from tests.conftest import tiny_policy
from tests.roads.problem import (
    PROMPTS,
    STAGES,
    Killed,
    die_at,
    same_weights,
    supplies,
    total_steps,
    weights_of,
)

SIZE = Lora(rank=2, alpha=4.0)
NAMES = ("sft", "dpo", "reward-model", "online-dpo", "rloo")


def start_policy(way: str) -> Policy:
    return tiny_policy("llama", dtype=torch.bfloat16 if way == "bfloat16" else torch.float32)


def made(stage: Stage, way: str) -> Policy | RewardModel:
    """A fresh trainee, always with the same weights."""
    policy = start_policy(way)
    adapter = SIZE if way == "lora" else None
    if adapter is not None:
        pytest.importorskip("peft", reason="the package peft is not installed")
    if stage.makes == "policy":
        model: Policy | RewardModel = policy
        if adapter is not None:
            add_adapter(policy.model, adapter, seed=3)
    else:
        policy.model.requires_grad_(requires_grad=adapter is None)
        reading = stage.objective.score.removeprefix("head-")
        model = reward_model_on(policy, reading=reading, seed=3, adapter=adapter)  # type: ignore[arg-type]
    if way == "recomputing":
        prepare(model.model)
    return model


def run(
    name: str, way: str, folder: Path, progress: Callable[[int, int], None] = lambda a, b: None
) -> Policy | RewardModel:
    stage = STAGES[name]
    model = made(stage, way)
    given = supplies(stage, start_policy(way))
    train(stage, model, given, Keeping(folder, 2, checkpoint_seconds=0), progress)
    return model


@pytest.mark.parametrize("way", ["lora", "bfloat16", "recomputing"])
@pytest.mark.parametrize("name", NAMES)
def test_training_moves_what_it_should_and_a_kill_at_every_step_is_not_seen(
    name: str, way: str, tmp_path: Path
):
    straight = run(name, way, tmp_path / "straight")
    before = weights_of(made(STAGES[name], way))
    trained = {n for n, p in straight.model.named_parameters() if p.requires_grad}
    moved = {n for n, w in weights_of(straight).items() if not torch.equal(w, before[n])}
    assert moved
    assert moved <= trained
    if way == "lora":
        assert all("lora_" in n or "score" in n for n in trained)

    for step in range(2, total_steps(STAGES[name]) + 1):
        with pytest.raises(Killed):
            run(name, way, tmp_path / "killed", die_at(step))
    resumed = run(name, way, tmp_path / "killed")
    assert same_weights(straight, resumed)
    for k in (1, 2):
        kept = load_file(tmp_path / "straight" / "snapshots" / f"{k}.safetensors")
        assert set(kept) <= {*trained, *(n for n, _ in straight.model.named_buffers())}


@torch.no_grad()
def test_half_precision_scores_as_single_precision_up_to_its_eight_bits():
    rows = Rows([p.tokens for p in PROMPTS], [(4, 5, 6, 0)] * len(PROMPTS))
    half, single = start_policy("bfloat16"), start_policy("lora")
    value, truth = half.sequence_logprobs(rows), single.sequence_logprobs(rows)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, truth, rtol=0.03, atol=0.0)
