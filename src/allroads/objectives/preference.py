"""Losses on preferred and other completions, and the reward that a policy implies.

DPO is not a loss of its own: it is `bradley_terry_nll` on `implicit_reward`. The global reward
model is `bradley_terry_nll` on a scalar head. The two differ only in the class of rewards. SimPO
is it too, with a margin, on beta times the mean log-probability per token.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def implicit_reward(
    policy_N: Float[Tensor, " n"], reference_N: Float[Tensor, " n"], *, beta: float
) -> Float[Tensor, " n"]:
    """Reward that a policy implies about each completion: beta * log(policy / reference).

    Args:
        policy_N: log-probability of each whole completion in nats, summed over tokens.
        reference_N: the same under the frozen reference; carries no gradient. All zeros give the
            reference-free local reward beta * log(policy).
        beta: price of one nat of divergence, in reward units. Positive.

    Returns:
        Reward in reward units, up to a constant per prompt that no pair can see.

    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 5.
    """
    return beta * (policy_N - reference_N.detach())


def bradley_terry_nll(
    better_U: Float[Tensor, " units"],
    worse_U: Float[Tensor, " units"],
    *,
    margin: float = 0.0,
    smoothing: float = 0.0,
) -> Float[Tensor, " units"]:
    """Surprise that `better` was preferred: -log sigma(better - worse - margin), nats per pair.

    Only the difference matters. It is log 2 where the lead is the margin, and falls with the lead.
    With smoothing s it is the mean surprise at a label that is right with probability 1 - s:
    -(1 - s) log sigma(d) - s log sigma(-d), least at d = log((1 - s) / s) instead of at infinity.

    Args:
        better_U: reward of the preferred completion, in reward units.
        worse_U: reward of the other one.
        margin: lead that counts as an even bet, in reward units.
        smoothing: probability that a label is the wrong way round; at least 0, below 1/2.

    Source: Bradley and Terry 1952; Rafailov et al. 2023, arXiv:2305.18290, eq. 7, with rewards
    that a policy implies. Margin: SimPO, Meng et al. 2024, arXiv:2405.14734, eq. 6. Smoothing:
    cDPO, Mitchell 2023, "A note on DPO with noisy preferences & relationship to IPO".
    """
    lead_U = better_U - worse_U - margin
    loss_U = -F.logsigmoid(lead_U)
    # log sigma(-d) = log sigma(d) - d, so smoothing adds s * d.
    return loss_U + smoothing * lead_U if smoothing else loss_U


def identity_preference_loss(
    lead_U: Float[Tensor, " units"], *, beta: float
) -> Float[Tensor, " units"]:
    """Squared distance of the lead from 1 / (2 beta): a target instead of ever more; nats squared.

    Args:
        lead_U: log(policy / reference) of the preferred completion minus that of the other, in
            nats. Summed over tokens as in the paper, or averaged over them, as many libraries do:
            the caller says, and beta means another thing in each.
        beta: half the inverse of the lead asked for, per nat. Positive; the paper's tau.

    Source: IPO, Azar et al. 2023, arXiv:2310.12036, eq. 17.
    """
    return (lead_U - 1 / (2 * beta)) ** 2


def hinge_loss(
    better_U: Float[Tensor, " units"], worse_U: Float[Tensor, " units"], *, margin: float = 1.0
) -> Float[Tensor, " units"]:
    """What the lead falls short of the margin by: max(0, margin - (better - worse)); reward units.

    Args:
        better_U: reward of the preferred completion, in reward units.
        worse_U: reward of the other one.
        margin: lead that is enough, in reward units.

    Source: SLiC-HF, Zhao et al. 2023, arXiv:2305.10425, on log-probabilities; RSO, Liu et al.
    2023, arXiv:2309.06657, on implicit rewards.
    """
    return F.relu(margin - (better_U - worse_U))


def kahneman_tversky_loss(
    desirable_U: Float[Tensor, " units"],
    undesirable_U: Float[Tensor, " units"],
    baseline: Float[Tensor, ""],
    *,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Float[Tensor, " units"]:
    """How far a desirable completion is from a sure gain, and an undesirable one from a sure loss.

    The mean of w_D (1 - sigma(r_D - z)) and w_U (1 - sigma(z - r_U)), no unit; each lies between
    0 and its weight, and is half of it at the baseline. The two completions share no term, so they
    need not answer the same prompt.

    Args:
        desirable_U: implicit reward of a desirable completion, in reward units (beta inside).
        undesirable_U: implicit reward of an undesirable one.
        baseline: z, reward that is neither gain nor loss: beta times an estimate of
            KL(policy || reference), in reward units, 0 where the estimate is negative. Carries no
            gradient.
        desirable_weight: w_D, of a gain that is missing.
        undesirable_weight: w_U, of a loss that is missing.

    Source: KTO, Ethayarajh et al. 2024, arXiv:2402.01306, the loss of section 4.
    """
    z = baseline.detach()
    gain_U = desirable_weight * torch.sigmoid(z - desirable_U)
    loss_U = undesirable_weight * torch.sigmoid(undesirable_U - z)
    return 0.5 * (gain_U + loss_U)


def odds_ratio_nll(
    better_mean_U: Float[Tensor, " units"], worse_mean_U: Float[Tensor, " units"]
) -> Float[Tensor, " units"]:
    """-log sigma(log odds(better) - log odds(worse)), in nats per pair; log 2 at equal odds.

    Odds are p / (1 - p) of p = exp(mean log-probability per token). It is the second term of
    ORPO's objective; the first is the likelihood of the better completion.

    Args:
        better_mean_U: log-probability of the preferred completion in nats, averaged over its
            tokens, at most 0. One that is 0 in the number format counts as hardly below it.
        worse_mean_U: the same of the other one.

    Source: ORPO, Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7.
    """
    return -F.logsigmoid(_log_odds(better_mean_U) - _log_odds(worse_mean_U))


def _log_odds(logprob_U: Tensor) -> Tensor:
    against_U = -torch.expm1(logprob_U)
    return logprob_U - against_U.clamp(min=torch.finfo(against_U.dtype).tiny).log()
