"""Log-probabilities under a linear vocabulary head, without a batch-by-vocabulary graph.

Written out, a head's logits exist four times (logits, log-softmax, its gradient, that of the
logits). Here they exist once: what is kept of them is already their gradient, softmax less one-hot,
or, where even that is too large, nothing: each chunk is computed again on the way back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from allroads.models.accumulation import gradient_to_add_to
from allroads.models.states import wide

LOGITS_AT_ONCE = 1 << 23
"""Logits held at a time (elements): beyond it they are computed in chunks, and twice."""
_IN_CACHE = 1 << 17
"""Logits whose softmax is taken at a time (elements), so that its passes stay in the cache."""


def target_logprobs(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    bias_V: Tensor | None = None,
    temperature: float = 1.0,
    at_once: int = LOGITS_AT_ONCE,
) -> Tensor:
    """(N,) log softmax((hidden weight^T + bias) / temperature) at the targets, in nats.

    Logits have the precision of the weights; their softmax, and what is returned, at least single.
    Equal to the plain formula up to rounding, gradients too; differentiable once.

    Args:
        hidden_ND: the states that predict the targets, of the weight's dtype.
        weight_VD: the head's weight; frozen, it costs no gradient and no logits are kept.
        targets_N: the token ids.
        bias_V: the head's bias, if it has one.
        temperature: positive.
        at_once: logits held at a time (elements).

    Source: recomputing by chunks, Wijmans et al. 2024, arXiv:2411.09009.
    """
    return cast(
        Tensor,
        _TargetLogprobs.apply(hidden_ND, weight_VD, bias_V, targets_N, temperature, at_once),
    )


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        at_once: int,
    ) -> Tensor:
        ctx.temperature, ctx.size = temperature, max(1, at_once // len(weight))
        head_learns = any(ctx.needs_input_grad[1:3])
        # A frozen head leaves one product to the gradient, which the softmax at hand can take now.
        led = torch.empty_like(hidden) if ctx.needs_input_grad[0] and not head_learns else None
        keeps = head_learns and len(hidden) <= ctx.size
        out = hidden.new_empty(len(hidden), dtype=wide(hidden[:0]).dtype)
        normaliser, error = torch.empty_like(out), None
        for part in _parts(len(hidden), ctx.size):
            logits = _logits(hidden[part], weight, bias, temperature)
            picked = logits.gather(1, targets[part, None])[:, 0]
            normaliser[part] = _softmax_(logits)
            out[part] = picked - normaliser[part]
            if led is not None or keeps:
                error = _less_one_hot_(logits, targets[part]).to(weight.dtype)
            if led is not None:
                torch.mm(cast(Tensor, error), weight, out=led[part])
            if not keeps:
                error = None  # Before the next chunk is there too.
            del logits
        ctx.save_for_backward(
            hidden if head_learns else None,
            weight,
            bias,
            targets,
            normaliser if head_learns and not keeps else None,
            error if keeps else None,
            led,
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, normaliser, error, led = ctx.saved_tensors
        slope = -gradient / ctx.temperature
        if led is not None:
            return (led * slope[:, None].to(led.dtype), *[None] * 5)
        by_hidden, by_weight, by_bias = ctx.needs_input_grad[:3]
        d_hidden = torch.empty_like(hidden) if by_hidden else None
        d_bias = torch.zeros_like(slope[:1].expand(len(weight))) if by_bias else None
        own = gradient_to_add_to(weight)
        d_weight = None
        if by_weight:
            d_weight = weight.new_empty(weight.shape) if own is None else own
        for i, part in enumerate(_parts(len(hidden), ctx.size)):
            if normaliser is not None:
                logits = _logits(hidden[part], weight, bias, ctx.temperature)
                logits.sub_(normaliser[part, None]).exp_()
                error = _less_one_hot_(logits, targets[part]).to(weight.dtype)
            assert error is not None
            scaled = slope[part, None]
            if d_hidden is not None:
                torch.mm(error, weight, out=d_hidden[part])
                d_hidden[part] *= scaled.to(weight.dtype)
            if d_weight is not None:
                first = own is None and i == 0
                led_by = hidden[part] * scaled.to(weight.dtype)
                torch.addmm(d_weight, error.T, led_by, beta=0.0 if first else 1.0, out=d_weight)
            if d_bias is not None:
                d_bias += error.T.to(d_bias.dtype) @ slope[part]
            if normaliser is not None:
                logits = error = None
        return (
            d_hidden,
            None if own is not None else d_weight,
            None if d_bias is None else d_bias.to(bias.dtype),
            *[None] * 3,
        )


def _parts(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    logits = wide(torch.nn.functional.linear(hidden, weight, bias))
    return logits if temperature == 1.0 else logits.div_(temperature)


def _softmax_(logits: Tensor) -> Tensor:
    """Softmax of every row in place; the rows' log-normalisers."""
    out = logits.new_empty(len(logits))
    for part in _parts(len(logits), max(1, _IN_CACHE // logits.shape[1])):
        rows = logits[part]
        largest = rows.amax(dim=1, keepdim=True)
        total = rows.sub_(largest).exp_().sum(dim=1, keepdim=True)
        rows.div_(total)
        out[part] = (largest + total.log())[:, 0]
    return out


def _less_one_hot_(softmax: Tensor, targets: Tensor) -> Tensor:
    # Here and not in the product with the weight: 1 - p of a sure target has no digits to lose.
    rows = torch.arange(len(targets), device=targets.device)
    softmax[rows, targets] -= 1.0
    return softmax
