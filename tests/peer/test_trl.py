"""Ours against the trainers of TRL: losses, and their derivatives by every weight.

Each trainer is TRL's real one around a tiny model, and our side is what training itself calls.
Policy gradients begin at the rewards: TRL's trainer writes completions and turns rewards into
advantages, ours takes the same completions and rewards; then the weights move, so that ratios and
the KL are not trivial. docs/peers.md lists what differs on purpose.

One file, because importing TRL costs more than all that follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from allroads.models.policy import Policy
from allroads.models.reward_model import reward_model_on
from allroads.models.states import Rows
from allroads.roads.stage import Objective, Stage
from allroads.roads.units import Unit
from tests.conftest import tiny_policy
from tests.peer import against, production

pytest.importorskip("trl", reason="TRL is not installed: pip install 'allroads[dev]'")
pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore::FutureWarning")]

PAIRS, BETA = 5, 0.3
BETTER, WORSE = against.sequences(1, PAIRS, 6), against.sequences(2, PAIRS, 6)
PROMPTS = against.prompts(3, PAIRS)


def rows_of(completions: list[list[int]]) -> Rows:
    times = len(completions) // PAIRS
    return Rows([tuple(p) for p in PROMPTS * times], [tuple(c) for c in completions])


@pytest.fixture
def policies() -> tuple[Policy, Policy]:
    return tiny_policy("llama", seed=1), tiny_policy("llama", seed=2)


def dataset(**columns: list[Any]):
    from datasets import Dataset

    return Dataset.from_dict(columns)


TEXTS = {
    "prompt": ["what does the fox do", "what does the owl do"],
    "chosen": [" fox runs", " owl eats gladly"],
    "rejected": [" fox naps sadly sadly", " owl"],
}


# DPO and its kin --------------------------------------------------------------------------------

OF_LOG_RATIOS = {"score": "implicit", "reference": "start", "beta": BETA}


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("sigmoid", Objective(loss="bradley-terry", **OF_LOG_RATIOS)),
        ("hinge", Objective(loss="hinge", margin=1.0, **OF_LOG_RATIOS)),
        ("ipo", Objective(loss="identity", over_tokens="mean", **OF_LOG_RATIOS)),
    ],
    ids=["dpo", "hinge", "ipo"],
)
def test_dpo_trainer(
    name: str,
    objective: Objective,
    policies: tuple[Policy, Policy],
    tmp_path: Path,
    record_property: Any,
):
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    policy, reference = policies
    trainer = DPOTrainer(
        model=policy.model,
        ref_model=reference.model,
        args=DPOConfig(output_dir=str(tmp_path), loss_type=[name], beta=BETA, **against.PLAIN),
        processing_class=against.tokenizer(),
        train_dataset=dataset(**TEXTS),
    )
    batch = trainer.data_collator(
        [
            {"prompt_ids": p, "chosen_ids": b, "rejected_ids": w}
            for p, b, w in zip(PROMPTS, BETTER, WORSE, strict=True)
        ]
    )
    theirs = against.loss_of(trainer, batch)
    stage = production.on_pairs(objective)
    units = production.pairs(stage, reference, rows_of(BETTER), rows_of(WORSE))
    ours = production.loss_and_gradient(stage, policy, reference, units)
    against.check(record_property, ours, theirs, policy.model)


# Without a reference: SimPO, label smoothing, ORPO ----------------------------------------------


def rows_of_labels(batch: dict[str, Tensor], side: str) -> Rows:
    return against.rows_of(
        batch[f"{side}_input_ids"],
        batch[f"{side}_attention_mask"],
        batch[f"{side}_labels"] != -100,
    )


def by_us(objective: Objective, policy: Policy, batch: dict[str, Tensor]):
    """Our loss on the tokens that TRL made of its texts."""
    stage = production.on_pairs(objective)
    better, worse = (rows_of_labels(batch, side) for side in ("chosen", "rejected"))
    units = production.pairs(stage, None, better, worse)
    return production.loss_and_gradient(stage, policy, None, units)


OF_LOGPROBS = {"loss": "bradley-terry", "score": "implicit", "beta": BETA, "smoothing": 0.1}


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        # The margin of the paper, in reward units, is TRL's simpo_gamma.
        ("simpo", Objective(over_tokens="mean", margin=0.7, **OF_LOGPROBS)),
        ("sigmoid", Objective(**OF_LOGPROBS)),
    ],
    ids=["simpo", "cdpo"],
)
def test_cpo_trainer(name: str, objective: Objective, tmp_path: Path, record_property: Any):
    from trl.experimental.cpo.cpo_config import CPOConfig
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    policy = tiny_policy("llama", seed=1)
    trainer = CPOTrainer(
        model=policy.model,
        args=CPOConfig(
            output_dir=str(tmp_path),
            loss_type=name,
            beta=BETA,
            simpo_gamma=0.7,
            cpo_alpha=0.0,
            label_smoothing=0.1,
            max_length=32,
            **against.PLAIN,
        ),
        processing_class=against.tokenizer(),
        train_dataset=dataset(**TEXTS),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    theirs = against.loss_of(trainer, batch)
    against.check(record_property, by_us(objective, policy, batch), theirs, policy.model)


def test_orpo_trainer(tmp_path: Path, record_property: Any):
    """Prompts of one token and chosen answers of one length: elsewhere the likelihoods differ.

    TRL's learns the prompt too, all but its first token, and weighs every token of the batch the
    same; ours learns answers, and weighs every answer the same, as the paper does.
    """
    from trl.experimental.orpo.orpo_config import ORPOConfig
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    policy = tiny_policy("llama", seed=1)
    trainer = ORPOTrainer(
        model=policy.model,
        args=ORPOConfig(output_dir=str(tmp_path), beta=BETA, max_length=32, **against.PLAIN),
        processing_class=against.tokenizer(),
        train_dataset=dataset(
            prompt=["fox", "owl"],
            chosen=[" runs gladly", " eats sadly"],
            rejected=TEXTS["rejected"],
        ),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    theirs = against.loss_of(trainer, batch)
    ours = by_us(Objective(loss="odds-ratio", weight=BETA), policy, batch)
    against.check(record_property, ours, theirs, policy.model)


# KTO --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True], ids=["kl-positive", "kl-cut-at-zero"])
def test_kto_trainer(
    turned: bool, policies: tuple[Policy, Policy], tmp_path: Path, record_property: Any
):
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    policy, reference = policies if turned else policies[::-1]
    trainer = KTOTrainer(
        model=policy.model,
        ref_model=reference.model,
        args=KTOConfig(
            output_dir=str(tmp_path),
            beta=BETA,
            undesirable_weight=1.5,
            per_device_train_batch_size=2 * PAIRS,
            **against.PLAIN,
        ),
        processing_class=against.tokenizer(),
        train_dataset=dataset(
            prompt=TEXTS["prompt"] * 2,
            completion=TEXTS["chosen"] + TEXTS["rejected"],
            label=[True, True, False, False],
        ),
    )
    stage = production.on_pairs(Objective(loss="kahneman-tversky", weight=1.5, **OF_LOG_RATIOS))
    units = production.pairs(stage, reference, rows_of(BETTER), rows_of(WORSE))
    # TRL's own choice is the next row of its shuffled file; which others are taken is no loss.
    others = [list(u.mismatched[side]) for side in (0, 1) for u in units if u.mismatched]
    batch = trainer.data_collator(
        [
            {"prompt_ids": p, "completion_ids": c, "KL_completion_ids": o, "label": i < PAIRS}
            for i, (p, c, o) in enumerate(zip(PROMPTS * 2, BETTER + WORSE, others, strict=True))
        ]
    )
    theirs = against.loss_of(trainer, batch)
    (kl,) = trainer._metrics["train"]["kl"]
    assert (kl == 0) == turned
    ours = production.loss_and_gradient(stage, policy, reference, units)
    against.check(record_property, ours, theirs, policy.model)


# Reward model -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("margin", "padding"),
    [(0.0, "what"), (0.4, "what"), (0.0, "<eos>")],
    ids=["plain", "margin", "padded-with-the-end"],
)
def test_reward_trainer(margin: float, padding: str, tmp_path: Path, record_property: Any):
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    trainee = reward_model_on(tiny_policy("llama", seed=1), reading="last", seed=0)
    with torch.no_grad():
        trainee.head.weight.mul_(5)
    trainer = RewardTrainer(
        model=trainee.model,
        args=RewardConfig(output_dir=str(tmp_path), pad_token=padding, **against.PLAIN),
        processing_class=against.tokenizer(),
        train_dataset=dataset(**TEXTS),
    )
    batch = trainer.data_collator(
        [
            {"chosen_ids": p + b, "rejected_ids": p + w, "margin": margin}
            for p, b, w in zip(PROMPTS, BETTER, WORSE, strict=True)
        ]
    )
    theirs = against.loss_of(trainer, batch)
    stage = production.on_pairs(Objective(loss="bradley-terry", score="head-last", margin=margin))
    # Where padding is the end-of-sequence, theirs takes the end for padding and reads before it.
    last = -1 if padding == "<eos>" else None
    better, worse = (rows_of([c[:last] for c in side]) for side in (BETTER, WORSE))
    units = production.pairs(stage, None, better, worse)
    ours = production.loss_and_gradient(stage, trainee, None, units)
    against.check(record_property, ours, theirs, trainee.model)


# Groups of samples ------------------------------------------------------------------------------

K, TEMPERATURE, CLIP = 4, 0.7, 0.2
ASKED = ["the fox eats", "the owl", "the elk digs"]
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
            max_completion_length=production.LONGEST,
            temperature=TEMPERATURE,
            model_init_kwargs={"dtype": "float32"},
            **against.PLAIN,
            **settings,
        ),
        processing_class=against.tokenizer(),
        reward_funcs=lambda prompts, completions, **_: REWARDS,
        train_dataset=Dataset.from_dict({"prompt": ASKED}),
    )
    trainer.current_gradient_accumulation_steps = 1
    policy = against.policy_of(trainer.model)
    reference = policy if trainer.ref_model is None else against.policy_of(trainer.ref_model)
    # Away from the reference before the round, and on from there after it.
    against.shake(trainer.model, 1)
    torch.manual_seed(0)
    trainer.model.train()
    found = trainer._generate_and_score_completions(
        [{"prompt": p} for p in ASKED for _ in range(K)]
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
