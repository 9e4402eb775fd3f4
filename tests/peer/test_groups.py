"""Policy gradients on groups: ours against the trainers of TRL, from rewards to gradients.

TRL's real trainer writes completions with a tiny model and turns random rewards into advantages;
then the weights move, so that ratios and the KL are not trivial, and its loss is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.objectives import (
    centred,
    clipped_policy_gradient,
    importance_weighted_policy_gradient,
    k3,
    leave_one_out,
    penalised_rewards,
    standardised,
)
from tests.conftest import tiny_policy
from tests.peer import against

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore::FutureWarning")]

K, LONGEST, TEMPERATURE, CLIP, BETA = 4, 6, 0.7, 0.2, 0.2
PROMPTS = ["the fox eats", "the owl", "the elk digs"]
REWARDS = [0.3, -1.2, 2.0, 0.4, 1.0, 1.0, 1.0, 1.0, -0.5, 0.9, 0.1, -2.2]
"""The second group agrees: it says nothing."""


@dataclass(frozen=True)
class Played:
    """A TRL trainer after one round of completions and a step of its weights."""

    trainer: Any
    round: dict[str, Tensor]
    rows: Rows
    policy: Policy
    behaviour: Tensor
    """(B, T) log-probabilities when the completions were written, by our policy."""
    reference: Tensor

    def logprobs(self) -> tuple[Tensor, Tensor]:
        return self.policy.token_logprobs(self.rows, temperature=TEMPERATURE)

    def theirs(self) -> Tensor:
        return self.trainer.compute_loss(self.trainer.model, self.round)

    def advantages(self) -> Tensor:
        return self.round["advantages"].view(-1, K)


def play(trainer_class: type, config_class: type, folder: Path, **settings: Any) -> Played:
    from datasets import Dataset

    start = tiny_policy("llama", seed=1).model
    start.save_pretrained(folder / "model")
    trainer = trainer_class(
        model=str(folder / "model"),
        args=config_class(
            output_dir=str(folder / "out"),
            num_generations=K,
            per_device_train_batch_size=len(REWARDS),
            num_iterations=2,
            max_completion_length=LONGEST,
            temperature=TEMPERATURE,
            epsilon=settings.pop("epsilon", CLIP),
            model_init_kwargs={"dtype": "float32"},
            **against.PLAIN,
            **settings,
        ),
        processing_class=against.tokenizer(),
        reward_funcs=lambda prompts, completions, **_: REWARDS,
        train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
    )
    trainer.current_gradient_accumulation_steps = 1
    policy = against.policy_of(trainer.model)
    reference = policy if trainer.ref_model is None else against.policy_of(trainer.ref_model)
    # Away from the reference before the round, and on from there after it.
    against.shake(trainer.model, 1)
    torch.manual_seed(0)
    found = trainer._generate_and_score_completions(
        [{"prompt": p} for p in PROMPTS for _ in range(K)]
    )
    rows = against.rows_of(
        torch.cat([found["prompt_ids"], found["completion_ids"]], dim=1),
        torch.cat([found["prompt_mask"], found["completion_mask"]], dim=1),
        torch.cat([torch.zeros_like(found["prompt_mask"]), found["completion_mask"]], dim=1),
    )
    with torch.no_grad():
        behaviour, _ = policy.token_logprobs(rows, temperature=TEMPERATURE)
        before, _ = reference.token_logprobs(rows, temperature=TEMPERATURE)
    against.shake(trainer.model, 2)
    return Played(trainer, found, rows, policy, behaviour, before)


REWARD_UK = torch.tensor(REWARDS).view(-1, K)


# GRPO -------------------------------------------------------------------------------------------


LOSS_TYPES = ("grpo", "bnpo", "dapo", "dr_grpo")


@pytest.mark.parametrize(
    ("name", "scale", "penalty"),
    [
        *((name, "group", penalty) for name in LOSS_TYPES for penalty in ("", "k3", "ratio * k3")),
        ("dr_grpo", "none", "k3"),
    ],
)
def test_grpo_trainer(name: str, scale: str, penalty: str, tmp_path: Path, record_property: Any):
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    played = play(
        GRPOTrainer,
        GRPOConfig,
        tmp_path,
        loss_type=name,
        beta=BETA if penalty else 0.0,
        scale_rewards=scale,
        use_bias_correction_kl=penalty == "ratio * k3",
    )
    advantage_UK = standardised(REWARD_UK) if scale == "group" else centred(REWARD_UK)
    assert against.gap(advantage_UK, played.advantages()) < against.TOLERANCE
    assert advantage_UK[1].tolist() == [0.0] * K

    logprob_BT, mask_BT = played.logprobs()
    spread_BT = advantage_UK.flatten()[:, None].expand_as(logprob_BT)
    loss_N = clipped_policy_gradient(
        logprob_BT[mask_BT], played.behaviour[mask_BT], spread_BT[mask_BT], clip=CLIP
    )
    clipped = loss_N == clipped_policy_gradient(
        logprob_BT[mask_BT] + 1e-3, played.behaviour[mask_BT], spread_BT[mask_BT], clip=CLIP
    )
    assert (clipped & (spread_BT[mask_BT] != 0)).any(), "nothing reaches the clip"
    if penalty:
        k3_N = k3(logprob_BT[mask_BT], played.reference[mask_BT])
        ratio_N = torch.exp(logprob_BT - played.behaviour)[mask_BT]
        loss_N = loss_N + BETA * (k3_N if penalty == "k3" else ratio_N * k3_N)
    loss_BT = torch.zeros_like(logprob_BT).masked_scatter(mask_BT, loss_N)
    tokens_B = mask_BT.sum(dim=1)
    ours = {
        "grpo": (loss_BT.sum(dim=1) / tokens_B).mean(),
        "bnpo": loss_BT.sum() / tokens_B.sum(),
        "dapo": loss_BT.sum() / tokens_B.sum(),
        "dr_grpo": loss_BT.sum() / (len(loss_BT) * LONGEST),
    }[name]
    against.check(record_property, ours, played.theirs(), played.policy.model.parameters())


# RLOO -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [CLIP, None], ids=["clipped", "not-clipped"])
@pytest.mark.parametrize("beta", [0.0, BETA])
def test_rloo_trainer(clip: float | None, beta: float, tmp_path: Path, record_property: Any):
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer

    played = play(RLOOTrainer, RLOOConfig, tmp_path, beta=beta, epsilon=clip or 1e9)
    behaviour_UK = played.behaviour.sum(dim=1).view(-1, K)
    reward_UK = penalised_rewards(
        REWARD_UK, behaviour_UK, played.reference.sum(dim=1).view(-1, K), beta=beta
    )
    advantage_UK = leave_one_out(reward_UK)
    assert against.gap(advantage_UK, played.advantages()) < against.TOLERANCE

    logprob_UK = played.logprobs()[0].sum(dim=1).view(-1, K)
    if clip is None:
        ours = importance_weighted_policy_gradient(logprob_UK, behaviour_UK, advantage_UK).mean()
    else:
        flat = (x.flatten() for x in (logprob_UK, behaviour_UK, advantage_UK))
        ours = clipped_policy_gradient(*flat, clip=clip).mean()
    against.check(record_property, ours, played.theirs(), played.policy.model.parameters())
