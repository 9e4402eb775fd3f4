"""The loop: rates, epochs, clipping, snapshots, and what cannot go on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from allroads.errors import TrainingError
from allroads.judges import CallableLabeller
from allroads.models.states import Rows
from allroads.roads.accumulate import accumulate
from allroads.roads.choices import Schedule
from allroads.roads.loop import Keeping, train
from allroads.types import Pair
from tests.roads.problem import (
    OFFLINE,
    ONLINE,
    PROMPTS,
    STAGES,
    changed,
    lines_of,
    made_of,
    rescheduled,
    run,
    same_weights,
    supplies,
    tiny_policy,
    total_steps,
    trainee,
    weights_of,
)

NAMES = sorted(STAGES)


@pytest.mark.parametrize("name", NAMES)
def test_steps_rounds_and_rates_as_logged(name: str, tmp_path: Path):
    stage = rescheduled(name, warmup=0.5, decay="linear", learning_rate=0.1)
    run(stage, tmp_path)
    lines, total = lines_of(tmp_path), total_steps(stage)
    per_round = total // stage.schedule.rounds
    assert [line["step"] for line in lines] == list(range(total))
    assert [line["round"] for line in lines] == [step // per_round for step in range(total)]
    # Up to the full rate at the end of the first half, then down; the last step still moves.
    warm = math.ceil(total / 2)
    expected = [
        0.1 * ((step + 1) / warm if step < warm else (total - step) / (total - warm))
        for step in range(total)
    ]
    assert [line["learning_rate"] for line in lines] == pytest.approx(expected)
    assert min(expected) > 0


def test_cosine_and_constant_decay_by_hand(tmp_path: Path):
    # Six steps, no warm-up: half a cosine at 0, 1/6, ..., 5/6 of its way.
    run(rescheduled("dpo", warmup=0.0, decay="cosine", learning_rate=0.1), tmp_path / "cosine")
    rates = [line["learning_rate"] for line in lines_of(tmp_path / "cosine")]
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 6)) for i in range(6)])
    run(rescheduled("dpo", warmup=0.0, decay="constant", learning_rate=0.1), tmp_path / "flat")
    assert [line["learning_rate"] for line in lines_of(tmp_path / "flat")] == [0.1] * 6


@pytest.mark.parametrize("name", [name for name in OFFLINE if STAGES[name].pick != "two"])
def test_every_epoch_reads_every_row_once_in_another_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    slots: list[list[int]] = []
    real = accumulate

    def remember(stage, model, given, units, *rest):
        slots.append([unit.slot for unit in units])
        return real(stage, model, given, units, *rest)

    monkeypatch.setattr("allroads.roads.loop.accumulate", remember)
    run(STAGES[name], tmp_path)
    assert [len(batch) for batch in slots] == [4, 4, 2, 4, 4, 2]
    first, second = (
        [slot for batch in epoch for slot in batch] for epoch in (slots[:3], slots[3:])
    )
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_the_gradient_is_clipped_to_its_largest_norm(tmp_path: Path):
    """Read from the gradients that the optimiser is handed: Adam itself hides their size."""
    norms: list[float] = []

    def hook(optimiser: torch.optim.Optimizer, *_: object) -> None:
        grads = [p.grad for g in optimiser.param_groups for p in g["params"] if p.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.stack([g.norm() for g in grads])).item())

    handle = register_optimizer_step_pre_hook(hook)
    try:
        run(rescheduled("dpo", gradient_clip=1e-3), tmp_path)
    finally:
        handle.remove()
    assert norms == pytest.approx([1e-3] * 6, rel=1e-2)
    assert min(line["gradient_norm"] for line in lines_of(tmp_path)) > 0.1


@pytest.mark.parametrize("snapshots", [1, 3, 6])
def test_snapshots_are_evenly_spaced_and_the_last_is_the_end(snapshots: int, tmp_path: Path):
    stage = STAGES["dpo"]
    model = trainee(stage)
    keeping = Keeping(tmp_path, snapshots=snapshots)
    moments: list[dict[str, Tensor]] = []
    train(
        stage,
        model,
        supplies(stage, tiny_policy()),
        keeping,
        lambda done, total: moments.append(weights_of(model)),
    )
    assert len(moments) == 6
    for index in range(1, snapshots + 1):
        saved = load_file(keeping.snapshot(index))
        now = moments[6 * index // snapshots - 1]
        assert all(torch.equal(saved[name], now[name]) for name in now if name in saved)
        assert {name for name in now if name not in saved} <= {"lm_head.weight"}
    assert len(list((tmp_path / "snapshots").iterdir())) == snapshots


# What cannot go on --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_no_number_stops_with_the_stage_and_the_rate(name: str, tmp_path: Path):
    stage = STAGES[name]
    model = trainee(stage)
    material = supplies(stage, tiny_policy())
    if stage.source.sampled:
        # The writer must still write, so that the first update is what breaks.
        material = supplies(stage, tiny_policy(), writer=tiny_policy())
    with torch.no_grad():
        next(model.model.parameters())[:] = math.nan
    with pytest.raises(
        TrainingError, match=rf"stage '{name}': the loss became nan at step 0; .*\(now 0.01\)"
    ):
        train(stage, model, material, Keeping(tmp_path))


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(tmp_path: Path):
    stage = rescheduled("dpo", epochs=1, batch_size=10)  # one single step: nothing comes after
    model = trainee(stage)
    parameter = next(model.model.parameters())
    parameter.register_hook(lambda grad: grad * math.nan)
    with pytest.raises(TrainingError, match=r"stage 'dpo': the gradient became nan at step 0"):
        train(stage, model, supplies(stage, tiny_policy()), Keeping(tmp_path))
    assert same_weights(model, trainee(stage))


@pytest.mark.usefixtures("all_finish")
@pytest.mark.parametrize("score", [None, 1.0])
@pytest.mark.parametrize("name", [name for name in ONLINE if STAGES[name].labeller != "data"])
def test_a_stage_that_never_got_a_unit_is_an_error(name: str, score: float | None, tmp_path: Path):
    """Every score failed, or tied; nothing moved, and every step was counted all the same."""
    stage = STAGES[name]
    if stage.yields != "pair" and score is not None:
        pytest.skip("equal scores tie pairs alone: a winner is decided by likelihood, and the "
                    "penalty for divergence tells a group's completions apart")  # fmt: skip
    model = trainee(stage)
    labeller = CallableLabeller(lambda prompts, completions: [score] * len(prompts))
    given = supplies(stage, tiny_policy(), labeller=labeller)
    with pytest.raises(TrainingError, match=rf"stage '{name}': none of its \d rounds gave any"):
        train(stage, model, given, Keeping(tmp_path))
    assert same_weights(model, trainee(stage))
    lines = lines_of(tmp_path)
    assert len(lines) == total_steps(stage)
    assert all(line["units"] == 0 and "loss" not in line for line in lines)


@pytest.mark.usefixtures("all_finish")
def test_an_empty_round_among_others_moves_nothing_and_is_counted(tmp_path: Path):
    """The second of two rounds fails: the stage ends where the first round left it."""
    schedule = Schedule(learning_rate=1e-2, batch_size=3, rounds=2, epochs=3)
    stage = changed("rloo", schedule=schedule)
    calls = 0

    def fails_later(prompts, completions):
        nonlocal calls
        calls += 1
        return [float(len(c)) if calls == 1 else None for c in completions]

    model = trainee(stage)
    moments: list[dict[str, Tensor]] = []
    given = supplies(stage, tiny_policy(), labeller=CallableLabeller(fails_later))
    train(stage, model, given, Keeping(tmp_path), lambda *_: moments.append(weights_of(model)))
    lines = lines_of(tmp_path)
    assert [line["units"] > 0 for line in lines] == [True] * 3 + [False] * 3
    end = weights_of(model)
    assert all(torch.equal(end[name], value) for name, value in moments[2].items())


# The price of divergence --------------------------------------------------------------------------


@pytest.mark.parametrize(("beta", "rate"), [(0.5, 1e-2), (1000.0, 1e-6)])
def test_dpo_reaches_the_exact_optimum_of_stochastic_labels(
    beta: float, rate: float, tmp_path: Path
):
    """Three of four labels prefer A to B: at the optimum the lead is log 3, so
    log pi(A)/pi(B) = log ref(A)/ref(B) + log(3) / beta. A huge beta stays at the reference.
    """
    prompt = PROMPTS[0]
    a, b = (5, 0), (6, 7, 0)
    pairs = [
        Pair(prompt_id="p", prompt=prompt.tokens, chosen=chosen, rejected=rejected)
        for chosen, rejected in [(a, b), (a, b), (b, a), (a, b)]
    ]
    stage = changed(
        "dpo",
        objective=STAGES["dpo"].objective.model_copy(update={"beta": beta}),
        schedule=Schedule(learning_rate=rate, batch_size=4, epochs=100, gradient_clip=1e9),
    )
    start, model = tiny_policy(dtype=torch.float64), tiny_policy(dtype=torch.float64)
    given = supplies(stage, start, dataset=made_of(pairs, (), [prompt]))
    train(stage, model, given, Keeping(tmp_path))
    with torch.no_grad():
        rows = Rows([prompt.tokens] * 2, [a, b])
        before, after = start.sequence_logprobs(rows), model.sequence_logprobs(rows)
        gain = ((after - before)[0] - (after - before)[1]).item()
    assert gain == pytest.approx(math.log(3) / beta, abs=0.02 / beta)
    if beta == 1000:
        assert (after - before).abs().max() < 0.02
    # The surprise of the labels at the optimum is their entropy, whatever beta is.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert lines_of(tmp_path)[-1]["loss"] == pytest.approx(entropy, abs=1e-3)
