"""Log-probabilities under the head: by hand, by numerical derivatives, against the formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from allroads.models.accumulation import accumulating
from allroads.models.head import target_logprobs

N, D, V = 7, 4, 11
AT_ONCE = {"whole": 10**6, "in parts, the last one smaller": 3 * V, "row by row": 1}


def made(dtype: torch.dtype = torch.float64, *, scale: float = 1.0) -> tuple[Tensor, ...]:
    """States, weight, bias and targets."""
    rng = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, generator=rng, dtype=torch.float64)

    targets = torch.randint(V, (N,), generator=rng)
    return (*(x.to(dtype).requires_grad_() for x in (draw(N, D), draw(V, D), draw(V))), targets)


def written(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, t: float):
    """The formula as it stands: every logit, widened."""
    logits = linear(hidden, weight, bias)
    logits = (logits if logits.dtype == torch.float64 else logits.float()) / t
    return logits.log_softmax(dim=1)[torch.arange(len(targets)), targets]


def test_by_hand():
    """Two words with logits log 3 and 0: probabilities 3/4 and 1/4.

    d log p(first) / d logits = (1 - 3/4, -1/4), times the state (log 3) for the weight, and through
    the weights (1, 0) back to the state: 1/4.
    """
    hidden = torch.tensor([[math.log(3.0)]], requires_grad=True)
    weight = torch.tensor([[1.0], [0.0]], requires_grad=True)
    found = target_logprobs(hidden, weight, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([math.log(0.75)]))
    found.backward()
    torch.testing.assert_close(hidden.grad, torch.tensor([[0.25]]))
    torch.testing.assert_close(weight.grad, math.log(3.0) * torch.tensor([[0.25], [-0.25]]))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("at_once", AT_ONCE.values(), ids=AT_ONCE)
def test_gradients_are_the_numerical_derivatives(at_once: int, temperature: float, biased: bool):
    hidden, weight, bias, targets = made()

    def function(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return target_logprobs(
            hidden, weight, targets, bias_V=bias, temperature=temperature, at_once=at_once
        )

    assert torch.autograd.gradcheck(function, (hidden, weight, *[bias] * biased))
    expected = written(hidden, weight, bias if biased else None, targets, temperature)
    torch.testing.assert_close(function(hidden, weight, *[bias] * biased), expected)


@pytest.mark.parametrize("at_once", AT_ONCE.values(), ids=AT_ONCE)
def test_what_is_frozen_gets_no_gradient_and_changes_no_other(at_once: int):
    for frozen in ("hidden", "weight"):
        hidden, weight, _, targets = made()
        {"hidden": hidden, "weight": weight}[frozen].requires_grad_(requires_grad=False)
        target_logprobs(hidden, weight, targets, at_once=at_once, temperature=0.7).sum().backward()
        plain_hidden, plain_weight, *_ = made()
        written(plain_hidden, plain_weight, None, targets, 0.7).sum().backward()
        for own, plain, name in (
            (hidden.grad, plain_hidden.grad, "hidden"),
            (weight.grad, plain_weight.grad, "weight"),
        ):
            if name == frozen:
                assert own is None
            else:
                torch.testing.assert_close(own, plain)


@pytest.mark.parametrize("at_once", AT_ONCE.values(), ids=AT_ONCE)
def test_a_gradient_that_is_there_is_added_to_in_place(at_once: int):
    hidden, weight, bias, targets = made()
    for _ in range(2):
        target_logprobs(hidden, weight, targets, bias_V=bias, at_once=at_once).sum().backward()
    expected, twice = weight.grad, hidden.grad
    hidden, weight, bias, targets = made()
    target_logprobs(hidden, weight, targets, bias_V=bias, at_once=at_once).sum().backward()
    there = weight.grad
    with accumulating():
        target_logprobs(hidden, weight, targets, bias_V=bias, at_once=at_once).sum().backward()
    assert weight.grad is there
    torch.testing.assert_close(there, expected)
    torch.testing.assert_close(hidden.grad, twice)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("at_once", AT_ONCE.values(), ids=AT_ONCE)
def test_half_precision_weights_have_a_single_precision_softmax(at_once: int, frozen: bool):
    """As near to double precision as the written formula on the same rounded logits, twice over."""
    half = made(torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in half[:2]]
    plain = [x.detach().clone().requires_grad_() for x in half[:2]]
    targets = half[3]
    half[1].requires_grad_(requires_grad=not frozen)
    found = target_logprobs(half[0], half[1], targets, at_once=at_once)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, written(*plain, None, targets, 1.0))
    for out in (found, written(*plain, None, targets, 1.0), written(*exact, None, targets, 1.0)):
        out.sum().backward()
    for own, common, true in list(zip(half[:2], plain, exact, strict=True))[: 1 if frozen else 2]:
        assert own.grad is not None
        assert own.grad.dtype == torch.bfloat16
        error, usual = ((x.grad.double() - true.grad).abs().max() for x in (own, common))
        assert error <= 2 * usual + 2**-8 * true.grad.abs().max()


def test_a_sure_target_keeps_the_digits_of_its_gradient():
    """At p = 1 - 2e-5 the gradient in half precision is 2e-5, not a rounding of 1 less 1."""
    hidden = torch.ones(1, 1, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.tensor([[10.75], [0.0]], dtype=torch.bfloat16, requires_grad=True)
    target_logprobs(hidden, weight, torch.tensor([0])).backward()
    left = 1 / (1 + math.exp(10.75))
    assert weight.grad is not None
    assert weight.grad[0, 0].item() == pytest.approx(left, rel=2**-7)
    assert weight.grad[1, 0].item() == pytest.approx(-left, rel=2**-7)


def test_large_logits_do_not_overflow():
    hidden, weight, bias, targets = made(scale=100.0)
    found = target_logprobs(hidden, weight, targets, bias_V=bias)
    torch.testing.assert_close(found, written(hidden, weight, bias, targets, 1.0))
    found.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
