"""Policy gradients on groups: ours against the trainers of TRL, from rewards to gradients.

TRL's real trainer writes completions with a tiny model and turns rewards into advantages; ours
takes the same completions and rewards. Then the weights move, so that ratios and the KL are not
trivial, and the losses are compared with their derivatives by every weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from allroads.models.policy import Policy
from allroads.roads.stage import Objective, Stage
from allroads.roads.units import Unit
from tests.conftest import tiny_policy
from tests.peer import against, production
from tests.peer.production import LONGEST

pytest.importorskip("trl", reason="TRL is not installed: pip install 'allroads[dev]'")
pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore::FutureWarning")]

K, TEMPERATURE, CLIP, BETA = 4, 0.7, 0.2, 0.3
PROMPTS = ["the fox eats", "the owl", "the elk digs"]
REWARDS = [0.3, -1.2, 2.0, 0.4, 1.0, 1.0, 1.0, 1.0, -0.5, 0.9, 0.1, -2.2]
"""The second group agrees: it says nothing."""


@dataclass(frozen=True)
class Played:
    """A TRL trainer and our units after one round of completions and a step of the weights."""

    trainer: Any
    round: dict[str, Tensor]
    stage: Stage
    policy: Policy
    reference: Policy
    units: list[Unit]

    def check(self, record: Any) -> None:
        theirs = against.loss_of(self.trainer, self.round)
        ours = production.loss_and_gradient(
            self.stage, self.policy, self.reference, self.units, TEMPERATURE
        )
        against.check(record, ours, theirs, self.policy.model)


def play(
    trainer_class: type, config_class: type, folder: Path, objective: Objective, **settings: Any
) -> Played:
    from datasets import Dataset

    tiny_policy("llama", seed=1).model.save_pretrained(folder / "model")
    trainer = trainer_class(
        model=str(folder / "model"),
        args=config_class(
            output_dir=str(folder / "out"),
            num_generations=K,
            per_device_train_batch_size=len(REWARDS),
            num_iterations=2,
            max_completion_length=LONGEST,
            temperature=TEMPERATURE,
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
    trainer.model.train()
    found = trainer._generate_and_score_completions(
        [{"prompt": p} for p in PROMPTS for _ in range(K)]
    )
    trainer.model.eval()
    rows = against.rows_of(
        torch.cat([found["prompt_ids"], found["completion_ids"]], dim=1),
        torch.cat([found["prompt_mask"], found["completion_mask"]], dim=1),
        torch.cat([torch.zeros_like(found["prompt_mask"]), found["completion_mask"]], dim=1),
    )
    stage = production.on_groups(objective, K)
    units = production.groups(stage, policy, reference, rows, REWARDS, TEMPERATURE)
    ours = torch.tensor([u.advantage for u in units], dtype=torch.float32).flatten()
    assert against.gap(ours, found["advantages"]) < against.TOLERANCE
    against.shake(trainer.model, 2)
    return Played(trainer, found, stage, policy, reference, units)


# GRPO -------------------------------------------------------------------------------------------

NORMALISE = {"grpo": "sequence", "bnpo": "token", "dapo": "token", "dr_grpo": "constant"}
"""TRL's loss types in our words."""


@pytest.mark.parametrize("kl", ["none", "loss"])
@pytest.mark.parametrize(
    ("name", "advantage"),
    [*((name, "standardised") for name in NORMALISE), ("dr_grpo", "centred")],
)
def test_grpo_trainer(name: str, advantage: Any, kl: Any, tmp_path: Path, record_property: Any):
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    objective = Objective(
        loss="clipped",
        reference="start",
        beta=BETA,
        advantage=advantage,
        kl=kl,
        clip=CLIP,
        normalise=NORMALISE[name],  # type: ignore[arg-type]
    )
    played = play(
        GRPOTrainer,
        GRPOConfig,
        tmp_path,
        objective,
        loss_type=name,
        epsilon=CLIP,
        beta=BETA if kl == "loss" else 0.0,
        scale_rewards="group" if advantage == "standardised" else "none",
        use_bias_correction_kl=False,
    )
    played.check(record_property)
    (clipped,) = played.trainer._metrics["train"]["clip_ratio/region_mean"]
    assert 0.05 < clipped < 0.95


# RLOO -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kl", ["none", "reward"])
def test_rloo_trainer(kl: Any, tmp_path: Path, record_property: Any):
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer

    objective = Objective(
        loss="policy-gradient", reference="start", beta=BETA, advantage="leave-one-out", kl=kl
    )
    # Theirs clips the ratio of whole completions; ours does not.
    played = play(
        RLOOTrainer,
        RLOOConfig,
        tmp_path,
        objective,
        beta=BETA if kl == "reward" else 0.0,
        epsilon=1e9,
    )
    played.check(record_property)
