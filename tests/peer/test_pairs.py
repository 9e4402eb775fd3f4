"""Losses on pairs and on unpaired rows: ours against the trainers of TRL, values and gradients.

Each trainer is TRL's real one around a tiny model; tokens, log-probabilities, the loss and its
derivative by every weight are compared. docs/peers.md lists what differs on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from allroads.models.policy import Policy
from allroads.models.reward_model import reward_model_on
from allroads.models.states import Rows
from allroads.objectives import (
    bradley_terry_nll,
    hinge_loss,
    identity_preference_loss,
    implicit_reward,
    kahneman_tversky_loss,
    negative_log_likelihood,
    odds_ratio_nll,
)
from tests.conftest import tiny_policy
from tests.peer import against

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore::FutureWarning")]

PAIRS = 5
BETA = 0.3
BETTER, WORSE = against.sequences(1, PAIRS, 6), against.sequences(2, PAIRS, 6)
PROMPTS = against.prompts(3, PAIRS)


def pair_rows() -> Rows:
    """The better completions, then the worse ones, as TRL stacks them."""
    return Rows([tuple(p) for p in PROMPTS * 2], [tuple(c) for c in BETTER + WORSE])


def lengths() -> Tensor:
    return torch.tensor([len(c) for c in BETTER + WORSE], dtype=torch.float32)


def log_ratios(policy: Policy, reference: Policy, rows: Rows) -> Tensor:
    with torch.no_grad():
        fixed = reference.sequence_logprobs(rows)
    return policy.sequence_logprobs(rows) - fixed


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


def dpo(better: Tensor, worse: Tensor) -> Tensor:
    zero = torch.zeros_like(better)
    return bradley_terry_nll(
        implicit_reward(better, zero, beta=BETA), implicit_reward(worse, zero, beta=BETA)
    )


def hinge(better: Tensor, worse: Tensor) -> Tensor:
    return hinge_loss(BETA * better, BETA * worse)


def ipo_of_means(better: Tensor, worse: Tensor) -> Tensor:
    of_better, of_worse = lengths().chunk(2)
    return identity_preference_loss(better / of_better - worse / of_worse, beta=BETA)


@pytest.mark.parametrize(
    ("name", "function"),
    [("sigmoid", dpo), ("hinge", hinge), ("ipo", ipo_of_means)],
    ids=["dpo", "hinge", "ipo"],
)
def test_dpo_trainer(
    name: str,
    function: Callable[[Tensor, Tensor], Tensor],
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
    rows = against.rows_of(batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    assert rows == pair_rows()
    theirs = trainer.compute_loss(trainer.model, batch)
    ours = function(*log_ratios(policy, reference, rows).chunk(2)).mean()
    against.check(record_property, ours, theirs, policy.model.parameters())


# SimPO, label smoothing, ORPO: TRL's trainers without a reference -------------------------------


def label_rows(batch: dict[str, Tensor], side: str) -> Rows:
    return against.rows_of(
        batch[f"{side}_input_ids"],
        batch[f"{side}_attention_mask"],
        batch[f"{side}_labels"] != -100,
    )


def simpo(policy: Policy, better: Rows, worse: Rows) -> Tensor:
    # The margin of the paper is TRL's simpo_gamma, in reward units.
    return bradley_terry_nll(
        BETA * means(policy, better), BETA * means(policy, worse), margin=0.7, smoothing=0.1
    ).mean()


def smoothed(policy: Policy, better: Rows, worse: Rows) -> Tensor:
    return bradley_terry_nll(
        BETA * policy.sequence_logprobs(better),
        BETA * policy.sequence_logprobs(worse),
        smoothing=0.1,
    ).mean()


def means(policy: Policy, rows: Rows) -> Tensor:
    logprob_BT, mask_BT = policy.token_logprobs(rows)
    return logprob_BT.sum(dim=1) / mask_BT.sum(dim=1)


@pytest.mark.parametrize(("name", "function"), [("simpo", simpo), ("sigmoid", smoothed)])
def test_cpo_trainer(
    name: str, function: Callable[..., Tensor], tmp_path: Path, record_property: Any
):
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
    better, worse = label_rows(batch, "chosen"), label_rows(batch, "rejected")
    theirs = trainer.compute_loss(trainer.model, batch)
    against.check(
        record_property, function(policy, better, worse), theirs, policy.model.parameters()
    )


def test_orpo_trainer(tmp_path: Path, record_property: Any):
    from trl.experimental.orpo.orpo_config import ORPOConfig
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    policy = tiny_policy("llama", seed=1)
    trainer = ORPOTrainer(
        model=policy.model,
        args=ORPOConfig(output_dir=str(tmp_path), beta=BETA, max_length=32, **against.PLAIN),
        processing_class=against.tokenizer(),
        train_dataset=dataset(**TEXTS),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    better, worse = label_rows(batch, "chosen"), label_rows(batch, "rejected")
    theirs = trainer.compute_loss(trainer.model, batch)
    # Theirs learns the prompt too, all but its first token.
    whole = [(*p, *c) for p, c in zip(better.prompts, better.completions, strict=True)]
    texts = Rows([ids[:1] for ids in whole], [ids[1:] for ids in whole])
    surprise = negative_log_likelihood(policy.sequence_logprobs(texts)).sum()
    likelihood = surprise / sum(map(len, texts.completions))
    ours = likelihood + BETA * odds_ratio_nll(means(policy, better), means(policy, worse)).mean()
    against.check(record_property, ours, theirs, policy.model.parameters())


# KTO --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [False, True], ids=["kl-positive", "kl-cut-at-zero"])
def test_kto_trainer(
    turned: bool, policies: tuple[Policy, Policy], tmp_path: Path, record_property: Any
):
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    policy, reference = policies[::-1] if turned else policies
    trainer = KTOTrainer(
        model=policy.model,
        ref_model=reference.model,
        args=KTOConfig(
            output_dir=str(tmp_path),
            beta=BETA,
            desirable_weight=1.0,
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
    rows = pair_rows()
    others = [list(c) for c in (rows.completions[-1], *rows.completions[:-1])]
    batch = trainer.data_collator(
        [
            {"prompt_ids": p, "completion_ids": c, "KL_completion_ids": o, "label": i < PAIRS}
            for i, (p, c, o) in enumerate(zip(PROMPTS * 2, BETTER + WORSE, others, strict=True))
        ]
    )
    assert rows == against.rows_of(
        batch["input_ids"], batch["attention_mask"], batch["completion_mask"]
    )
    theirs = trainer.compute_loss(trainer.model, batch)

    mismatched = Rows(rows.prompts, [tuple(c) for c in others])
    kl = log_ratios(policy, reference, mismatched).mean().detach()
    record_property("kl", float(kl))
    reward = BETA * log_ratios(policy, reference, rows)
    ours = kahneman_tversky_loss(
        *reward.chunk(2), BETA * kl.clamp(min=0), desirable_weight=1.0, undesirable_weight=1.5
    ).mean()
    against.check(record_property, ours, theirs, policy.model.parameters())


# Reward model -----------------------------------------------------------------------------------


def without_the_end(rows: Rows) -> Rows:
    return Rows(rows.prompts, [c[:-1] for c in rows.completions])


@pytest.mark.parametrize(
    ("margin", "padding"), [(None, "what"), (0.4, "what"), (None, "<eos>")], ids=str
)
def test_reward_trainer(margin: float | None, padding: str, tmp_path: Path, record_property: Any):
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    ours = reward_model_on(tiny_policy("llama", seed=1), reading="last", seed=0)
    with torch.no_grad():
        ours.head.weight.mul_(5)
    trainer = RewardTrainer(
        model=ours.model,
        args=RewardConfig(output_dir=str(tmp_path), pad_token=padding, **against.PLAIN),
        processing_class=against.tokenizer(),
        train_dataset=dataset(**TEXTS),
    )
    extra = {} if margin is None else {"margin": margin}
    batch = trainer.data_collator(
        [
            {"chosen_ids": p + b, "rejected_ids": p + w, **extra}
            for p, b, w in zip(PROMPTS, BETTER, WORSE, strict=True)
        ]
    )
    theirs = trainer.compute_loss(trainer.model, batch)
    # Where padding is the end-of-sequence, theirs takes the end for padding and reads before it.
    rows = without_the_end(pair_rows()) if padding == "<eos>" else pair_rows()
    loss = bradley_terry_nll(*ours.scores(rows).chunk(2), margin=margin or 0.0).mean()
    against.check(record_property, loss, theirs, ours.model.parameters())
