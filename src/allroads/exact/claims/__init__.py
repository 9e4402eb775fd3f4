"""The table of claims, in the order in which they are best read."""

from allroads.exact.claim import Claim
from allroads.exact.claims import (
    best_of_n,
    information,
    isomorphism,
    projection,
    same_optima,
    soft_values,
    spin,
    tokens,
    two_stage,
    unified,
)

CLAIMS: dict[str, Claim] = {
    module.CLAIM.name: module.CLAIM
    for module in (
        unified,
        projection,
        soft_values,
        isomorphism,
        same_optima,
        two_stage,
        spin,
        information,
        tokens,
        best_of_n,
    )
}
"""Every claim by name."""

__all__ = ["CLAIMS", "Claim"]
