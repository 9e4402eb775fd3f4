"""One contract for every kind of stage: its first loss, its gradient, and that no kill is seen."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from allroads import files
from allroads.errors import TrainingError
from allroads.judges import CallableLabeller
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel
from allroads.models.states import Rows
from allroads.records import Cost
from allroads.roads.accumulate import accumulate
from allroads.roads.loop import Keeping, clear_checkpoints, steps_per_round, train
from allroads.roads.losses import COMMON_METRICS, LOSSES
from allroads.roads.sources import gather, planned_slots
from allroads.roads.stage import Schedule, Stage
from allroads.roads.units import Unit
from allroads.types import Pair, Tokens
from tests.conftest import tiny_policy
from tests.models.test_reward_model import by_definition as score_by_definition
from tests.roads.problem import (
    OFFLINE,
    ONLINE,
    PROMPTS,
    STAGES,
    dataset,
    made_of,
    run,
    same_weights,
    supplies,
    trainee,
    weights_of,
)

NAMES = sorted(STAGES)


def changed(name: str, **changes: object) -> Stage:
    return Stage.model_validate({**dict(STAGES[name]), **changes})


def rescheduled(name: str, **changes: object) -> Stage:
    return changed(name, schedule=STAGES[name].schedule.model_copy(update=changes))


def lines_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def counters(cost: Cost) -> dict[str, float]:
    """What a run must cost however often it was killed."""
    return cost.model_dump(exclude={"seconds", "peak_memory_mb"})


def logprob_by_definition(policy: Policy, prompt: Tokens, completion: Tokens) -> Tensor:
    """One unpadded row through the model's own forward: sum of log softmax of the full logits."""
    logits = policy.model(torch.tensor([[*prompt, *completion]])).logits[0]
    terms = [
        logits[len(prompt) - 1 + t].log_softmax(-1)[token] for t, token in enumerate(completion)
    ]
    return torch.stack(terms).sum()


def first_batch(
    name: str, dtype: torch.dtype = torch.float64, **changes: Any
) -> tuple[Stage, Policy | RewardModel, list[Unit], Any]:
    """A stage at step 0: its model, the first round's units, and its supplies."""
    stage = STAGES[name]
    model = trainee(stage, dtype)
    start = tiny_policy(dtype=dtype)
    given = supplies(stage, start, **changes)
    units = list(gather(stage, given, start, 0, Cost()).units)
    assert len(units) >= 2
    return stage, model, units, given


def nudge(model: Policy | RewardModel) -> None:
    """Away from the reference, where a lead of exactly zero would count by its rounding."""
    with torch.no_grad():
        model.model.get_submodule("transformer.ln_f").weight.mul_(0.8)


def gradient(model: Policy | RewardModel) -> dict[str, Tensor]:
    return {
        name: p.grad.clone() for name, p in model.model.named_parameters() if p.grad is not None
    }


# The loss at step 0, derived apart from the loop --------------------------------------------------


@pytest.mark.parametrize("name", ["sft", "sft-chosen"])
@torch.no_grad()
def test_likelihood_starts_at_the_mean_surprise_per_token(name: str):
    stage, model, units, given = first_batch(name)
    assert isinstance(model, Policy)
    total = sum(logprob_by_definition(model, u.prompt, u.completions[0]).item() for u in units)
    tokens = sum(len(u.completions[0]) for u in units)
    with torch.enable_grad():
        loss, _ = accumulate(stage, model, given, units, Cost())
    assert loss == pytest.approx(-total / tokens, abs=1e-9)


@pytest.mark.parametrize("name", ["dpo", "online-dpo", "online-dpo-batch"])
def test_dpo_starts_at_log_two(name: str):
    stage, model, units, given = first_batch(name, torch.float32)
    loss, metrics = accumulate(stage, model, given, units, Cost())
    assert loss == pytest.approx(math.log(2), abs=1e-6)
    assert metrics["lead"] == pytest.approx(0, abs=1e-6)


def test_a_reward_model_starts_at_the_surprise_of_its_random_head():
    stage, model, units, given = first_batch("reward-model")
    assert isinstance(model, RewardModel)
    with torch.no_grad():
        leads = [
            sum(
                sign * score_by_definition(model.model, "sum", u.prompt, c).item()
                for sign, c in zip((1, -1), u.completions, strict=True)
            )
            for u in units
        ]
    loss, metrics = accumulate(stage, model, given, units, Cost())
    # -log sigma(x) = log(1 + exp(-x))
    expected = sum(math.log1p(math.exp(-x)) for x in leads) / len(leads)
    assert loss == pytest.approx(expected, abs=1e-9)
    assert metrics["lead"] == pytest.approx(sum(leads) / len(leads), abs=1e-9)
    assert metrics["accuracy"] == pytest.approx(sum(x > 0 for x in leads) / len(leads))


def test_rloo_starts_at_ratio_one_with_the_gradient_of_reinforce():
    stage, model, units, given = first_batch("rloo")
    assert isinstance(model, Policy)
    loss, metrics = accumulate(stage, model, given, units, Cost())
    # Advantages of a group add up to zero, so at ratio 1 the loss is zero; its gradient is not.
    assert loss == pytest.approx(0, abs=1e-9)
    assert metrics["ratio"] == pytest.approx(1, abs=1e-9)
    assert metrics["kl"] == pytest.approx(0, abs=1e-9)
    got = gradient(model)
    model.model.zero_grad()
    reinforce = torch.stack(
        [
            -a * logprob_by_definition(model, u.prompt, c) / len(u.completions) / len(units)
            for u in units
            for a, c in zip(u.advantage or (), u.completions, strict=True)
        ]
    )
    reinforce.sum().backward()
    for key, expected in gradient(model).items():
        torch.testing.assert_close(got[key], expected, atol=1e-8, rtol=1e-7)
    assert max(g.abs().max() for g in got.values()) > 1e-3


def test_dpo_metrics_by_hand_off_the_reference():
    stage, model, units, given = first_batch("dpo")
    assert isinstance(model, Policy)
    nudge(model)
    with torch.no_grad():
        leads, better, worse = [], [], []
        for u in units:
            b, w = (logprob_by_definition(model, u.prompt, c).item() for c in u.completions)
            assert u.reference is not None
            better.append(b)
            worse.append(w)
            leads.append(0.5 * ((b - u.reference[0]) - (w - u.reference[1])))
    loss, metrics = accumulate(stage, model, given, units, Cost())
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    assert abs(mean(leads)) > 0.01
    assert loss == pytest.approx(mean([math.log1p(math.exp(-x)) for x in leads]), abs=1e-8)
    assert metrics == pytest.approx(
        {
            "accuracy": mean([float(x > 0) for x in leads]),
            "lead": mean(leads),
            "logprob_better": mean(better),
            "logprob_worse": mean(worse),
        },
        abs=1e-8,
    )


# Micro-batching -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_cutting_a_batch_into_pieces_changes_nothing(
    name: str, dtype: torch.dtype, tolerance: float
):
    outcomes = []
    for budget in (10**6, 40, 1):
        stage, model, units, given = first_batch(name, dtype)
        given = supplies(stage, tiny_policy(dtype=dtype), token_budget=budget)
        nudge(model)
        cost = Cost()
        loss, metrics = accumulate(stage, model, given, units, cost)
        outcomes.append((loss, metrics, gradient(model), counters(cost)))
    whole = outcomes[0]
    largest = max(g.abs().max().item() for g in whole[2].values())
    for part in outcomes[1:]:
        assert part[0] == pytest.approx(whole[0], abs=tolerance)
        assert part[1] == pytest.approx(whole[1], abs=tolerance * 100)
        for key, expected in whole[2].items():
            torch.testing.assert_close(
                part[2][key], expected, atol=tolerance * max(1.0, largest), rtol=tolerance
            )
        assert part[3] == whole[3]


@pytest.mark.parametrize("name", NAMES)
def test_tokens_trained_are_counted_row_by_row(name: str):
    stage, model, units, given = first_batch(name)
    cost = Cost()
    accumulate(stage, model, given, units, cost)
    tokens = sum(len(u.prompt) + len(c) for u in units for c in u.completions)
    assert cost.tokens_trained == tokens
    assert cost.flops == 6 * sum(p.numel() for p in model.model.parameters()) * tokens


# What a prompt is for -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_no_prompt_position_is_scored(name: str):
    """With attention cut, a position sees itself alone: only scored positions get a gradient.

    Scoring token t by likelihood reads position t - 1; a scalar head reads position t itself.
    """
    stage, model, _, given = first_batch(name)
    with torch.no_grad():
        for parameter_name, parameter in model.model.named_parameters():
            if "attn.c_proj" in parameter_name:
                parameter.zero_()
    k = {"single": 1, "pair": 2, "group": 3}[stage.yields]
    texts = ((5, 6, 7, 0), (8, 9, 10, 11), (12, 13, 14, 0))[:k]
    numbers = (0.5, -1.0, 2.0)[:k]
    unit = Unit(
        slot=0,
        prompt=(3, 4, 5, 6, 7),
        completions=texts,
        reference=numbers,
        behaviour=(-10.0,) * k,
        advantage=numbers,
    )
    accumulate(stage, model, given, [unit], Cost())
    positions = next(p.grad for n, p in model.model.named_parameters() if n.endswith("wpe.weight"))
    assert positions is not None
    first = 5 if isinstance(model, RewardModel) else 4
    touched = positions.abs().sum(dim=1).nonzero()[:, 0].tolist()
    assert touched == list(range(first, first + 4))


# Determinism --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_zero_learning_rate_moves_nothing(name: str, tmp_path: Path):
    stage = rescheduled(name, learning_rate=0.0)
    model, _ = run(stage, tmp_path)
    assert same_weights(model, trainee(stage))
    assert all(line["gradient_norm"] > 0 for line in lines_of(tmp_path) if line["units"])


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name: str, tmp_path: Path):
    stage = STAGES[name]
    torch.manual_seed(1)
    first, _ = run(stage, tmp_path / "first")
    torch.manual_seed(2)
    second, _ = run(stage, tmp_path / "second")
    other, _ = run(stage, tmp_path / "other", seed=8)
    assert same_weights(first, second)
    assert lines_of(tmp_path / "first") == lines_of(tmp_path / "second")
    assert not same_weights(first, trainee(stage))
    assert not same_weights(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_and_the_start_are_left_alone(name: str, tmp_path: Path):
    stage, start = STAGES[name], tiny_policy()
    train(stage, trainee(stage), supplies(stage, start), Keeping(tmp_path))
    assert same_weights(start, tiny_policy())
    assert all(p.grad is None for p in start.model.parameters())


# Kill and resume ----------------------------------------------------------------------------------


class Killed(Exception):
    """The process died here."""


def die_at(step: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    """Every stage in one go, without a checkpoint."""
    out = {}
    for name, stage in STAGES.items():
        folder = tmp_path_factory.mktemp(name)
        model, cost = run(stage, folder)
        out[name] = (model, (folder / "metrics.jsonl").read_text(), counters(cost))
    return out


def total_steps(stage: Stage) -> int:
    return stage.schedule.rounds * steps_per_round(stage, planned_slots(stage, dataset()))


def check_as_straight(expected: tuple, model: Any, cost: Cost, folder: Path) -> None:
    assert same_weights(model, expected[0])
    assert (folder / "metrics.jsonl").read_text() == expected[1]
    assert counters(cost) == expected[2]


@pytest.mark.parametrize("name", ["dpo", "rloo"])
def test_a_kill_at_any_step_is_not_seen(name: str, tmp_path: Path, straight: dict):
    """Each step is lost once: the kill at step n resumes from the checkpoint of step n - 1."""
    stage = STAGES[name]
    total = total_steps(stage)
    assert total >= 4
    for step in range(1, total + 1):
        folder = tmp_path / str(step)
        with pytest.raises(Killed):
            run(stage, folder, progress=die_at(step), checkpoint_seconds=0)
        seen: list[int] = []
        model, cost = run(
            stage, folder, progress=lambda done, _, seen=seen: seen.append(done),
            checkpoint_seconds=0,
        )  # fmt: skip
        assert seen == list(range(step, total + 1))
        check_as_straight(straight[name], model, cost, folder)


@pytest.mark.parametrize("name", NAMES)
def test_a_kill_at_every_step_is_not_seen(name: str, tmp_path: Path, straight: dict):
    """The unluckiest run: it dies after every single step, until it is done."""
    stage = STAGES[name]
    for step in range(2, total_steps(stage) + 1):
        with pytest.raises(Killed):
            run(stage, tmp_path, progress=die_at(step), checkpoint_seconds=0)
    model, cost = run(stage, tmp_path, checkpoint_seconds=0)
    check_as_straight(straight[name], model, cost, tmp_path)


@pytest.mark.parametrize("name", ["dpo", "rloo"])
@pytest.mark.parametrize("call", range(1, 9))
def test_a_kill_while_a_checkpoint_is_written_is_not_seen(
    name: str, call: int, tmp_path: Path, straight: dict, monkeypatch: pytest.MonkeyPatch
):
    """Between any two of its writes: the state's JSON, the folder's rename, the pointer."""
    calls = 0

    def fragile(real):
        def write(*args):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            real(*args)

        return write

    with monkeypatch.context() as patch:
        for function in ("write_json", "write_folder", "write_text"):
            patch.setattr(files, function, fragile(getattr(files, function)))
        with pytest.raises(Killed):
            run(STAGES[name], tmp_path, checkpoint_seconds=0)
    model, cost = run(STAGES[name], tmp_path, checkpoint_seconds=0)
    check_as_straight(straight[name], model, cost, tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can be cloned")
@pytest.mark.parametrize("name", ["dpo", "rloo"])
def test_the_death_of_the_whole_process_is_not_seen(name: str, tmp_path: Path, straight: dict):
    """No exception handler and no closing of files: what was not written is lost."""

    def die(done: int, total: int) -> None:
        if done == 5:
            os._exit(9)

    child = os.fork()
    if child == 0:
        try:
            run(STAGES[name], tmp_path, progress=die, checkpoint_seconds=0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (tmp_path / "state" / "latest").read_text().startswith("step-4-")
    model, cost = run(STAGES[name], tmp_path, checkpoint_seconds=0)
    check_as_straight(straight[name], model, cost, tmp_path)


def test_one_checkpoint_is_kept_and_can_be_cleared(tmp_path: Path):
    with pytest.raises(Killed):
        run(STAGES["dpo"], tmp_path, progress=die_at(4), checkpoint_seconds=0)
    state = tmp_path / "state"
    name = (state / "latest").read_text()
    assert {path.name for path in state.iterdir()} == {"latest", name}
    assert name == "step-3-round-0"
    clear_checkpoints(Keeping(tmp_path))
    assert not state.exists()
    clear_checkpoints(Keeping(tmp_path))


def test_no_checkpoint_before_its_time(tmp_path: Path):
    with pytest.raises(Killed):
        run(STAGES["dpo"], tmp_path, progress=die_at(4), checkpoint_seconds=60)
    assert not (tmp_path / "state").exists()


def test_a_line_that_was_cut_by_the_kill_is_written_again(tmp_path: Path, straight: dict):
    stage = STAGES["dpo"]
    with pytest.raises(Killed):
        run(stage, tmp_path, progress=die_at(3), checkpoint_seconds=0)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 9, "los')
    model, cost = run(stage, tmp_path, checkpoint_seconds=0)
    check_as_straight(straight["dpo"], model, cost, tmp_path)


# What is logged -----------------------------------------------------------------------------------

OFFLINE_COMMON = {"loss", "gradient_norm", "learning_rate", "units"}


def declared(stage: Stage) -> set[str]:
    common = set(COMMON_METRICS) if stage.source.sampled else OFFLINE_COMMON
    return {"step", "round"} | common | set(LOSSES[stage.objective.loss].metrics)


@pytest.mark.parametrize("name", NAMES)
def test_the_declared_metrics_are_the_logged_ones(name: str, tmp_path: Path):
    run(STAGES[name], tmp_path)
    lines = lines_of(tmp_path)
    assert any(line["units"] for line in lines)
    of_an_update = {"loss", "gradient_norm", *LOSSES[STAGES[name].objective.loss].metrics}
    for line in lines:
        expected = declared(STAGES[name])
        if name == "reward-model":
            expected -= {"logprob_better", "logprob_worse"}
        if not line["units"]:
            expected -= of_an_update  # a step without units updates nothing
        assert set(line) == expected


def test_a_reward_model_logs_no_logprob(tmp_path: Path):
    run(STAGES["reward-model"], tmp_path)
    for line in lines_of(tmp_path):
        assert "logprob_better" not in line
        assert "logprob_worse" not in line


def test_every_metric_says_what_it_means():
    for row in LOSSES.values():
        assert row.source
        assert all(row.metrics.values())


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


@pytest.mark.parametrize("name", OFFLINE)
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
@pytest.mark.parametrize("name", ONLINE)
def test_a_stage_that_never_got_a_unit_is_an_error(name: str, score: float | None, tmp_path: Path):
    """Every score failed, or tied; nothing moved, and every step was counted all the same."""
    stage = STAGES[name]
    if stage.pick == "group" and score is not None:
        pytest.skip("a group of equal scores is a unit: its penalty for divergence remains")
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
    stage = STAGES["rloo"]
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
