"""PPO's and REBEL's functions against the plain loops of `papers`, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from allroads.objectives import (
    clipped_policy_gradient,
    clipped_value_loss,
    generalised_advantages,
    rebel_loss,
)
from tests.peer import papers

pytestmark = pytest.mark.peer

N = 40
SEEDS = range(5)


@pytest.fixture(params=SEEDS)
def draw(request: pytest.FixtureRequest):
    generator = torch.Generator().manual_seed(request.param)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return normal


def same(ours: Tensor, theirs: papers.Number, x: Tensor) -> None:
    assert isinstance(theirs, Tensor)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    slopes = [torch.autograd.grad(loss, x)[0] for loss in (ours, theirs)]
    assert slopes[0].abs().max() > 1e-3
    torch.testing.assert_close(*slopes, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("clip", [0.05, 0.2, 0.9])
def test_clipped_surrogate(draw, clip: float):
    old, advantage = draw(N) - 3, draw(N)
    new = (old + 0.3 * draw(N)).requires_grad_()
    ours = clipped_policy_gradient(new, old, advantage, clip=clip).mean()
    surrogate = papers.clipped_surrogate(list(new), list(old), advantage.tolist(), clip)
    same(ours, -surrogate, new)


@pytest.mark.parametrize("clip", [0.05, 0.2, 5.0])
def test_clipped_value(draw, clip: float):
    old, target = draw(N), draw(N)
    new = (old + 0.3 * draw(N)).requires_grad_()
    ours = clipped_value_loss(new, old, target, clip=clip).mean()
    same(ours, papers.clipped_value(list(new), old.tolist(), target.tolist(), clip), new)


@pytest.mark.parametrize(("discount", "decay"), [(1.0, 0.95), (0.9, 0.6), (1.0, 1.0), (0.9, 0.0)])
def test_generalised_advantages(draw, discount: float, decay: float):
    lengths = [7, 1, 4]
    reward, value = draw(3, 7), draw(3, 7)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    ours = generalised_advantages(reward, value, mask, decay=decay, discount=discount)
    for row, length in enumerate(lengths):
        theirs = papers.generalised_advantage(
            reward[row, :length].tolist(), value[row, :length].tolist(), discount, decay
        )
        assert ours[row, :length].tolist() == pytest.approx(theirs, abs=1e-12)
        assert not ours[row, length:].any()


@pytest.mark.parametrize("eta", [0.3, 1.0, 4.0])
def test_rebel(draw, eta: float):
    # Two completions of five and of three tokens.
    old, reward = draw(2, 5) - 3, draw(2)
    new = (old + 0.3 * draw(2, 5)).requires_grad_()
    real = torch.arange(5) < torch.tensor([5, 3])[:, None]
    log_ratio = ((new - old) * real).sum(dim=1)
    ours = rebel_loss(log_ratio[None], reward[None], eta=eta).mean()
    tokens = [[list(x[0]), list(x[1, :3])] for x in (new, old)]
    same(ours, papers.rebel(*tokens, list(reward), eta), new)
