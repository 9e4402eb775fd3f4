"""What models say of every completion, one plain forward pass each: the oracle's own witness.

Nothing of `Policy.token_logprobs`, `RewardModel.scores` or the labellers is used: no batch, no
padding, no cache, no shared prompt. Axis letters: P prompts, L completions, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allroads.judges import GlobalLabeller, LocalLabeller
from allroads.lab.oracle.ground import PROMPTS, Ground, Problem, truth
from allroads.models.critic import ActorCritic
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel
from allroads.roads.accumulate import Trainee
from allroads.roads.stage import DEMONSTRATIONS, WRITER
from allroads.types import Prompt, Tokens


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
    mismatched: Tensor
    """(P, L) share of the data's completions that follow, in the data, a pair of another prompt."""
    tokens: Tensor | None = None
    """(P, L, H) what `logprob` sums; 0 behind the last token."""
    writer_tokens: Tensor | None = None
    """The same of the writer, without gradient."""
    reference_tokens: Tensor | None = None
    """The same of the reference."""
    value: Tensor | None = None
    """(P, L, H) the critic's value before each token, with its gradient, reward units."""

    @property
    def real(self) -> Tensor:
        """(L, H) which tokens a completion has."""
        assert self.tokens is not None
        return torch.arange(self.tokens.shape[2])[None] < self.lengths[:, None]


def leaves_of(problem: Problem) -> Leaves:
    """Read every table of a problem."""
    ground, supplies, trainee = problem.ground, problem.supplies, problem.trainee
    policy = policy_of(trainee)
    tokens = None if policy is None else token_logprobs(ground, policy)
    logprob = None if tokens is None else tokens.sum(dim=2)
    writer, writer_tokens = (logprob, tokens) if problem.stage.source.sampled else (None, None)
    reference_tokens = None
    with torch.no_grad():
        if supplies.writer is not None:
            writer_tokens = token_logprobs(ground, supplies.writer)
            writer = writer_tokens.sum(dim=2)
        if supplies.reference is not None:
            reference_tokens = token_logprobs(ground, supplies.reference())
        label = _labels(problem)
    if problem.stage.objective.reference == WRITER and tokens is not None:
        reference_tokens = tokens.detach()
    demonstrations, pairs, mismatched = _data(problem)
    return Leaves(
        rho=torch.tensor(ground.tree.rho, dtype=torch.float64)[:, None],
        lengths=torch.tensor(ground.tree.lengths_L),
        finished=torch.tensor(ground.finished),
        logprob=logprob,
        reward=rewards(ground, trainee) if isinstance(trainee, RewardModel) else None,
        writer=writer,
        reference=None if reference_tokens is None else reference_tokens.sum(dim=2),
        label=label,
        demonstrations=demonstrations,
        pairs=pairs,
        mismatched=mismatched,
        tokens=tokens,
        writer_tokens=None if writer_tokens is None else writer_tokens.detach(),
        reference_tokens=reference_tokens,
        value=values(ground, trainee) if isinstance(trainee, ActorCritic) else None,
    )


def policy_of(trainee: Trainee) -> Policy | None:
    """The policy in training, if there is one."""
    if isinstance(trainee, RewardModel):
        return None
    return trainee.policy if isinstance(trainee, ActorCritic) else trainee


def logprobs(ground: Ground, policy: Policy) -> Tensor:
    """(P, L) log-probability of each completion, nats: the sum over its tokens."""
    return token_logprobs(ground, policy).sum(dim=2)


def token_logprobs(ground: Ground, policy: Policy, prompts: Sequence[Prompt] = PROMPTS) -> Tensor:
    """(P, L, H) log-probability of each token of each completion, nats; 0 behind its last one."""

    def one(prompt: Tokens, completion: Tokens) -> Tensor:
        ids = torch.tensor([[*prompt, *completion]])
        logits = policy.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        token_TV = torch.log_softmax(logits[0, len(prompt) - 1 : -1] / ground.temperature, dim=-1)
        of_T = token_TV[torch.arange(len(completion)), torch.tensor(completion)]
        return F.pad(of_T, (0, ground.tree.horizon - len(completion)))

    return _table(ground, one, prompts)


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


def values(ground: Ground, trainee: ActorCritic) -> Tensor:
    """(P, L, H) what a sum over prefix states says before each token; 0 behind the last one."""
    model = trainee.critic.model
    head = cast(nn.Module, model.get_submodule("score"))

    def one(prompt: Tokens, completion: Tokens) -> Tensor:
        out = []
        for t in range(len(completion)):
            ids = torch.tensor([[*prompt, *completion[:t]]])
            states = cast(nn.Module, model.base_model)(input_ids=ids).last_hidden_state[0]
            out.append(head(states[len(prompt) - 1 :]).sum())
        return F.pad(torch.stack(out), (0, ground.tree.horizon - len(completion)))

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


def _table(
    ground: Ground,
    one: Callable[[Tokens, Tokens], Tensor],
    prompts: Sequence[Prompt] = PROMPTS,
) -> Tensor:
    return torch.stack(
        [torch.stack([one(p.tokens, c) for c in ground.tree.completions]) for p in prompts]
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


def _data(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    tree, dataset = problem.ground.tree, problem.supplies.dataset
    place = {prompt.tokens: i for i, prompt in enumerate(PROMPTS)}
    shown = torch.zeros(len(PROMPTS), tree.leaves, dtype=torch.float64)
    preferred = torch.zeros(len(PROMPTS), tree.leaves, tree.leaves, dtype=torch.float64)
    for row in dataset.demonstrations:
        shown[place[row.prompt], tree.leaf(row.completion)] += 1
    for pair in dataset.pairs["train"]:
        preferred[place[pair.prompt], tree.leaf(pair.chosen), tree.leaf(pair.rejected)] += 1
    if problem.stage.source.who != DEMONSTRATIONS and problem.stage.pick != "demonstrated":
        shown = preferred.sum(dim=2)
    mismatched = torch.zeros_like(shown)
    rows = dataset.pairs["train"]
    for i, pair in enumerate(rows):
        later = [*rows[i + 1 :], *rows[:i]]
        other = next(row for row in later if row.prompt != pair.prompt)
        for completion in (other.chosen, other.rejected):
            mismatched[place[pair.prompt], tree.leaf(completion)] += 1
    return shown / shown.sum(), preferred / preferred.sum(), mismatched / mismatched.sum()
