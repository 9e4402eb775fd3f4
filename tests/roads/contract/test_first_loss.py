"""Every road: its loss at step 0, derived apart from the loop and from the losses.

A road whose loss has no row in `FIRST` fails: say what its first value is, and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from allroads.models.critic import ActorCritic
from allroads.models.policy import Policy
from allroads.models.reward_model import RewardModel
from allroads.records import Cost
from allroads.roads.accumulate import Trainee, accumulate
from allroads.roads.losses import LOSSES
from allroads.roads.stage import Stage
from allroads.roads.units import Unit
from allroads.types import Tokens
from tests.models.test_reward_model import by_definition as score_by_definition
from tests.roads.problem import (
    STAGES,
    changed,
    first_batch,
    gradient,
    nudge,
    policy_of,
    token_sum,
)


def logprob_by_definition(policy: Policy, prompt: Tokens, completion: Tokens) -> Tensor:
    """One unpadded row through the model's own forward: sum of log softmax of the full logits."""
    logits = policy.model(torch.tensor([[*prompt, *completion]])).logits[0]
    terms = [
        logits[len(prompt) - 1 + t].log_softmax(-1)[token] for t, token in enumerate(completion)
    ]
    return torch.stack(terms).sum()


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def surprise(lead: float) -> float:
    """-log sigma(x) = log(1 + exp(-x))."""
    return math.log1p(math.exp(-lead))


@dataclass(frozen=True)
class Start:
    """A stage at step 0, on one whole round."""

    stage: Stage
    model: Trainee
    units: list[Unit]
    limit: int

    def logprobs(self, unit: Unit) -> list[float]:
        policy = policy_of(self.model)
        return [logprob_by_definition(policy, unit.prompt, c).item() for c in unit.completions]

    def rewards(self) -> list[list[float]]:
        """The truth of the finished ones; a cut one lies 1 below the round's worst of those.

        At the reference the KL costs nothing.
        """
        truth = [token_sum([u.prompt] * len(u.completions), u.completions) for u in self.units]
        whole = [[c[-1] == 0 for c in u.completions] for u in self.units]
        pairs = [list(zip(s, w, strict=True)) for s, w in zip(truth, whole, strict=True)]
        floor = min(s for group in pairs for s, finished in group if finished) - 1.0
        return [[s if finished else floor for s, finished in group] for group in pairs]


def likelihood(at: Start) -> float:
    """The mean surprise per token."""
    total = sum(at.logprobs(unit)[0] for unit in at.units)
    return -total / sum(len(unit.completions[0]) for unit in at.units)


def bradley_terry(at: Start) -> float:
    """At the reference every lead is 0; elsewhere it is what the model gives."""
    objective = at.stage.objective
    s = objective.smoothing
    if isinstance(at.model, RewardModel):
        read, model = objective.score.removeprefix("head-"), at.model.model
        scores = [
            [score_by_definition(model, read, u.prompt, c).item() for c in u.completions]
            for u in at.units
        ]
    elif objective.reference is None:
        # Beta times the log-probability; SimPO's is the mean per token.
        mean_of = objective.over_tokens == "mean"
        scores = [
            [
                objective.price * value / (len(c) if mean_of else 1)
                for value, c in zip(at.logprobs(u), u.completions, strict=True)
            ]
            for u in at.units
        ]
    else:
        scores = [[0.0, 0.0]] * len(at.units)
    leads = [better - worse - objective.margin for better, worse in scores]
    return mean([(1 - s) * surprise(lead) + s * surprise(-lead) for lead in leads])


def identity(at: Start) -> float:
    """The whole way to the target: (1 / (2 beta))^2."""
    return (1 / (2 * at.stage.objective.price)) ** 2


def hinge(at: Start) -> float:
    return at.stage.objective.margin


def kahneman_tversky(at: Start) -> float:
    """At the reference KL and rewards are 0: each side is at half of its weight."""
    return (0.5 + 0.5 * at.stage.objective.weight) / 2


def odds_ratio(at: Start) -> float:
    terms = []
    for unit in at.units:
        better, worse = (
            value / len(c) for value, c in zip(at.logprobs(unit), unit.completions, strict=True)
        )
        odds = [math.exp(x) / (1 - math.exp(x)) for x in (better, worse)]
        terms.append(-better + at.stage.objective.weight * surprise(math.log(odds[0] / odds[1])))
    return mean(terms)


def policy_gradient(at: Start) -> float:
    """Ratios are 1, and the advantages of a round add up to 0."""
    assert at.stage.objective.advantage in ("leave-one-out", "others")
    return 0.0


def rebel(at: Start) -> float:
    """Log-ratios are 0: the squared difference of two rewards."""
    return mean([(a - b) ** 2 for a, b in at.rewards()])


def clipped(at: Start) -> float:
    objective = at.stage.objective
    if objective.critic is not None:
        # Whitened advantages have mean 0 over the round's tokens. What is left is the critic's
        # error, half the squared lambda-advantage: it is fitted to advantage plus value.
        assert objective.normalise == "token"
        errors = [0.5 * a**2 for row in lambda_advantages(at) for a in row]
        return objective.critic.weight * mean(errors)
    if objective.normalise == "sequence":
        # Every completion weighs the same, so a group's advantages cancel.
        return 0.0
    # A sum over tokens weighs the advantage by the length.
    assert (objective.advantage, objective.normalise) == ("centred", "constant")
    return -mean(
        [
            mean(
                [
                    (r - mean(group)) * len(c) / at.limit
                    for r, c in zip(group, u.completions, strict=True)
                ]
            )
            for group, u in zip(at.rewards(), at.units, strict=True)
        ]
    )


def values_by_definition(model: ActorCritic, prompt: Tokens, completion: Tokens) -> list[float]:
    """Before token t: the head summed over the states from the prompt's last one on."""
    critic = model.critic.model
    states = critic.base_model(input_ids=torch.tensor([[*prompt, *completion]])).last_hidden_state
    each = critic.get_submodule("score")(states[0, len(prompt) - 1 : -1])[:, 0]
    return each.cumsum(0).tolist()


def lambda_advantages(at: Start) -> list[list[float]]:
    """Sum over k of lambda^k times the surprise k tokens later; only the last token is paid."""
    assert isinstance(at.model, ActorCritic)
    assert at.stage.objective.critic is not None
    decay, out = at.stage.objective.critic.decay, []
    for rewards, unit in zip(at.rewards(), at.units, strict=True):
        for reward, completion in zip(rewards, unit.completions, strict=True):
            v = [*values_by_definition(at.model, unit.prompt, completion), 0.0]
            n = len(completion)
            d = [(reward if t == n - 1 else 0.0) + v[t + 1] - v[t] for t in range(n)]
            out.append([sum(decay ** (i - t) * d[i] for i in range(t, n)) for t in range(n)])
    return out


FIRST: dict[str, Callable[[Start], float]] = {
    "likelihood": likelihood,
    "bradley-terry": bradley_terry,
    "identity": identity,
    "hinge": hinge,
    "kahneman-tversky": kahneman_tversky,
    "odds-ratio": odds_ratio,
    "policy-gradient": policy_gradient,
    "rebel": rebel,
    "clipped": clipped,
}


def test_every_loss_has_a_hand_derived_first_value():
    assert set(FIRST) == set(LOSSES)


@pytest.mark.parametrize("name", sorted(STAGES))
def test_the_first_loss_is_the_derived_one(name: str):
    stage, model, units, given = first_batch(name)
    with torch.no_grad():
        expected = FIRST[stage.objective.loss](Start(stage, model, units, given.max_new_tokens))
    loss, metrics = accumulate(stage, model, given, units, Cost())
    assert loss == pytest.approx(expected, abs=1e-9)
    if "ratio" in metrics:
        assert metrics["ratio"] == pytest.approx(1, abs=1e-9)
        assert metrics["kl"] == pytest.approx(0, abs=1e-9)
    assert max(g.abs().max() for g in gradient(model).values()) > 1e-3


@pytest.mark.parametrize("name", ["rloo", "reinforce"])
def test_a_policy_gradient_starts_with_the_gradient_of_reinforce(name: str):
    stage, model, units, given = first_batch(name)
    assert isinstance(model, Policy)
    accumulate(stage, model, given, units, Cost())
    got = gradient(model)
    model.model.zero_grad()
    reinforce = torch.stack(
        [
            -a * logprob_by_definition(model, u.prompt, c) / len(u.completions) / len(units)
            for u in units
            for a, c in zip(u.advantage or (), u.completions, strict=True)
        ]
    )
    reinforce.sum().backward()
    for key, expected in gradient(model).items():
        torch.testing.assert_close(got[key], expected, atol=1e-8, rtol=1e-7)


def test_dpo_metrics_by_hand_off_the_reference():
    stage, model, units, given = first_batch("dpo")
    assert isinstance(model, Policy)
    nudge(model)
    with torch.no_grad():
        leads, better, worse = [], [], []
        for u in units:
            b, w = (logprob_by_definition(model, u.prompt, c).item() for c in u.completions)
            assert u.reference is not None
            better.append(b)
            worse.append(w)
            leads.append(0.5 * ((b - u.reference[0]) - (w - u.reference[1])))
    loss, metrics = accumulate(stage, model, given, units, Cost())
    assert max(map(abs, leads)) > 0.1
    assert loss == pytest.approx(mean([surprise(x) for x in leads]), abs=1e-8)
    assert metrics == pytest.approx(
        {
            "accuracy": mean([float(x > 0) for x in leads]),
            "lead": mean(leads),
            "logprob_better": mean(better),
            "logprob_worse": mean(worse),
        },
        abs=1e-8,
    )


def test_the_means_of_ipo_and_simpo_are_over_tokens_off_the_reference():
    """IPO by definition: (mean log-ratio of the better - of the worse - 1 / (2 beta))^2."""
    stage, model, units, given = first_batch("ipo")
    assert isinstance(model, Policy)
    nudge(model)
    with torch.no_grad():
        terms = []
        for u in units:
            assert u.reference is not None
            b, w = (
                (logprob_by_definition(model, u.prompt, c).item() - r) / len(c)
                for c, r in zip(u.completions, u.reference, strict=True)
            )
            terms.append((b - w - 1 / (2 * stage.objective.price)) ** 2)
    loss, _ = accumulate(stage, model, given, units, Cost())
    assert loss == pytest.approx(mean(terms), abs=1e-8)


def test_the_baseline_of_kto_is_the_kl_on_completions_of_other_prompts():
    stage, model, units, given = first_batch("kto")
    assert isinstance(model, Policy)
    nudge(model)
    with torch.no_grad():
        gaps, sides = [], []
        for u in units:
            assert u.reference is not None
            assert u.mismatched_reference is not None
            for c, r in zip(u.mismatched or (), u.mismatched_reference, strict=True):
                gaps.append(logprob_by_definition(model, u.prompt, c).item() - r)
            both = [logprob_by_definition(model, u.prompt, c).item() for c in u.completions]
            sides.append([0.5 * (b - r) for b, r in zip(both, u.reference, strict=True)])
    z = max(0.0, 0.5 * mean(gaps))
    loss, metrics = accumulate(stage, model, given, units, Cost())
    assert metrics["kl_baseline"] == pytest.approx(z, abs=1e-9)
    sigma = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    expected = mean([0.5 * (sigma(z - good) + sigma(bad - z)) for good, bad in sides])
    assert loss == pytest.approx(expected, abs=1e-8)


def test_the_kl_in_the_loss_by_hand_off_the_reference():
    """GRPO: beta times r - 1 - log r per token, averaged over each completion, then over all."""
    stage, model, units, given = first_batch("grpo")
    quiet = changed("grpo", objective=stage.objective.model_copy(update={"beta": 1e-9}))
    assert isinstance(model, Policy)
    nudge(model)
    assert given.reference is not None
    start = given.reference()
    with torch.no_grad():
        per_completion = [
            mean([math.exp(-gap) - 1 + gap for gap in _gaps(model, start, u.prompt, c)])
            for u in units
            for c in u.completions
        ]
    loss, metrics = accumulate(stage, model, given, units, Cost())
    without, _ = accumulate(quiet, model, given, units, Cost())
    assert mean(per_completion) > 1e-3
    assert loss - without == pytest.approx(0.5 * mean(per_completion), abs=1e-7)
    assert metrics["k3"] > 0


def _gaps(policy: Policy, reference: Policy, prompt: Tokens, completion: Tokens) -> list[float]:
    """log(policy / reference) of every token."""
    ids = torch.tensor([[*prompt, *completion]])
    each = [
        p.model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1) for p in (policy, reference)
    ]
    return [(each[0][t, c] - each[1][t, c]).item() for t, c in enumerate(completion)]
