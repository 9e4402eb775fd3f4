"""What models say of every completion, one plain forward pass each: the oracle's own witness.

Nothing of `Policy.token_logprobs`, `RewardModel.scores` or the labellers is used: no batch, no
padding, no cache, no shared prompt. Axis letters: P prompts, L completions, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allroads.judges import GlobalLabeller, LocalLabeller
from allroads.lab.oracle.ground import PROMPTS, Ground, Problem, truth
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel
from allroads.roads.stage import DEMONSTRATIONS
from allroads.types import Tokens


@dataclass(frozen=True)
class Leaves:
    """Everything that a named objective may read. Log-probabilities in nats, summed over tokens."""

    rho: Tensor
    """(P, 1) probabilities of the prompts."""
    lengths: Tensor
    """(L,) tokens, end-of-sequence included."""
    finished: Tensor
    """(L,) False for a completion that was cut."""
    logprob: Tensor | None
    """(P, L) of the policy in training, with its gradient; None for a scalar head."""
    reward: Tensor | None
    """(P, L) of the reward model in training, with its gradient, reward units; None for a policy"""
    writer: Tensor | None
    """(P, L) log-probability of being written; with its gradient where the trainee writes."""
    reference: Tensor | None
    """(P, L) of the frozen reference."""
    label: Tensor | None
    """(P, L) the labeller's score, in its units."""
    demonstrations: Tensor
    """(P, L) share of the demonstrations."""
    pairs: Tensor
    """(P, L, L) share of the pairs: the better completion, then the worse one."""


def leaves_of(problem: Problem) -> Leaves:
    """Read every table of a problem."""
    ground, supplies, trainee = problem.ground, problem.supplies, problem.trainee
    is_policy = isinstance(trainee, Policy)
    logprob = logprobs(ground, trainee) if isinstance(trainee, Policy) else None
    writer = logprob if problem.stage.source.sampled else None
    with torch.no_grad():
        if supplies.writer is not None:
            writer = logprobs(ground, supplies.writer)
        reference = None if supplies.reference is None else logprobs(ground, supplies.reference)
        label = _labels(problem)
    demonstrations, pairs = _data(problem)
    return Leaves(
        rho=torch.tensor(ground.tree.rho, dtype=torch.float64)[:, None],
        lengths=torch.tensor(ground.tree.lengths_L),
        finished=torch.tensor(ground.finished),
        logprob=logprob,
        reward=None if is_policy else rewards(ground, cast(RewardModel, trainee)),
        writer=writer,
        reference=reference,
        label=label,
        demonstrations=demonstrations,
        pairs=pairs,
    )


def logprobs(ground: Ground, policy: Policy) -> Tensor:
    """(P, L) log-probability of each completion, nats: the sum over its tokens."""
    return token_logprobs(ground, policy).sum(dim=2)


def token_logprobs(ground: Ground, policy: Policy) -> Tensor:
    """(P, L, H) log-probability of each token of each completion, nats; 0 behind its last one."""

    def one(prompt: Tokens, completion: Tokens) -> Tensor:
        ids = torch.tensor([[*prompt, *completion]])
        logits = policy.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        token_TV = torch.log_softmax(logits[0, len(prompt) - 1 : -1] / ground.temperature, dim=-1)
        of_T = token_TV[torch.arange(len(completion)), torch.tensor(completion)]
        return F.pad(of_T, (0, ground.tree.horizon - len(completion)))

    return _table(ground, one)


def slot_logprobs(ground: Ground, policy: Policy) -> Tensor:
    """(P, S) log-probability of each token after each prefix, in the order of `Tree.flatten`."""
    tree = ground.tree
    sizes = [tree.nodes(depth) * tree.vocabulary for depth in range(tree.horizon)]
    depth_S = torch.arange(tree.horizon).repeat_interleave(torch.tensor(sizes))
    # Any completion that goes through a slot holds its token at the slot's depth.
    leaf_S = torch.tensor(tree.paths_LS).argmax(dim=0)
    return token_logprobs(ground, policy)[:, leaf_S, depth_S]


def rewards(ground: Ground, model: RewardModel) -> Tensor:
    """(P, L) the scalar head over each completion's own tokens, reward units."""

    def one(prompt: Tokens, completion: Tokens) -> Tensor:
        ids = torch.tensor([[*prompt, *completion]])
        backbone = cast(nn.Module, model.model.base_model)
        score_T = model.head(backbone(input_ids=ids).last_hidden_state[0, len(prompt) :])[:, 0]
        read = {"sum": score_T.sum(), "mean": score_T.mean(), "last": score_T[-1]}
        return read[model.reading] - model.offset

    return _table(ground, one)


def flat_gradient(value: Tensor, model: nn.Module) -> Tensor:
    """The derivative of a number by all weights of a model, side by side; 0 for unused ones."""
    weights = list(model.parameters())
    parts = torch.autograd.grad(value, weights, allow_unused=True, retain_graph=True)
    return torch.cat(
        [
            torch.zeros_like(w).flatten() if g is None else g.flatten()
            for w, g in zip(weights, parts, strict=True)
        ]
    )


def _table(ground: Ground, one: Callable[[Tokens, Tokens], Tensor]) -> Tensor:
    return torch.stack(
        [torch.stack([one(p.tokens, c) for c in ground.tree.completions]) for p in PROMPTS]
    )


def _labels(problem: Problem) -> Tensor | None:
    ground, labeller = problem.ground, problem.supplies.labeller
    if labeller is None:
        return None
    if isinstance(labeller, GlobalLabeller):
        return rewards(ground, labeller.model)
    if isinstance(labeller, LocalLabeller):
        own = logprobs(ground, labeller.policy)
        if labeller.reference is not None:
            own = own - logprobs(ground, labeller.reference)
        return labeller.beta * own
    return _table(ground, lambda p, c: torch.tensor(truth([p], [c])[0], dtype=torch.float64))


def _data(problem: Problem) -> tuple[Tensor, Tensor]:
    tree, dataset = problem.ground.tree, problem.supplies.dataset
    place = {prompt.tokens: i for i, prompt in enumerate(PROMPTS)}
    shown = torch.zeros(len(PROMPTS), tree.leaves, dtype=torch.float64)
    preferred = torch.zeros(len(PROMPTS), tree.leaves, tree.leaves, dtype=torch.float64)
    for row in dataset.demonstrations:
        shown[place[row.prompt], tree.leaf(row.completion)] += 1
    for pair in dataset.pairs["train"]:
        preferred[place[pair.prompt], tree.leaf(pair.chosen), tree.leaf(pair.rejected)] += 1
    if problem.stage.source.who != DEMONSTRATIONS:
        shown = preferred.sum(dim=2)
    return shown / shown.sum(), preferred / preferred.sum()
