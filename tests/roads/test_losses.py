"""The table of losses: what each row returns and logs, on numbers small enough for the head."""

from __future__ import annotations

import math

import pytest
import torch

from allroads.roads.losses import LOSSES, Scored


def rows(*values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scored(score: torch.Tensor, **known: torch.Tensor) -> Scored:
    unknown = dict(logprob=None, reference=None, behaviour=None, advantage=None)
    return Scored(**{"score": score, **unknown, **known})  # type: ignore[arg-type]


def plain(metrics: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in metrics.items()}


def test_likelihood():
    loss, metrics = LOSSES["likelihood"].function(scored(rows((-2.0,), (-0.5,))))
    assert loss.tolist() == [2.0, 0.5]
    assert metrics == {}


def test_bradley_terry_counts_a_tie_half():
    score = rows((math.log(3), 0.0), (0.0, math.log(3)), (1.0, 1.0))
    logprob = rows((-1.0, -2.0), (-3.0, -4.0), (-5.0, -6.0))
    loss, metrics = LOSSES["bradley-terry"].function(scored(score, logprob=logprob))
    assert loss.tolist() == pytest.approx([math.log(4 / 3), math.log(4), math.log(2)])
    assert plain(metrics) == {
        "accuracy": [1.0, 0.0, 0.5],
        "lead": pytest.approx([math.log(3), -math.log(3), 0.0]),
        "logprob_better": [-1.0, -3.0, -5.0],
        "logprob_worse": [-2.0, -4.0, -6.0],
    }


def test_a_scalar_head_has_no_logprob():
    _, metrics = LOSSES["bradley-terry"].function(scored(rows((1.0, 0.0))))
    assert set(metrics) == {"accuracy", "lead"}


def test_rloo():
    # Twice as likely as when it was written, and half as likely: ratios 2 and 1/2, mean 1.25.
    # The loss is -(2 x 3 - 0.5 x 3) / 2; two advantages of +-3 deviate by sqrt(18).
    # Written half a nat above the reference, and a quarter below it: KL (0.5 - 0.25) / 2.
    behaviour = rows((-1.0, -2.0))
    loss, metrics = LOSSES["rloo"].function(
        scored(
            behaviour + rows((math.log(2), -math.log(2))),
            behaviour=behaviour,
            reference=rows((-1.5, -1.75)),
            advantage=rows((3.0, -3.0)),
        )
    )
    assert loss.tolist() == pytest.approx([-2.25])
    assert plain(metrics) == {
        "ratio": pytest.approx([1.25]),
        "advantage_deviation": pytest.approx([math.sqrt(18)]),
        "kl": pytest.approx([0.125]),
    }


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_only_the_loss_carries_gradient(name: str):
    k = {"single": 1, "pair": 2, "group": 3}[LOSSES[name].takes]
    score = torch.zeros(2, k, requires_grad=True)
    known = torch.arange(2.0 * k).view(2, k)
    loss, metrics = LOSSES[name].function(Scored(score, known, known, -known, known))
    assert loss.shape == (2,)
    assert loss.requires_grad
    for metric, values in metrics.items():
        assert metric in LOSSES[name].metrics
        assert values.shape == (2,)
        assert not values.requires_grad
