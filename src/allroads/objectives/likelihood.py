"""Maximum likelihood: how surprising the demonstrations are to the policy."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def negative_log_likelihood(logprob_U: Float[Tensor, " units"]) -> Float[Tensor, " units"]:
    """Surprise at each completion, the forward-KL term KL(data || policy) up to a constant.

    Args:
        logprob_U: log-probability of each whole completion, end-of-sequence included, in nats,
            summed over its tokens. The caller divides the sum over a batch by its token count,
            so that every token weighs the same however the batch is cut.

    Returns:
        Nats per completion, summed over tokens; lower is better.
    """
    return -logprob_U
