"""Preference losses against hand derivations: values, gradients by identity, extremes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor

from allroads.objectives import (
    bradley_terry_nll,
    hinge_loss,
    identity_preference_loss,
    kahneman_tversky_loss,
    odds_ratio_nll,
)
from tests.objectives.test_objectives import vector


def slopes(loss: Tensor, *inputs: Tensor) -> list[list[float]]:
    return [x.tolist() for x in torch.autograd.grad(loss.sum(), inputs)]


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


# Margin and smoothing ---------------------------------------------------------------------------


def test_a_margin_is_a_lead_that_does_not_count():
    # A lead of log 6 with a margin of log 2 is a lead of log 3: p = 3/4.
    loss = bradley_terry_nll(vector(math.log(6)), vector(0.0), margin=math.log(2))
    torch.testing.assert_close(loss, vector(math.log(4 / 3)))


def test_smoothing_by_hand():
    # p = 3/4, labels wrong one time in four: 3/4 log(4/3) + 1/4 log 4, and that is the least there
    # is, as the label's own odds are 3 to 1: the slope is 0.
    better, worse = vector(math.log(3)).requires_grad_(), vector(0.0).requires_grad_()
    loss = bradley_terry_nll(better, worse, smoothing=0.25)
    torch.testing.assert_close(loss, vector(0.75 * math.log(4 / 3) + 0.25 * math.log(4)))
    for slope in slopes(loss, better, worse):
        assert slope == pytest.approx([0.0], abs=1e-15)


@given(lead=st.floats(-30, 30), smoothing=st.floats(0, 0.499), margin=st.floats(-3, 3))
def test_smoothing_mixes_the_two_labels(lead: float, smoothing: float, margin: float):
    """-(1 - s) log sigma(d) - s log sigma(-d) with d = lead - margin."""
    found = bradley_terry_nll(vector(lead), vector(0.0), margin=margin, smoothing=smoothing)
    right = bradley_terry_nll(vector(lead - margin), vector(0.0))
    wrong = bradley_terry_nll(vector(0.0), vector(lead - margin))
    torch.testing.assert_close(found, (1 - smoothing) * right + smoothing * wrong)


def test_smoothing_survives_large_leads():
    # Surely right: the wrong tenth costs the lead. Surely wrong: the right nine tenths do.
    loss = bradley_terry_nll(vector(1000.0, -1000.0), vector(0.0, 0.0), smoothing=0.1)
    torch.testing.assert_close(loss, vector(100.0, 900.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_without_margin_and_smoothing_nothing_changes(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(0)
    better, worse = (20 * torch.randn(2, 1000, generator=generator)).to(dtype)
    expected = -torch.nn.functional.logsigmoid(better - worse)
    assert torch.equal(bradley_terry_nll(better, worse), expected)
    # An infinite lead is sure, not undefined.
    assert bradley_terry_nll(vector(math.inf), vector(0.0)).tolist() == [0.0]


# Identity preference ----------------------------------------------------------------------------


def test_identity_preference_is_least_at_its_target():
    # beta 1/4 asks for a lead of 2 nats; slope 2 (lead - 2).
    lead = vector(2.0, 0.0, 5.0).requires_grad_()
    loss = identity_preference_loss(lead, beta=0.25)
    assert loss.tolist() == [0.0, 4.0, 9.0]
    assert slopes(loss, lead) == [[0.0, -4.0, 6.0]]


# Hinge ------------------------------------------------------------------------------------------


def test_hinge_by_hand():
    # Leads 3, 1, 0.25, -1 with the margin 1 fall short by 0, 0, 0.75, 2.
    better = vector(3.0, 1.0, 0.25, 0.0).requires_grad_()
    worse = vector(0.0, 0.0, 0.0, 1.0).requires_grad_()
    loss = hinge_loss(better, worse)
    assert loss.tolist() == [0.0, 0.0, 0.75, 2.0]
    assert slopes(loss, better, worse) == [[0.0, 0.0, -1.0, -1.0], [0.0, 0.0, 1.0, 1.0]]
    assert hinge_loss(vector(3.0), vector(0.0), margin=4.0).tolist() == [1.0]


# Kahneman-Tversky -------------------------------------------------------------------------------


def test_kahneman_tversky_by_hand():
    # z = log 2. The desirable reward log 6 is log 3 above it, 1 - 3/4 is missing; the undesirable
    # reward log 8 is log 4 above it, 1 - sigma(-log 4) = 4/5 is missing. Weights 2 and 3.
    loss = kahneman_tversky_loss(
        vector(math.log(6)),
        vector(math.log(8)),
        scalar(math.log(2)),
        desirable_weight=2.0,
        undesirable_weight=3.0,
    )
    torch.testing.assert_close(loss, vector((2 * 1 / 4 + 3 * 4 / 5) / 2))


@given(desirable=st.floats(-20, 20), undesirable=st.floats(-20, 20), z=st.floats(0, 20))
def test_kahneman_tversky_is_symmetric(desirable: float, undesirable: float, z: float):
    """Mirrored at the baseline, what was desirable is as undesirable; weights of one."""
    one = kahneman_tversky_loss(vector(desirable), vector(undesirable), scalar(z))
    other = kahneman_tversky_loss(vector(2 * z - undesirable), vector(2 * z - desirable), scalar(z))
    torch.testing.assert_close(one, other)


def test_kahneman_tversky_gradients():
    # sigma' at the baseline is 1/4, and the loss is the mean of two terms. The baseline has none.
    desirable, undesirable, z = (vector(1.5), vector(1.5), scalar(1.5))
    for x in (desirable, undesirable, z):
        x.requires_grad_()
    loss = kahneman_tversky_loss(desirable, undesirable, z, undesirable_weight=3.0)
    assert loss.tolist() == [(0.5 + 3 * 0.5) / 2]
    loss.sum().backward()
    assert desirable.grad is not None
    assert undesirable.grad is not None
    assert (desirable.grad.tolist(), undesirable.grad.tolist()) == ([-0.125], [0.375])
    assert z.grad is None


# Odds ratio -------------------------------------------------------------------------------------


def test_odds_ratio_by_hand():
    # Odds of p = 3/4 are 3, of p = 1/3 are 1/2: the ratio is 6, sigma(log 6) = 6/7.
    loss = odds_ratio_nll(vector(math.log(3 / 4)), vector(math.log(1 / 3)))
    torch.testing.assert_close(loss, vector(math.log(7 / 6)))


@given(mean=st.floats(-50, -1e-12))
def test_equal_odds_are_a_coin(mean: float):
    torch.testing.assert_close(odds_ratio_nll(vector(mean), vector(mean)), vector(math.log(2)))


def test_odds_ratio_gradient_by_hand():
    # d log odds / dm = 1 / (1 - p). At p = 3/4 against p = 1/3: -(1 - 6/7) * 4 and (1/7) * 3/2.
    better = vector(math.log(3 / 4)).requires_grad_()
    worse = vector(math.log(1 / 3)).requires_grad_()
    found = slopes(odds_ratio_nll(better, worse), better, worse)
    assert found == [pytest.approx([-4 / 7]), pytest.approx([3 / 14])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odds_near_certainty(dtype: torch.dtype):
    # p = exp(-1e-6): odds are (1 - 1e-6 / 2 + ...) * 1e6, so against p = 1/2, with odds of 1, the
    # surprise of the wrong side is log(1 + 1e6 - 1/2 + ...) .
    certain = torch.tensor([-1e-6], dtype=dtype, requires_grad=True)
    even = torch.tensor([math.log(0.5)], dtype=dtype)
    loss = odds_ratio_nll(even, certain)
    assert loss.item() == pytest.approx(math.log(1e6 + 0.5), rel=1e-6)
    # d/dm = sigma(.) / (1 - p) = 1e6, less than one part in a million.
    assert slopes(loss, certain) == [pytest.approx([1e6], rel=1e-5)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_certainty_itself_has_a_finite_loss_and_slope(dtype: torch.dtype):
    certain = torch.zeros(1, dtype=dtype, requires_grad=True)
    even = torch.full((1,), -0.7, dtype=dtype)
    for loss in (odds_ratio_nll(certain, even), odds_ratio_nll(even, certain)):
        assert loss.isfinite().all()
        assert torch.autograd.grad(loss.sum(), certain)[0].isfinite().all()
    # The wrong side is pushed down even from there.
    assert slopes(odds_ratio_nll(even, certain), certain)[0][0] > 0


# Shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: identity_preference_loss(torch.zeros(3, 1), beta=1.0),
        lambda: hinge_loss(torch.zeros(3), torch.zeros(1)),
        lambda: kahneman_tversky_loss(torch.zeros(3), torch.zeros(1), torch.tensor(0.0)),
        lambda: kahneman_tversky_loss(torch.zeros(3), torch.zeros(3), torch.zeros(3)),
        lambda: odds_ratio_nll(torch.zeros(3), torch.zeros(1)),
    ],
)
def test_shapes_that_torch_would_broadcast_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
