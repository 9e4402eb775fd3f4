"""Do both sides of `throughput.py` compute the same? Losses and gradients on the same rows.

    python -m peer.agreement

Ours: the stage's own first round and minibatch, through the roads' own code. The plain loop's: its
loss functions on those rows, padded as it pads them, with log-probabilities, scores and advantages
that it computes itself. The weights are those of untrained models, the reference and the policy two
different ones, so that nothing cancels.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from allroads.data.worlds import make_world
from allroads.judges import GlobalLabeller
from allroads.lab.config import build_config
from allroads.lab.prepare import demonstrations_only, with_pairs
from allroads.models.builtin import small_transformer
from allroads.models.reward_model import RewardModel, reward_model_on
from allroads.records import Cost
from allroads.roads.accumulate import accumulate
from allroads.roads.atlas import atlas
from allroads.roads.sources import gather
from allroads.roads.stage import Stage
from allroads.roads.supplies import Supplies
from allroads.roads.units import Unit
from peer import plain

BETA = 0.7
ROADS = ("sft", "reward-model", "dpo", "online-dpo", "rloo")


def rows_of(units: list[Unit]) -> plain.Rows:
    """The first completions of all units, then the second ones, and so on."""
    count = len(units[0].completions)
    return plain.rows_of(
        [unit.prompt for _ in range(count) for unit in units],
        [unit.completions[k] for k in range(count) for unit in units],
    )


def plain_reward(model: RewardModel, start: Any) -> plain.Reward:
    """The plain loop's reward model with our weights."""
    out = plain.Reward(start)
    out.backbone.load_state_dict(model.model.base_model.state_dict())
    out.head.load_state_dict(model.head.state_dict())
    return out


def plain_loss(
    stage: Stage, units: list[Unit], model: Any, reference: Any, judge: plain.Reward
) -> Tensor:
    """The plain loop's loss of our first minibatch."""
    rows = rows_of(units)
    if stage.name == "sft":
        return plain.sft_loss(model, rows)
    if stage.name == "reward-model":
        return plain.reward_loss(model, rows)
    known = plain.in_batches(lambda part: plain.logprobs(reference.model, part), rows)
    if stage.name != "rloo":
        return plain.dpo_loss(model, rows, known, BETA)
    group = len(units[0].completions)
    # Unit after unit, as the plain loop has its groups.
    order = torch.arange(len(rows[0])).view(group, -1).T.flatten()
    rows, known = plain.take(rows, order), known[order]
    score = plain.in_batches(judge, rows)
    ended = rows[0].gather(1, rows[2][:, None] - 1)[:, 0] == 0
    score = torch.where(ended, score, score[ended].min() - 1)
    return plain.rloo_loss(model, rows, score, known, BETA, group)


def gradient(model: nn.Module) -> Tensor:
    """All of it in one row; cleared."""
    out = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return out


def main() -> None:
    """Print {road: [our loss, the plain loop's, |difference of gradients| / |gradient|]}.

    The loss of RLOO is left out: ours is written with a ratio that is 1, so that its value is 0 and
    its gradient the plain one.
    """
    torch.set_num_threads(1)
    config = build_config({"world": "routes", "sizes": {"demonstrations": 640, "pairs": 600}})
    world: Any = make_world("routes")

    def policy(seed: int) -> Any:
        return small_transformer(
            vocabulary=len(world.vocabulary), context=world.context, eos_id=0, seed=seed
        )

    start, reference = policy(0), policy(1)
    before = demonstrations_only(world, config.sizes, seed=0)
    dataset = with_pairs(world, before, start, config.sizes, seed=0)
    judge = reward_model_on(start, reading="sum", seed=2)
    found = {}
    for name in ROADS:
        stage = atlas()[name].at(BETA if name in ("dpo", "online-dpo", "rloo") else None).last
        supplies = Supplies(
            dataset=dataset,
            seed=0,
            address=name,
            reference=lambda: reference,
            writer=None,
            labeller=GlobalLabeller(judge, 4096),
            temperature=1.0,
            max_new_tokens=world.max_new_tokens,
            token_budget=4096,
            sample_batch=1024,
        )
        trainee = reward_model_on(start, reading="sum", seed=0) if name == "reward-model" else start
        own = None if name == "reward-model" else start
        units = list(gather(stage, supplies, own, 0, Cost()).units)[: stage.schedule.batch_size]
        loss, _ = accumulate(stage, trainee, supplies, units, Cost())
        own_gradient = gradient(trainee.model)
        scoring = isinstance(trainee, RewardModel)
        model = plain_reward(trainee, start.model) if scoring else start.model
        theirs = plain_loss(stage, units, model, reference, plain_reward(judge, start.model))
        theirs.backward()
        off = float((gradient(model) - own_gradient).norm() / own_gradient.norm())
        found[name] = [None, None, off] if name == "rloo" else [loss, float(theirs), off]
        assert off < 1e-4, (name, loss, float(theirs), off)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
