"""AdamW that never loses a small step: half-precision weights have single-precision masters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from allroads.models.states import wide
from allroads.roads.stage import Schedule

_MASTER = "master"


class Optimiser:
    """Trains the weights of a model that require a gradient.

    Gradients, moments and the weights that are stepped are at least single precision; a
    half-precision weight is the rounded copy of its master.

    Args:
        model: whose weights are trained in place.
        schedule: learning rate, weight decay and the limit of the gradient's norm.
    """

    def __init__(self, model: nn.Module, schedule: Schedule) -> None:
        self._weights = [p for p in model.parameters() if p.requires_grad]
        self._masters = [wide(p.detach()) for p in self._weights]
        for i, weight in enumerate(self._weights):
            if self._masters[i].dtype == weight.dtype:
                self._masters[i] = weight
        self._clip = schedule.gradient_clip
        self._adam = torch.optim.AdamW(
            self._masters,
            lr=schedule.learning_rate,
            betas=(0.9, 0.99),
            eps=1e-8,
            weight_decay=schedule.weight_decay,
            fused=True,
        )

    def collect(self) -> None:
        """Add the gradients of one piece of a minibatch to the masters', before the next piece."""
        for weight, master in zip(self._weights, self._masters, strict=True):
            if master is weight or weight.grad is None:
                continue
            grad = wide(weight.grad)
            master.grad = grad if master.grad is None else master.grad.add_(grad)
            weight.grad = None

    def clip(self) -> float:
        """Shorten the gradient to the limit; its norm before that."""
        return float(nn.utils.clip_grad_norm_(self._masters, self._clip))

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One update; clears the gradient."""
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        for weight, master in zip(self._weights, self._masters, strict=True):
            if master is not weight:
                weight.copy_(master)

    def state(self) -> dict[str, Tensor]:
        """Moments and masters by name, for a checkpoint."""
        out = {
            f"{index}.{key}": value
            for index, moments in self._adam.state_dict()["state"].items()
            for key, value in moments.items()
        }
        for index, (weight, master) in enumerate(zip(self._weights, self._masters, strict=True)):
            if master is not weight:
                out[f"{index}.{_MASTER}"] = master
        return {name: value.detach().cpu().contiguous() for name, value in out.items()}

    @torch.no_grad()
    def load(self, saved: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in saved.items():
            index, name = key.split(".", 1)
            if name == _MASTER:
                self._masters[int(index)].copy_(value)
            else:
                moments.setdefault(int(index), {})[name] = value
        self._adam.load_state_dict({**self._adam.state_dict(), "state": moments})
