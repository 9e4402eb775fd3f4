"""The table of losses: what each row returns and logs, on numbers small enough for the head."""

from __future__ import annotations

import math

import pytest
import torch

from allroads.roads.choices import Critic, Objective
from allroads.roads.losses import LOSSES, Metrics, Scored, ScoredTokens, declared


def rows(*values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scored(score: torch.Tensor, **known: object) -> Scored:
    lengths = torch.full_like(score, 2.0)
    return Scored(**{"score": score, "lengths": lengths, **known})  # type: ignore[arg-type]


def outcome(loss: str, given: Scored, **choices: object) -> tuple[torch.Tensor, Metrics]:
    objective = Objective.model_validate({"loss": loss, "beta": 1.0, **choices})
    return LOSSES[loss].function(given, objective)


def plain(metrics: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in metrics.items()}


def test_likelihood():
    loss, metrics = outcome("likelihood", scored(rows((-2.0,), (-0.5,))))
    assert loss.tolist() == [2.0, 0.5]
    assert metrics == {}


def test_bradley_terry_counts_a_tie_half():
    score = rows((math.log(3), 0.0), (0.0, math.log(3)), (1.0, 1.0))
    logprob = rows((-1.0, -2.0), (-3.0, -4.0), (-5.0, -6.0))
    loss, metrics = outcome("bradley-terry", scored(score, logprob=logprob))
    assert loss.tolist() == pytest.approx([math.log(4 / 3), math.log(4), math.log(2)])
    assert plain(metrics) == {
        "accuracy": [1.0, 0.0, 0.5],
        "lead": pytest.approx([math.log(3), -math.log(3), 0.0]),
        "logprob_better": [-1.0, -3.0, -5.0],
        "logprob_worse": [-2.0, -4.0, -6.0],
    }


def test_a_scalar_head_has_no_logprob():
    _, metrics = outcome("bradley-terry", scored(rows((1.0, 0.0))))
    assert set(metrics) == {"accuracy", "lead"}


def test_rloo():
    # Twice as likely as when it was written, and half as likely: ratios 2 and 1/2, mean 1.25.
    # The loss is -(2 x 3 - 0.5 x 3) / 2; two advantages of +-3 deviate by sqrt(18).
    # Written half a nat above the reference, and a quarter below it: KL (0.5 - 0.25) / 2.
    behaviour = rows((-1.0, -2.0))
    loss, metrics = outcome(
        "policy-gradient",
        scored(
            behaviour + rows((math.log(2), -math.log(2))),
            behaviour=behaviour,
            reference=rows((-1.5, -1.75)),
            advantage=rows((3.0, -3.0)),
        ),
        advantage="leave-one-out",
        kl="reward",
        reference="start",
    )
    assert loss.tolist() == pytest.approx([-2.25])
    assert plain(metrics) == {
        "ratio": pytest.approx([1.25]),
        "advantage_deviation": pytest.approx([math.sqrt(18)]),
        "kl": pytest.approx([0.125]),
    }


def test_a_margin_and_smoothing():
    # Lead 1, margin 1: an even bet. Smoothing 1/4 at d = log 3: (3/4) log(4/3) + (1/4) log 4.
    loss, metrics = outcome("bradley-terry", scored(rows((1.0, 0.0))), margin=1.0)
    assert loss.tolist() == pytest.approx([math.log(2)])
    assert metrics["lead"].tolist() == [1.0], "the lead itself, not what is over the margin"
    loss, _ = outcome("bradley-terry", scored(rows((math.log(3), 0.0))), smoothing=0.25)
    assert loss.tolist() == pytest.approx([0.75 * math.log(4 / 3) + 0.25 * math.log(4)])


def test_identity_measures_the_lead_in_nats():
    # Rewards are beta times log-ratios: with beta 1/2 a lead of 2 reward units is 4 nats, and the
    # target is 1 / (2 beta) = 1 nat; with a factor of 4 the target is 1/4 and the lead 1 nat.
    assert outcome("identity", scored(rows((2.0, 0.0))), beta=0.5)[0].tolist() == [9.0]
    loss, metrics = outcome("identity", scored(rows((2.0, 0.0))), beta=0.5, beta_factor=4.0)
    assert loss.tolist() == [0.5625]
    assert metrics["lead"].tolist() == [2.0]


def test_hinge():
    loss, _ = outcome("hinge", scored(rows((0.5, 0.0), (2.0, 0.0), (0.0, 1.0))), margin=1.0)
    assert loss.tolist() == [0.5, 0.0, 2.0]


def test_kahneman_tversky():
    # z = log 3. Good at z: 1/2. Bad at 0: sigma(-log 3) = 1/4, weighted by 2. Their mean is 1/2.
    z = torch.tensor(math.log(3), dtype=torch.float64)
    score = rows((math.log(3), 0.0))
    loss, metrics = outcome("kahneman-tversky", scored(score, baseline=z), weight=2.0)
    assert loss.tolist() == pytest.approx([0.5])
    assert plain(metrics) == {
        "accuracy": [1.0],
        "lead": pytest.approx([math.log(3)]),
        "kl_baseline": pytest.approx([math.log(3)]),
    }


def test_odds_ratio():
    # Two tokens each: means log(3/4) and log(1/2), odds 3 and 1; -log sigma(log 3) = log(4/3).
    score = rows((2 * math.log(3 / 4), 2 * math.log(1 / 2)))
    loss, metrics = outcome("odds-ratio", scored(score), weight=0.5)
    assert metrics["odds_ratio_nll"].tolist() == pytest.approx([math.log(4 / 3)])
    assert metrics["lead"].tolist() == pytest.approx([math.log(3 / 2)])
    assert loss.tolist() == pytest.approx([1.5 * math.log(4 / 3)])


def test_rebel():
    # Log-ratios 1 and 0 over eta 1/2 lead by 2, the rewards by 3: squared difference 1.
    given = scored(rows((1.0, 0.0)), behaviour=rows((0.0, 0.0)), reward=rows((4.0, 1.0)))
    loss, metrics = outcome("rebel", given, eta=0.5)
    assert loss.tolist() == pytest.approx([1.0])
    assert metrics["ratio"].tolist() == pytest.approx([(math.e + 1) / 2])
    assert metrics["reward_deviation"].tolist() == pytest.approx([math.sqrt(4.5)])


TWO_ONE = torch.tensor([[[True, True], [True, False]]])
"""One unit of two completions: two tokens, and one with its padding."""


def by_token(logprob: torch.Tensor, **known: object) -> Scored:
    tokens: dict[str, object] = {
        "logprob": logprob,
        "mask": TWO_ONE,
        "behaviour": torch.zeros_like(logprob),
        "advantage": torch.ones_like(logprob),
    }
    return Scored(
        score=logprob.sum(dim=2),
        lengths=torch.tensor([[2.0, 1.0]], dtype=torch.float64),
        tokens=ScoredTokens(**{**tokens, **known}),  # type: ignore[arg-type]
        limit=4,
    )


@pytest.mark.parametrize(
    ("normalise", "expected"),
    # Ratios 1.1, 1.1 and 0.5 at advantage 1; what stands on the padding counts nowhere.
    # Sum: 2.7, to be divided by the batch's tokens. Means 1.1 and 0.5, mean 0.8. Sums 2.2 and 0.5,
    # mean 1.35, over a limit of 4 tokens.
    [("token", -2.7), ("sequence", -0.8), ("constant", -0.3375)],
)
def test_clipped_is_normalised_as_chosen(normalise: str, expected: float):
    ratio = torch.tensor([[[1.1, 1.1], [0.5, 99.0]]], dtype=torch.float64)
    loss, metrics = outcome("clipped", by_token(ratio.log()), normalise=normalise)
    assert loss.tolist() == pytest.approx([expected])
    assert plain(metrics) == {"ratio": pytest.approx([0.8]), "clipped": [0.0]}
    assert LOSSES["clipped"].divides_by_tokens(
        Objective(loss="clipped", normalise=normalise)  # type: ignore[arg-type]
    ) == (normalise == "token")


def test_clipped_stops_past_the_width_in_the_direction_of_the_advantage():
    # 1.5 at advantage 1 is cut to 1.2; 1.5 at advantage -1 and 0.5 at 1 are not: the way back.
    ratio = torch.tensor([[[1.5, 1.5], [0.5, 1.0]]], dtype=torch.float64)
    advantage = torch.tensor([[[1.0, -1.0], [1.0, 5.0]]], dtype=torch.float64)
    loss, metrics = outcome("clipped", by_token(ratio.log(), advantage=advantage))
    assert loss.tolist() == pytest.approx([-(1.2 - 1.5 + 0.5)])
    assert metrics["clipped"].tolist() == pytest.approx([1 / 3])


def test_clipped_with_its_kl_and_its_critic():
    # At ratio 1 the policy's part is -3. The reference is twice as likely at the first token:
    # k3 = 2 - 1 - log 2 there. Values 1, 2, 3 against returns 0, 2, 5: errors 1/2, 0, 2.
    zero = torch.zeros(1, 2, 2, dtype=torch.float64)
    reference = zero.clone()
    reference[0, 0, 0], reference[0, 1, 1] = math.log(2), 99.0
    value = torch.tensor([[[1.0, 2.0], [3.0, 99.0]]], dtype=torch.float64)
    returns = torch.tensor([[[0.0, 2.0], [5.0, 0.0]]], dtype=torch.float64)
    given = by_token(zero, reference=reference, value=value, before=value, returns=returns)
    loss, metrics = outcome(
        "clipped",
        given,
        beta=2.0,
        kl="loss",
        reference="start",
        advantage="lambda",
        critic=Critic(weight=0.1),
    )
    k3 = 1 - math.log(2)
    assert loss.tolist() == pytest.approx([-3 + 2 * k3 + 0.1 * 2.5])
    assert metrics["k3"].tolist() == pytest.approx([k3 / 3])
    assert metrics["value_loss"].tolist() == pytest.approx([2.5 / 3])
    assert metrics["value"].tolist() == pytest.approx([2.0])


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_only_the_loss_carries_gradient(name: str):
    row = LOSSES[name]
    k = {"single": 1, "pair": 2, "group": 3}[row.takes]
    score = torch.full((2, k), -1.0, requires_grad=True)
    known = torch.arange(2.0 * k).view(2, k)
    each = -torch.arange(6.0 * k).view(2, k, 3)
    carrying = each.clone().requires_grad_()
    tokens = ScoredTokens(
        logprob=carrying,
        mask=torch.ones(2, k, 3, dtype=torch.bool),
        behaviour=each,
        reference=each / 2,
        advantage=each,
        value=carrying,
        before=each,
        returns=each,
    )
    whole = dict.fromkeys(("logprob", "reference", "behaviour", "reward", "advantage"), known)
    given = scored(score, **whole, baseline=torch.tensor(0.5), tokens=tokens, limit=3)
    choices: dict[str, object] = {"score": row.scores[0], "reference": "start"}
    if "kl" in row.reads:
        choices["kl"] = "loss" if row.by_token else "reward"
    if "critic" in row.reads:
        choices |= {"advantage": "lambda", "critic": Critic()}
    loss, metrics = outcome(name, given, **choices)
    assert loss.shape == (2,)
    assert loss.requires_grad
    assert set(metrics) == set(declared(Objective(loss=name, **choices)))  # type: ignore[arg-type]
    for values in metrics.values():
        assert values.shape == (2,)
        assert not values.requires_grad
