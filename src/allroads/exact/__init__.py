"""Finite token trees, where everything can be summed: the paper's claims without sampling.

float64 in NumPy (two claims borrow a solver or a function of SciPy), never torch: it is the second
witness of `objectives`, which it never imports. "The paper" is Swamy et al. 2025, arXiv:2503.01067.
"""

from allroads.exact.measures import (
    averaged,
    boltzmann,
    causal_entropy,
    entropy,
    expectation,
    kl,
    log_partition,
    token_kl,
)
from allroads.exact.policies import (
    conditionals,
    from_logits,
    leaf_logprobs,
    logit_gradient,
    random_policy,
    uniform,
)
from allroads.exact.soft import SoftValues, implicit_reward, soft_value_iteration
from allroads.exact.tree import Array, Levels, Tree

__all__ = [
    "Array",
    "Levels",
    "SoftValues",
    "Tree",
    "averaged",
    "boltzmann",
    "causal_entropy",
    "conditionals",
    "entropy",
    "expectation",
    "from_logits",
    "implicit_reward",
    "kl",
    "leaf_logprobs",
    "log_partition",
    "logit_gradient",
    "random_policy",
    "soft_value_iteration",
    "token_kl",
    "uniform",
]
