"""The gradient that the roads' own code gives, averaged over every sample that could be drawn.

From the stage's choices to the weights' gradients it is the code of `roads.loop`: `gather` (or, of
given completions, `labelled`) and `accumulate`. Only drawing is replaced, by listing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations_with_replacement, product

import torch
from torch import Tensor

from allroads.lab.oracle.ground import PROMPTS, Problem
from allroads.lab.oracle.leaves import token_logprobs
from allroads.models.policy import Policy
from allroads.records import Cost
from allroads.roads.accumulate import accumulate
from allroads.roads.sources import gather, labelled
from allroads.roads.units import Unit
from allroads.types import Completion, Prompt

Group = list[Completion]


def gradient(problem: Problem) -> Tensor:
    """Flat gradient of the loss by all weights of the trainee.

    On data: of one batch that holds every row. On samples: the mean over a round of one prompt,
    drawn from the prompts, and all groups of completions that it could get.
    """
    if problem.stage.source.sampled:
        chances = _chances_of_units(problem)
        return torch.stack([c * of_batch(problem, [unit]) for unit, c in chances.items()]).sum(
            dim=0
        )
    policy = problem.trainee if isinstance(problem.trainee, Policy) else None
    material = gather(problem.stage, problem.supplies, policy, 0, Cost())
    return of_batch(problem, list(material.units))


def of_batch(problem: Problem, units: list[Unit]) -> Tensor:
    """Flat gradient of the loss of one batch; zero without units, as no step is taken then."""
    model = problem.trainee.model
    model.zero_grad(set_to_none=True)
    if units:
        accumulate(problem.stage, problem.trainee, problem.supplies, units, Cost())
    flat = [
        torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten()
        for w in model.parameters()
    ]
    model.zero_grad(set_to_none=True)
    return torch.cat(flat)


def of_round(problem: Problem, groups: list[Group]) -> Tensor:
    """Flat gradient of one batch that holds all units that these completions make."""
    made = labelled(problem.stage, problem.supplies, writer_of(problem), groups, Cost())
    return of_batch(problem, list(made.units))


def mean_over_rounds(problem: Problem, rounds: Iterator[tuple[float, list[Group]]]) -> Tensor:
    """The gradients of rounds, weighed by the rounds' probabilities."""
    return torch.stack([chance * of_round(problem, groups) for chance, groups in rounds]).sum(dim=0)


def _chances_of_units(problem: Problem) -> dict[Unit, float]:
    """With which probability a round of one prompt makes which unit."""
    chances, groups = zip(*_single_prompts(problem), strict=True)
    # Where no completion was cut nothing connects the groups of a round, and all can be labelled
    # together; the floor of cut ones is taken over the round.
    rounds = [list(groups)] if problem.ground.whole else [[group] for group in groups]
    out: dict[Unit, float] = {}
    done = 0
    for together in rounds:
        made = labelled(problem.stage, problem.supplies, writer_of(problem), together, Cost())
        for unit in made.units:
            alike = replace(unit, slot=0)
            out[alike] = out.get(alike, 0.0) + chances[done + unit.slot]
        done += len(together)
    return out


def groups_of(problem: Problem, prompt: Prompt) -> Iterator[tuple[float, Group]]:
    """All groups of independent completions of one prompt, with their probabilities.

    Groups that differ in the order of their members alone are listed once, with the probability
    of all orders.
    """
    k = problem.stage.source.per_prompt
    assert k is not None
    ground, tree = problem.ground, problem.ground.tree
    with torch.no_grad():
        table = token_logprobs(ground, writer_of(problem))
    token_logprob_LH = table[PROMPTS.index(prompt)].tolist()
    every = [
        Completion(
            prompt=prompt,
            tokens=tokens,
            token_logprobs=tuple(row[: len(tokens)]),
            stop="eos" if tokens[-1] == tree.eos else "task" if ground.whole else "length",
        )
        for tokens, row in zip(tree.completions, token_logprob_LH, strict=True)
    ]
    logprob_L = [one.logprob for one in every]
    for leaves in combinations_with_replacement(range(tree.leaves), k):
        orders = math.factorial(k) / math.prod(map(math.factorial, Counter(leaves).values()))
        chance = orders * math.exp(sum(logprob_L[i] for i in leaves))
        yield chance, [every[i] for i in leaves]


def joint_rounds(problem: Problem) -> Iterator[tuple[float, list[Group]]]:
    """All rounds that hold every prompt once."""
    for parts in product(*(list(groups_of(problem, prompt)) for prompt in PROMPTS)):
        yield math.prod(chance for chance, _ in parts), [group for _, group in parts]


def writer_of(problem: Problem) -> Policy:
    """Who writes the completions."""
    writer = problem.supplies.writer or problem.trainee
    assert isinstance(writer, Policy)
    return writer


def _single_prompts(problem: Problem) -> Iterator[tuple[float, Group]]:
    for rho, prompt in zip(problem.ground.tree.rho, PROMPTS, strict=True):
        for chance, group in groups_of(problem, prompt):
            yield rho * chance, group
