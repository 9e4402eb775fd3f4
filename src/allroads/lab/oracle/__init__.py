"""The oracle: each road's mean gradient against that of the objective it names, without sampling.

`table` examines the roads, `biases` says how far estimators are from what they estimate, and
`kl_table` what k1, k2 and k3 are worth. A road joins by being in the atlas; a new loss or pick
needs its row in `named`.
"""

from allroads.lab.oracle.biases import Bias, biases
from allroads.lab.oracle.kl import KlRow, kl_table
from allroads.lab.oracle.table import Row, examine, table
from allroads.lab.oracle.text import bias_lines, kl_lines, road_lines, show

__all__ = [
    "Bias",
    "KlRow",
    "Row",
    "bias_lines",
    "biases",
    "examine",
    "kl_lines",
    "kl_table",
    "road_lines",
    "show",
    "table",
]
