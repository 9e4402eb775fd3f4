"""Labels in bits, by a mixture over temperatures that learns from what it has coded.

A lead of x reward units, at factor t, says that its label has probability sigma(t x). No factor is
chosen beforehand: each of a fixed grid codes all labels, and the code is their Bayesian mixture,

    P(labels) = sum_t weight_t prod_i sigma(t x_i).

Label by label this is a weighted mean of T probabilities, the weights being what each factor made
of the labels before; they begin equal. A block later another fit gives the leads, and a fit to few
pairs is far surer of itself than one to many. So between blocks a share of the weight is spread
over all factors again. The code is then longer than that of the best sequence of factors by at
most log2 T bits at first, 0.37 bits for each later block and 5.3 for each at which the best factor
changes; one of the factors is a coin.

Source: Dawid 1984, Journal of the Royal Statistical Society A 147, 278 (prequential); Herbster and
Warmuth 1998, Machine Learning 32, 151 (fixed share).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from allroads.stats import Floats

FACTORS: Floats = np.array([0.0, *(2.0**k for k in range(-6, 3))])
"""(T,), on the leads: 0 is a coin, the rest 1/64 to 4."""


SHARE = 0.25
"""Of the weight, spread evenly over all factors between blocks."""


class Coded(NamedTuple):
    """A block of labels, coded."""

    bits_N: Floats
    """Each label's surprise; it depends on the order inside the block, their sum does not."""
    weights_T: Floats
    """What is believed of the factors after the block."""


def uniform() -> Floats:
    """(T,): what is believed before anything was coded."""
    return np.full(len(FACTORS), 1 / len(FACTORS))


def carried(weights_T: Floats) -> Floats:
    """(T,): what is believed of the factors for the leads of the next fit."""
    return (1 - SHARE) * weights_T + SHARE / len(weights_T)


def surprise(leads: ArrayLike, factors: ArrayLike) -> Floats:
    """-log2 sigma(factor * lead), bits; the arguments broadcast."""
    return np.logaddexp(0.0, -np.asarray(factors) * np.asarray(leads)) / np.log(2)


def code(leads_N: ArrayLike, weights_T: Floats) -> Coded:
    """Code the labels of a block, one after the other.

    Args:
        leads_N: chosen minus rejected, by a scorer that has not seen these labels.
        weights_T: what is believed of the factors before the block; they sum to one.
    """
    each_TN = surprise(np.asarray(leads_N)[None, :], FACTORS[:, None])
    with np.errstate(divide="ignore"):
        start_T = np.log2(weights_T)
    joint_TN = start_T[:, None] - np.cumsum(each_TN, axis=1)
    whole_N = np.logaddexp2.reduce(joint_TN, axis=0)
    bits_N = -np.diff(whole_N, prepend=0.0)
    return Coded(bits_N, np.exp2(joint_TN[:, -1] - whole_N[-1]))


def mean_factor(weights_T: Floats) -> float:
    """The factor that is believed in, on average."""
    return float(weights_T @ FACTORS)
