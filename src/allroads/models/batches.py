"""Cutting work into pieces that fit: rows of similar length together, under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from allroads.models.states import Rows


def pieces(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices grouped by length so that longest x rows <= budget (at least one row a piece)."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    out: list[list[int]] = []
    for i in order:
        # Ascending lengths: the newcomer is the longest of its piece.
        if out and lengths[i] * (len(out[-1]) + 1) <= budget:
            out[-1].append(i)
        else:
            out.append([i])
    return out


def by_tokens(rows: Rows, budget: int, function: Callable[[Rows], Tensor]) -> list[float]:
    """`function`'s value for every row, in the order given, a piece at a time.

    Rows with the same prompt stay neighbours within a length, so that its encoding is shared.
    """
    out = [0.0] * len(rows)
    for piece, part in _parts(rows, budget):
        for i, value in zip(piece, function(part).double().tolist(), strict=True):
            out[i] = value
    return out


def each_token(
    rows: Rows, budget: int, function: Callable[[Rows], Tensor]
) -> list[tuple[float, ...]]:
    """`function`'s (B, T) values as one tuple a row, as long as its completion; see `by_tokens`."""
    out: list[tuple[float, ...]] = [()] * len(rows)
    for piece, part in _parts(rows, budget):
        values = function(part).double().tolist()
        for i, row, completion in zip(piece, values, part.completions, strict=True):
            out[i] = tuple(row[: len(completion)])
    return out


def _parts(rows: Rows, budget: int) -> Iterator[tuple[list[int], Rows]]:
    lengths = [len(p) + len(c) for p, c in zip(rows.prompts, rows.completions, strict=True)]
    for piece in pieces(lengths, budget):
        yield (
            piece,
            Rows([rows.prompts[i] for i in piece], [rows.completions[i] for i in piece]),
        )
