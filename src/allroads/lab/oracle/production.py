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
from allroads.lab.oracle.leaves import policy_of, token_logprobs
from allroads.models.critic import ActorCritic
from allroads.models.policy import Policy
from allroads.records import Cost
from allroads.roads.accumulate import accumulate
from allroads.roads.sources import demonstrated, gather, labelled
from allroads.roads.units import Round, Unit
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
    material = gather(problem.stage, problem.supplies, policy_of(problem.trainee), 0, Cost())
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
    made = _made(problem, groups)
    return of_batch(problem, list(made.units))


def mean_over_rounds(problem: Problem, rounds: Iterator[tuple[float, list[Group]]]) -> Tensor:
    """The gradients of rounds, weighed by the rounds' probabilities."""
    return torch.stack([chance * of_round(problem, groups) for chance, groups in rounds]).sum(dim=0)


def _chances_of_units(problem: Problem) -> dict[Unit, float]:
    """With which probability a round of one prompt makes which unit."""
    if problem.stage.pick == "demonstrated":
        return _chances_beside_demonstrations(problem)
    chances, groups = zip(*_single_prompts(problem), strict=True)
    # All groups can be labelled together where nothing connects those of a round: no floor of cut
    # completions, no baseline or scale of the whole round.
    apart = not problem.ground.whole or problem.stage.objective.advantage in ("others", "lambda")
    rounds = [[group] for group in groups] if apart else [list(groups)]
    out: dict[Unit, float] = {}
    done = 0
    for together in rounds:
        made = _made(problem, together)
        for unit in made.units:
            alike = replace(unit, slot=0)
            out[alike] = out.get(alike, 0.0) + chances[done + unit.slot]
        done += len(together)
    return out


def _made(problem: Problem, groups: list[Group]) -> Round:
    critic = problem.trainee.critic if isinstance(problem.trainee, ActorCritic) else None
    return labelled(problem.stage, problem.supplies, writer_of(problem), groups, Cost(), critic)


def _chances_beside_demonstrations(problem: Problem) -> dict[Unit, float]:
    """The same where each row of the data meets one sample."""
    rows = problem.supplies.dataset.demonstrations
    out: dict[Unit, float] = {}
    for row in rows:
        prompt = next(prompt for prompt in PROMPTS if prompt.tokens == row.prompt)
        for chance, group in groups_of(problem, prompt):
            made = demonstrated(
                problem.stage, problem.supplies, writer_of(problem), [row], [group], Cost()
            )
            for unit in made.units:
                out[unit] = out.get(unit, 0.0) + chance / len(rows)
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
        table_PLH = token_logprobs(ground, writer_of(problem), [prompt])
    token_logprob_LH = table_PLH[0].tolist()
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
    writer = problem.supplies.writer or policy_of(problem.trainee)
    assert writer is not None
    return writer


def _single_prompts(problem: Problem) -> Iterator[tuple[float, Group]]:
    for rho, prompt in zip(problem.ground.tree.rho, PROMPTS, strict=True):
        for chance, group in groups_of(problem, prompt):
            yield rho * chance, group
