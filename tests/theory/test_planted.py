"""The oracle is no rubber stamp: mistakes that other libraries have shipped are caught.

Each mistake is planted in the roads' own code, or in the objective that is named; either way the
two witnesses must part. Sources of the mistakes: the trackers of neighbouring projects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from allroads import objectives
from allroads.lab.oracle.ground import GROUNDS, Problem, problem
from allroads.lab.oracle.leaves import Leaves, leaves_of, token_logprobs
from allroads.lab.oracle.production import gradient
from allroads.lab.oracle.table import difference, named_gradient, roads
from allroads.models.critic import Critic
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel
from allroads.models.states import completion_states
from allroads.roads import accumulate, picks, sources
from allroads.roads.losses import LOSSES

ROADS = roads()
CLEARLY = 1e-3


def at(name: str, ground: str = "own ends") -> Problem:
    return problem(GROUNDS[ground], ROADS[name], ROADS[name].last)


def gap(this: Problem) -> float:
    return difference(gradient(this), named_gradient(this, leaves_of(this)))


# In the roads' own code.


def eos_masked(self: Policy, rows, *, temperature=1.0):
    """End-of-sequence counts as padding (TRL #3200, #6357)."""
    token_BT, mask = TOKEN_LOGPROBS(self, rows, temperature=temperature)
    last = mask.sum(dim=1) - 1
    ends = torch.tensor([c[-1] == self.eos_id for c in rows.completions])
    kept = torch.arange(mask.shape[1])[None] != torch.where(ends, last, -1)[:, None]
    return token_BT * kept, mask


def mean_over_tokens(self: Policy, rows, *, temperature=1.0):
    """Averaged where the sum is meant (torchtune #1291)."""
    token_BT, mask = TOKEN_LOGPROBS(self, rows, temperature=temperature)
    return token_BT / mask.sum(dim=1, keepdim=True), mask


def no_temperature(self: Policy, rows, *, temperature=1.0):
    """Logits not divided in scoring (TRL #3029)."""
    return TOKEN_LOGPROBS(self, rows, temperature=1.0)


def prompt_of_every_other_row(self: Policy, rows, *, temperature=1.0):
    """The prompt's last token enters the rejected side's log-probability (OpenRLHF #294).

    On both sides of a pair it would cancel.
    """
    odd = [i % 2 for i in range(len(rows))]
    both = list(zip(rows.prompts, rows.completions, odd, strict=True))
    shifted = type(rows)(
        [p[:-1] if moved else p for p, _, moved in both],
        [(p[-1], *c) if moved else c for p, c, moved in both],
    )
    return TOKEN_LOGPROBS(self, shifted, temperature=temperature)


TOKEN_LOGPROBS = Policy.token_logprobs
SCORES = RewardModel.scores

WRONG_LOGPROBS = [eos_masked, mean_over_tokens, prompt_of_every_other_row]
LOGPROB_ROADS = ["sft", "sft-chosen", "dpo", "local-rm", "online-dpo", "rloo"]
TOKEN_ROADS = ["ipo", "simpo", "kto", "orpo", "spin", "rebel", "grpo"]


@pytest.mark.parametrize("wrong", WRONG_LOGPROBS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", LOGPROB_ROADS)
def test_wrong_logprobs(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable):
    this = at(name)
    monkeypatch.setattr(Policy, "token_logprobs", wrong)
    assert gap(this) > CLEARLY


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_temperature_left_out(monkeypatch: pytest.MonkeyPatch, name: str):
    hot = replace(GROUNDS["own ends"], temperature=1.7)
    this = problem(hot, ROADS[name], ROADS[name].last)
    monkeypatch.setattr(Policy, "token_logprobs", no_temperature)
    assert gap(this) > CLEARLY


@pytest.mark.parametrize("reading", ["last", "mean", "sum"])
def test_another_reading_of_the_head(reading: str):
    this = at("reward-model")
    assert isinstance(this.trainee, RewardModel)
    named = named_gradient(this, leaves_of(this))
    this.trainee.reading = reading
    assert (difference(gradient(this), named) > CLEARLY) == (reading != "sum")


@pytest.mark.parametrize("name", TOKEN_ROADS)
def test_the_end_of_sequence_left_out(monkeypatch: pytest.MonkeyPatch, name: str):
    this = at(name)
    monkeypatch.setattr(Policy, "token_logprobs", eos_masked)
    assert gap(this) > CLEARLY


@pytest.mark.parametrize("name", ["ipo", "simpo", "online-ipo"])
def test_sums_where_means_are_asked_for(name: str):
    """IPO in TRL: the mean offline, the sum online."""
    this = at(name)
    summed = this.stage.objective.model_copy(update={"over_tokens": "sum"})
    other = replace(this, stage=this.stage.model_copy(update={"objective": summed}))
    assert difference(gradient(other), named_gradient(this, leaves_of(this))) > CLEARLY


def test_kto_without_its_kl(monkeypatch: pytest.MonkeyPatch):
    this = at("kto", "equal lengths")
    named = named_gradient(this, leaves_of(this))
    assert difference(gradient(this), named) < 1e-9
    monkeypatch.setattr(accumulate, "_kl_baseline", lambda *args: 0.0)
    assert difference(gradient(this), named) > CLEARLY


def test_a_critic_that_reads_the_token_it_should_predict(monkeypatch: pytest.MonkeyPatch):
    """verl #1960: values shifted by one."""
    this = at("ppo")
    named = named_gradient(this, leaves_of(this))

    def shifted(self: Critic, rows):
        states = completion_states(self.model.base_model, rows, "after")
        value = states.spread(self._start.scores_of(states.flat)).cumsum(dim=1)
        return value.masked_fill(~states.mask, 0.0)

    monkeypatch.setattr(Critic, "values", shifted)
    assert difference(gradient(this), named) > CLEARLY


def test_advantages_whitened_with_their_padding(monkeypatch: pytest.MonkeyPatch):
    right = objectives.whitened

    def padded(advantage_BT, mask_BT):
        return torch.where(mask_BT, right(advantage_BT, torch.ones_like(mask_BT)), 0)

    monkeypatch.setattr(objectives, "whitened", padded)
    assert gap(at("ppo")) > CLEARLY


def test_the_score_on_a_pad_token(monkeypatch: pytest.MonkeyPatch):
    """verl #50: the reward of a short answer lands behind it."""
    right = objectives.generalised_advantages

    def behind(reward_BT, value_BT, mask_BT, *, decay):
        last = mask_BT.sum(dim=1, keepdim=True) - 1
        moved = reward_BT.clone()
        short = (last < reward_BT.shape[1] - 1).expand_as(moved)
        moved[short & (torch.arange(moved.shape[1])[None] == last)] = 0.0
        return right(moved, value_BT, mask_BT, decay=decay)

    monkeypatch.setattr(objectives, "generalised_advantages", behind)
    assert gap(at("ppo")) > CLEARLY


@pytest.mark.parametrize("normalise", ["token", "constant"])
def test_another_normalisation(normalise: str):
    this = at("grpo")
    other = this.stage.objective.model_copy(update={"normalise": normalise})
    changed = replace(this, stage=this.stage.model_copy(update={"objective": other}))
    assert difference(gradient(changed), named_gradient(this, leaves_of(this))) > CLEARLY


def no_reference(policy_N, reference_N, *, beta):
    return beta * policy_N


def beta_squared(policy_N, reference_N, *, beta):
    return beta**2 * (policy_N - reference_N)


@pytest.mark.parametrize("wrong", [no_reference, beta_squared], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["dpo", "local-rm", "online-dpo", "online-dpo-local"])
def test_wrong_implicit_reward(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable):
    this = at(name)
    monkeypatch.setattr(accumulate, "implicit_reward", wrong)
    assert gap(this) > CLEARLY


def less_group_mean(reward_UK):
    return reward_UK - reward_UK.mean(dim=1, keepdim=True)


def kl_forgotten(score_UK, behaviour_UK, reference_UK, *, beta):
    return score_UK


def kl_turned_round(score_UK, behaviour_UK, reference_UK, *, beta):
    return score_UK - beta * (reference_UK - behaviour_UK)


def k3_in_the_reward(score_UK, behaviour_UK, reference_UK, *, beta):
    k3_N = objectives.k3(behaviour_UK.flatten(), reference_UK.flatten())
    return score_UK - beta * k3_N.view_as(score_UK)


@pytest.mark.parametrize(
    "wrong", [kl_forgotten, kl_turned_round, k3_in_the_reward], ids=lambda f: f.__name__
)
def test_wrong_kl_in_the_reward(monkeypatch: pytest.MonkeyPatch, wrong: Callable):
    monkeypatch.setattr(objectives, "penalised_rewards", wrong)
    assert gap(at("rloo")) > CLEARLY


def test_a_baseline_with_itself_in_it_gives_exactly_half(monkeypatch: pytest.MonkeyPatch):
    this = at("rloo")
    named = named_gradient(this, leaves_of(this))
    monkeypatch.setattr(objectives, "leave_one_out", less_group_mean)
    found = gradient(this)
    assert difference(found, named) > CLEARLY
    # Groups of k = 2: (k - 1) / k.
    assert difference(2 * found, named) < 1e-12


def test_the_sum_of_a_group_where_its_mean_is_meant(monkeypatch: pytest.MonkeyPatch):
    def summed(logprob_UK, behaviour_UK, advantage_UK):
        return -(torch.exp(logprob_UK - behaviour_UK) * advantage_UK).sum(dim=1)

    monkeypatch.setattr(objectives, "importance_weighted_policy_gradient", summed)
    assert gap(at("rloo")) > CLEARLY


@pytest.mark.parametrize("name", ["sft", "sft-chosen"])
def test_likelihood_per_completion(monkeypatch: pytest.MonkeyPatch, name: str):
    per_unit = replace(LOSSES["likelihood"], per="unit")
    monkeypatch.setitem(LOSSES, "likelihood", per_unit)
    assert gap(at(name)) > CLEARLY


def test_ties_decided_by_their_order(monkeypatch: pytest.MonkeyPatch):
    """TRL's online DPO: `first_half >= second_half`."""

    def by_index(group):
        first, second = group
        return (first, second) if first.rank >= second.rank else (second, first)

    monkeypatch.setitem(sources.PICKS, "two", by_index)
    assert gap(at("online-dpo-verifier")) > CLEARLY


def test_the_worse_one_wins(monkeypatch: pytest.MonkeyPatch):
    def turned(group):
        pair = picks.best_worst(group)
        return pair and pair[::-1]

    monkeypatch.setitem(sources.PICKS, "best-worst", turned)
    assert gap(at("online-dpo-batch")) > CLEARLY


def test_cut_completions_that_count_as_finished(monkeypatch: pytest.MonkeyPatch):
    this = at("online-dpo", "cut short")
    assert gap(this) < 1e-9
    monkeypatch.setattr(picks.Scored, "rank", property(lambda one: (True, one.score)))
    monkeypatch.setattr(sources, "floored", lambda groups, penalty: groups)
    assert gap(this) > CLEARLY


def test_the_wrong_labeller():
    right, wrong = at("online-dpo-verifier"), at("online-dpo")
    swapped = replace(right, supplies=wrong.supplies)
    named = named_gradient(right, leaves_of(right))
    assert difference(gradient(swapped), named) > CLEARLY


# In what is named.


def without_eos(this: Problem, leaves: Leaves) -> Leaves:
    assert isinstance(this.trainee, Policy)
    token_PLH = token_logprobs(this.ground, this.trainee)
    ends = torch.tensor(this.ground.tree.tokens_LH == this.ground.tree.eos)
    return replace(leaves, logprob=token_PLH.masked_fill(ends, 0.0).sum(dim=2))


def halved_prompt(this: Problem, leaves: Leaves) -> Leaves:
    uneven = torch.tensor([[0.3], [0.7]])
    scale = uneven / leaves.rho
    return replace(
        leaves,
        rho=uneven,
        demonstrations=scale * leaves.demonstrations,
        pairs=scale[:, :, None] * leaves.pairs,
    )


def reference_forgotten(this: Problem, leaves: Leaves) -> Leaves:
    assert leaves.reference is not None
    return replace(leaves, reference=torch.zeros_like(leaves.reference))


@pytest.mark.parametrize("name", LOGPROB_ROADS)
@pytest.mark.parametrize("wrong", [without_eos, halved_prompt], ids=lambda f: f.__name__)
def test_a_wrong_name(name: str, wrong: Callable):
    this = at(name)
    named = named_gradient(this, wrong(this, leaves_of(this)))
    assert difference(gradient(this), named) > CLEARLY


@pytest.mark.parametrize("name", ["dpo", "local-rm", "online-dpo", "rloo"])
def test_a_name_without_its_reference_or_with_another_beta(name: str):
    this = at(name)
    found, leaves = gradient(this), leaves_of(this)
    assert difference(found, named_gradient(this, reference_forgotten(this, leaves))) > CLEARLY
    objective = this.stage.objective
    assert objective.beta is not None
    dearer = objective.model_copy(update={"beta": 1.01 * objective.beta})
    other = replace(this, stage=this.stage.model_copy(update={"objective": dearer}))
    assert difference(found, named_gradient(other, leaves)) > CLEARLY
