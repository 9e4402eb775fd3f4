"""From rewards to advantages: how much better a completion, or a token, was than expected.

None carries gradient into a policy, and none averages over a batch.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def penalised_rewards(
    score_UK: Float[Tensor, "units k"],
    behaviour_UK: Float[Tensor, "units k"],
    reference_UK: Float[Tensor, "units k"],
    *,
    beta: float,
) -> Float[Tensor, "units k"]:
    """Score minus beta times the sequence-level k1 estimate of KL(behaviour || reference).

    The KL sits in the reward, so its policy gradient is the gradient of the KL.

    Args:
        score_UK: the labeller's score of each completion, in reward units.
        behaviour_UK: log-probability under the policy that wrote it, in nats, summed over tokens.
        reference_UK: the same under the reference.
        beta: price of one nat, in reward units.

    Source: Ahmadian et al. 2024, arXiv:2402.14740, eq. 3.
    """
    return score_UK - beta * (behaviour_UK - reference_UK)


def leave_one_out(reward_UK: Float[Tensor, "units k"]) -> Float[Tensor, "units k"]:
    """Each reward minus the mean of the other rewards of its group (REINFORCE leave-one-out).

    Raises:
        ValueError: with fewer than two completions in a group there is no other.

    Source: Ahmadian et al. 2024, arXiv:2402.14740, eq. 7; Kool et al. 2019.
    """
    k = reward_UK.shape[1]
    if k < 2:
        raise ValueError(f"leave_one_out needs at least 2 completions in a group, got {k}")
    return (reward_UK - reward_UK.mean(dim=1, keepdim=True)) * (k / (k - 1))


def less_others_of_round(reward_UK: Float[Tensor, "units k"]) -> Float[Tensor, "units k"]:
    """Each reward minus the mean of all other rewards of the round, whatever their prompt.

    The baseline never sees the completion that it judges, so the policy gradient stays unbiased;
    prompts of unequal difficulty make it noisier than a baseline of their own. A completion that
    is alone in its round keeps its reward: the baseline is 0.

    Source: REINFORCE with a baseline, Williams 1992; Kool et al. 2019.
    """
    n = reward_UK.numel()
    return reward_UK if n < 2 else (reward_UK - reward_UK.mean()) * (n / (n - 1))


def centred(reward_UK: Float[Tensor, "units k"]) -> Float[Tensor, "units k"]:
    """Each reward minus the mean of its group, itself included; in reward units.

    It is (k - 1) / k of `leave_one_out`. A group of equal rewards, or of one, gives exactly 0.

    Source: Dr. GRPO, Liu et al. 2025, arXiv:2503.20783.
    """
    # Less the first one before the mean is taken: the mean of equal numbers may be rounded.
    distance_UK = reward_UK - reward_UK[:, :1]
    return distance_UK - distance_UK.mean(dim=1, keepdim=True)


def standardised(
    reward_UK: Float[Tensor, "units k"], *, epsilon: float = 1e-4
) -> Float[Tensor, "units k"]:
    """Each reward minus the mean of its group, over the group's standard deviation; no unit.

    The deviation has k - 1 in its denominator. A group of equal rewards, or of one, gives exactly
    0. The division lifts groups whose rewards hardly differ, so the gradient is not that of the
    expected reward.

    Args:
        reward_UK: rewards of the completions of one prompt, in reward units.
        epsilon: added to the standard deviation, in reward units.

    Source: GRPO, Shao et al. 2024, arXiv:2402.03300, section 4.1.2.
    """
    centred_UK = centred(reward_UK)
    variance_U1 = (centred_UK**2).sum(dim=1, keepdim=True) / max(reward_UK.shape[1] - 1, 1)
    return centred_UK / (variance_U1.sqrt() + epsilon)


def generalised_advantages(
    reward_BT: Float[Tensor, "rows tokens"],
    value_BT: Float[Tensor, "rows tokens"],
    mask_BT: Bool[Tensor, "rows tokens"],
    *,
    decay: float,
    discount: float = 1.0,
) -> Float[Tensor, "rows tokens"]:
    """Generalised advantage estimates of each token of each completion, in reward units.

    A_t = d_t + discount * decay * A_(t+1) with the surprise of the critic
    d_t = r_t + discount * V_(t+1) - V_t; after the last token both V and A are 0. Advantage plus
    value is the lambda-return that the critic is fitted to. Carries no gradient; 0 on padding,
    whatever stands there.

    Args:
        reward_BT: reward that token t earns, in reward units; a completion's score stands at its
            last token.
        value_BT: the critic's value of the prefix *before* token t, in reward units.
        mask_BT: which tokens are real. Rows are padded on the right, and only there.
        decay: lambda; 0 is one-step temporal difference, 1 is reward-to-go minus value.
        discount: gamma; worth now of a reward one token later.

    Source: Schulman et al. 2015, arXiv:1506.02438, eq. 16.
    """
    reward_BT = torch.where(mask_BT, reward_BT.detach(), 0)
    value_BT = torch.where(mask_BT, value_BT.detach(), 0)
    next_BT = torch.nn.functional.pad(value_BT[:, 1:], (0, 1))
    surprise_BT = reward_BT + discount * next_BT - value_BT
    advantage_BT = torch.zeros_like(surprise_BT)
    later_B = surprise_BT.new_zeros(len(surprise_BT))
    for t in reversed(range(surprise_BT.shape[1])):
        later_B = surprise_BT[:, t] + discount * decay * later_B
        advantage_BT[:, t] = later_B
    return advantage_BT


def whitened(
    advantage_BT: Float[Tensor, "rows tokens"],
    mask_BT: Bool[Tensor, "rows tokens"],
    *,
    epsilon: float = 1e-8,
) -> Float[Tensor, "rows tokens"]:
    """Advantages with mean 0 and variance 1 over the real tokens of all rows; 0 on padding.

    The variance has the number of tokens in its denominator, so a single token gives 0.

    Args:
        advantage_BT: advantages of the tokens, in reward units.
        mask_BT: which tokens are real.
        epsilon: added to the variance, in squared reward units.

    Raises:
        ValueError: when no token is real.

    Source: Huang et al. 2024, arXiv:2403.17031, after the code of Ziegler et al. 2019,
    arXiv:1909.08593.
    """
    valid_N = advantage_BT[mask_BT]
    if not len(valid_N):
        raise ValueError("whitened needs at least one real token, but mask_BT has none")
    centred_BT = advantage_BT - valid_N.mean()
    scale = torch.rsqrt(valid_N.var(correction=0) + epsilon)
    return torch.where(mask_BT, centred_BT * scale, 0)
