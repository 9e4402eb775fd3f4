"""PPO and REBEL as their papers write them: one number at a time, in loops, nothing vectorised.

TRL has no trainer for either any more, so this page is the peer. Numbers are zero-dimensional
tensors, so that gradients can be asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Number = Tensor | float
Numbers = Sequence[Tensor]


def clipped_surrogate(new: Numbers, old: Numbers, advantages: Sequence[float], e: float) -> Number:
    """L^CLIP: the mean over t of min(r_t A_t, clip(r_t, 1 - e, 1 + e) A_t). To be maximised.

    Schulman et al. 2017, arXiv:1707.06347, eq. 7; r_t of eq. 6.
    """
    total = 0.0
    for log_new, log_old, advantage in zip(new, old, advantages, strict=True):
        r = torch.exp(log_new) / torch.exp(log_old)
        free = r * advantage
        if r > 1 + e:
            held = (1 + e) * advantage
        elif r < 1 - e:
            held = (1 - e) * advantage
        else:
            held = free
        total = total + (free if free < held else held)
    return total / len(new)


def clipped_value(new: Numbers, old: Sequence[float], targets: Sequence[float], e: float) -> Number:
    """Half the mean of the larger of two squared errors: of V, and of V held within e of old V.

    Huang et al. 2024, arXiv:2403.17031.
    """
    total = 0.0
    for value, before, target in zip(new, old, targets, strict=True):
        free = (value - target) ** 2
        if value > before + e:
            held = (before + e - target) ** 2
        elif value < before - e:
            held = (before - e - target) ** 2
        else:
            held = free
        total = total + (held if held > free else free)
    return total / len(new) / 2


def generalised_advantage(
    rewards: Sequence[float], values: Sequence[float], gamma: float, decay: float
) -> list[float]:
    """A_t = the sum over l of (gamma lambda)^l delta_(t+l), delta_t = r_t + gamma V_(t+1) - V_t.

    Schulman et al. 2015, arXiv:1506.02438, eq. 16; the episode ends after its last reward.
    """
    end = len(rewards)
    advantages = []
    for t in range(end):
        advantage = 0.0
        for step in range(end - t):
            here = t + step
            after = values[here + 1] if here + 1 < end else 0.0
            delta = rewards[here] + gamma * after - values[here]
            advantage += (gamma * decay) ** step * delta
        advantages.append(advantage)
    return advantages


def token_rewards(score: float, log_pi: Numbers, log_ref: Numbers, beta: float) -> list[float]:
    """The score at the last token, and -beta (log pi - log pi_ref) at each.

    Huang et al. 2024, arXiv:2403.17031; Ouyang et al. 2022, arXiv:2203.02155, eq. 2.
    """
    rewards = [float(-beta * (a - b)) for a, b in zip(log_pi, log_ref, strict=True)]
    rewards[-1] += score
    return rewards


def whiten(numbers: Sequence[float]) -> list[float]:
    """Mean 0 and variance 1, with 1e-8 added to the variance.

    Huang et al. 2024, arXiv:2403.17031.
    """
    mean = sum(numbers) / len(numbers)
    variance = sum((x - mean) ** 2 for x in numbers) / len(numbers)
    return [(x - mean) / (variance + 1e-8) ** 0.5 for x in numbers]


def rebel(new: Sequence[Numbers], old: Sequence[Numbers], rewards: Numbers, eta: float) -> Number:
    """The square of 1/eta (ln pi(y)/pi_t(y) - ln pi(y')/pi_t(y')) - (r(y) - r(y')).

    `new` and `old` hold the token log-probabilities of two completions y and y' of one prompt.

    Gao et al. 2024, arXiv:2404.16767, algorithm 1.
    """
    logs = []
    for tokens_new, tokens_old in zip(new, old, strict=True):
        log = 0.0
        for one, other in zip(tokens_new, tokens_old, strict=True):
            log = log + one - other
        logs.append(log)
    return ((logs[0] - logs[1]) / eta - (rewards[0] - rewards[1])) ** 2
