"""The training pairs in blocks that double, in an order of their own for every repetition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allroads.seeding import child
from allroads.types import Pair


@dataclass(frozen=True)
class Blocks:
    """Pairs cut where they reach 1/2^k of all, as nearly as whole clusters allow.

    A cluster (the pairs of a prompt, or of a conversation) is never split. The first blocks are
    part of the later ones' past: nested subsets, each about twice the one before.

    Attributes:
        pairs: all of them, in this order.
        ends: pairs before the end of each block, ascending; the last is all.
    """

    pairs: tuple[Pair, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, pairs: Sequence[Pair], count: int, *, order: int, seed: int) -> Blocks:
        """`count` blocks of `pairs`, clusters in the `order`-th permutation of this seed."""
        clusters: dict[str, list[Pair]] = {}
        for pair in pairs:
            clusters.setdefault(pair.cluster, []).append(pair)
        names = sorted(clusters)
        permuted = child(seed, "diagnosis-order", order).permutation(len(names))
        rows: list[Pair] = []
        cuts = [0]
        for at in permuted.tolist():
            rows += clusters[names[at]]
            cuts.append(len(rows))
        targets = [len(rows) / 2**k for k in reversed(range(count))]
        ends = [min(cuts, key=lambda cut: abs(cut - target)) for target in targets]
        return cls(tuple(rows), tuple(ends))

    def before(self, block: int) -> tuple[Pair, ...]:
        """The pairs up to the end of a block."""
        return self.pairs[: self.ends[block]]

    def after(self, block: int) -> tuple[Pair, ...]:
        """The pairs of the block that follows; none after the last."""
        ends = (*self.ends, len(self.pairs))
        return self.pairs[ends[block] : ends[block + 1]]


def blocks_of(pairs: int, smallest: int) -> int:
    """How many doubling blocks `pairs` have whose first holds at least `smallest`; at least 2."""
    count = 2
    while pairs / 2**count >= smallest:
        count += 1
    return count
