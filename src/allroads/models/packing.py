"""Rows of tokens laid one behind the other, and how they attend to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from allroads.models.transformer import causal_attention
from allroads.types import Tokens


class Ragged:
    """B sequences of unequal length, packed or padded on the right.

    Attributes:
        lengths: (B,).
        full: whether all are equally long, so that both forms are the same numbers.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = torch.tensor(lengths, device=device)
        self.longest = max(lengths)
        self.full = min(lengths) == self.longest
        self.packed = sum(lengths)
        starts = self.lengths.cumsum(0) - self.lengths
        column = torch.arange(self.longest, device=device)
        self.mask = column[None] < self.lengths[:, None]
        """(B, L), false on padding."""
        self.where = starts[:, None] + column[None]
        """(B, L): the place of each in the packed form; what stands on padding is of no meaning."""
        self.where.masked_fill_(~self.mask, 0)
        self.positions = column.expand_as(self.mask)[self.mask]
        """(N,): the column of each packed token."""
        self._back = self.mask.flatten().nonzero()[:, 0]

    @property
    def ends(self) -> Tensor:
        """(B,): the place of each sequence's last token in the packed form."""
        return self.lengths.cumsum(0) - 1

    def padded(self, packed: Tensor) -> Tensor:
        """(N, ...) -> (B, L, ...), padding filled with anything finite."""
        if not self.full:
            packed = packed.index_select(0, self.where.flatten())
        return packed.reshape(len(self.lengths), self.longest, *packed.shape[1:])

    def pack(self, padded: Tensor) -> Tensor:
        """(B, L, ...) -> (N, ...)."""
        flat = padded.flatten(0, 1)
        return flat if self.full else flat.index_select(0, self._back)


@dataclass(frozen=True)
class Packing:
    """Packed tokens, ready for `Transformer.states`.

    Attributes:
        ids: (N,) tokens.
        positions: (N,) the place of each in its sequence, from 0.
        read: (M,) the tokens whose states are wanted.
    """

    ids: Tensor
    positions: Tensor
    read: Tensor
    rows: Ragged
    prompts: Ragged | None = None
    owner: Tensor | None = None
    """(B,): which prompt each row continues; None: rows stand alone."""
    mask: Tensor | None = None

    def attend(self, _: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """See `transformer.Attend`: each token attends to those before it, its prompt included."""
        every = (queries, keys, values)
        if self.prompts is None or self.owner is None:
            q, k, v = map(self.rows.padded, every)
            return self.rows.pack(causal_attention(q, k, v, scale)).flatten(1)
        first = self.prompts.packed
        own = [self.prompts.padded(part[:first]) for part in every]
        prompt_out = self.prompts.pack(causal_attention(own[0], own[1], own[2], scale))
        if self.rows.longest == 0:
            return prompt_out.flatten(1)
        rest = [self.rows.padded(part[first:]) for part in every]
        keys, values = (
            torch.cat([prompt.index_select(0, self.owner), row], dim=1)
            for prompt, row in zip(own[1:], rest[1:], strict=True)
        )
        rest_out = self.rows.pack(causal_attention(rest[0], keys, values, scale, self.mask))
        return torch.cat([prompt_out, rest_out]).flatten(1)


def alone(sequences: Sequence[Tokens], read: Sequence[range], like: Tensor) -> Packing:
    """Sequences that share nothing.

    Args:
        sequences: their tokens.
        read: of each, the places whose states are wanted.
        like: a tensor of the model's precision, where it lives.
    """
    rows = Ragged([len(one) for one in sequences], like.device)
    starts = (rows.lengths.cumsum(0) - rows.lengths).tolist()
    wanted = [range(s + r.start, s + r.stop) for s, r in zip(starts, read, strict=True)]
    return Packing(
        ids=_flat(sequences, like.device),
        positions=rows.positions,
        read=_flat(wanted, like.device),
        rows=rows,
    )


def shared(
    prompts: Sequence[Tokens],
    owner: Sequence[int],
    completions: Sequence[Tokens],
    read: Sequence[range],
    like: Tensor,
) -> Packing:
    """Completions of prompts that are there once.

    Args:
        prompts: the prompts.
        owner: which of them each completion continues.
        completions: their tokens; some may have none.
        read: of each, the places whose states are wanted; -1 is the last one of its prompt.
        like: a tensor of the model's precision, where it lives.
    """
    device = like.device
    heads = Ragged([len(p) for p in prompts], device)
    rows = Ragged([len(c) for c in completions], device)
    own = torch.tensor(owner, device=device)
    before = heads.lengths[own]
    starts = (heads.packed + rows.lengths.cumsum(0) - rows.lengths).tolist()
    ends = heads.ends.tolist()
    wanted = (
        (ends[o] if place < 0 else start + place for place in places)
        for o, start, places in zip(owner, starts, read, strict=True)
    )
    causal = torch.ones(rows.longest, rows.longest, dtype=torch.bool, device=device).tril()
    seen = torch.cat(
        [
            heads.mask[own][:, None].expand(-1, rows.longest, -1),
            causal[None].expand(len(own), -1, -1),
        ],
        dim=2,
    )
    mask = torch.zeros(seen.shape, dtype=like.dtype, device=device)
    return Packing(
        ids=_flat([*prompts, *completions], device),
        positions=torch.cat(
            [heads.positions, rows.positions + before.repeat_interleave(rows.lengths)]
        ),
        read=_flat(wanted, device),
        rows=rows,
        prompts=heads,
        owner=own,
        mask=mask.masked_fill_(~seen, -torch.inf)[:, None],
    )


def _flat(parts: object, device: torch.device) -> Tensor:
    return torch.tensor(list(chain.from_iterable(parts)), dtype=torch.long, device=device)  # type: ignore[arg-type]
