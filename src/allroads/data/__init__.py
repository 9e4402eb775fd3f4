"""Data in: read any format, check every row, tokenise once, split by prompt, audit."""

from allroads.data.audit import Audit
from allroads.data.dataset import Dataset, build
from allroads.data.rows import Loaded, load
from allroads.data.split import SplitFractions
from allroads.data.tokenise import Tokeniser, load_tokeniser

__all__ = [
    "Audit",
    "Dataset",
    "Loaded",
    "SplitFractions",
    "Tokeniser",
    "build",
    "load",
    "load_tokeniser",
]
