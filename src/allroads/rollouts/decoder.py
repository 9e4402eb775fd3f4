"""Logits of the next token, one step after the other, with keys and values kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from allroads.models.families import transformer_of
from allroads.models.packing import alone
from allroads.models.policy import Policy
from allroads.models.states import pad_left, positions_of
from allroads.models.transformer import Transformer
from allroads.rollouts.cache import roomy_cache
from allroads.types import Tokens


class Decoder(Protocol):
    """Rows that grow by one token a step; a row is one completion."""

    def first(self) -> Tensor:
        """(B, V) logits after the prompts."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """(B, V) logits after one more token (B,) a row."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        ...


def decoder_of(policy: Policy, prompts: Sequence[Tokens], copies: int, room: int) -> Decoder:
    """The fastest decoder for this policy.

    Args:
        policy: who writes.
        prompts: each is encoded once.
        copies: rows a prompt, neighbours.
        room: tokens that will be written at most.
    """
    transformer = transformer_of(policy.backbone) if policy.head_is_last else None
    if transformer is None:
        return LibraryDecoder(policy, prompts, copies)
    return PackedDecoder(policy, transformer, prompts, copies, room)


class PackedDecoder:
    """Over `Transformer`: what a step needs besides its arithmetic was made before the first one.

    Prompts end at the same column, so that all rows write their next token into the same place.
    """

    def __init__(
        self,
        policy: Policy,
        transformer: Transformer,
        prompts: Sequence[Tokens],
        copies: int,
        room: int,
    ) -> None:
        self._policy, self._transformer = policy, transformer
        like = next(policy.backbone.parameters())
        ends = [range(len(p) - 1, len(p)) for p in prompts]
        self._prompts = alone(prompts, ends, like)
        ragged = self._prompts.rows
        self._at, self._room = ragged.longest, room
        self._row = torch.arange(len(prompts), device=like.device).repeat_interleave(copies)
        self._positions = ragged.lengths[self._row]
        self._turns = None
        if transformer.turn is not None:
            self._turns = transformer.turn(torch.arange(self._at + room, device=like.device))
        gap = ragged.longest - ragged.lengths[:, None]
        column = torch.arange(ragged.longest, device=like.device)[None]
        # Of each column the packed token; the gap before shorter prompts is masked.
        self._source = ((ragged.ends + 1)[:, None] - ragged.longest + column).clamp(min=0)
        self._mask: Tensor | None = None
        if not ragged.full:
            mask = torch.zeros(len(prompts), ragged.longest + room, dtype=like.dtype)
            mask = mask.to(like.device)
            mask[:, : ragged.longest].masked_fill_(column < gap, -torch.inf)
            self._mask = mask[self._row][:, None, None]
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def first(self) -> Tensor:
        """See `Decoder`."""
        states = self._transformer.states(
            self._prompts.ids, self._prompts.positions, self._read_prompts, read=self._prompts.read
        )
        return self._policy.logits_of(states)[self._row]

    def step(self, tokens: Tensor) -> Tensor:
        """See `Decoder`."""
        turn = None if self._turns is None else self._turns.at(self._positions)
        states = self._transformer.states(tokens, self._positions, self._write, turn=turn)
        self._at += 1
        self._positions = self._positions + 1
        return self._policy.logits_of(states)

    def keep(self, rows: Tensor) -> None:
        """See `Decoder`."""
        self._keys = [part.index_select(0, rows) for part in self._keys]
        self._values = [part.index_select(0, rows) for part in self._values]
        self._positions = self._positions[rows]
        if self._mask is not None:
            self._mask = self._mask[rows]

    def _read_prompts(self, i: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        self._keys.append(self._spread(k))
        self._values.append(self._spread(v))
        return self._prompts.attend(i, q, k, v, scale)

    def _spread(self, packed: Tensor) -> Tensor:
        """(N, G, h) of the prompts -> (B, G, longest + room, h), the prompts filled in."""
        longest = self._source.shape[1]
        size = (len(self._row), packed.shape[1], longest + self._room, packed.shape[2])
        buffer = torch.empty(size, dtype=packed.dtype, device=packed.device)
        # Per prompt first: its copies take the same numbers.
        prompts = packed[self._source].transpose(1, 2)
        torch.index_select(prompts, 0, self._row, out=buffer[:, :, :longest])
        return buffer

    def _write(self, i: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        keys, values, end = self._keys[i], self._values[i], self._at + 1
        keys[:, :, self._at] = k
        values[:, :, self._at] = v
        # Queries that share a key head stand where several tokens of one row would.
        grouped = q.view(len(q), k.shape[1], -1, q.shape[2])
        mask = None if self._mask is None else self._mask[..., :end]
        return torch.nn.functional.scaled_dot_product_attention(
            grouped, keys[:, :, :end], values[:, :, :end], attn_mask=mask, scale=scale
        ).flatten(1)


class LibraryDecoder:
    """Over the library's own forward pass, for every causal language model."""

    def __init__(self, policy: Policy, prompts: Sequence[Tokens], copies: int) -> None:
        self._policy, self._copies = policy, copies
        self._ids, self._mask = pad_left(prompts, policy.device)
        self._padded = not bool(self._mask.all())
        self._cache = roomy_cache()

    def first(self) -> Tensor:
        """See `Decoder`."""
        logits = self._logits(self._ids)
        if self._copies > 1:
            rows = torch.arange(len(self._ids), device=self._ids.device)
            rows = rows.repeat_interleave(self._copies)
            self.keep(rows)
            logits = logits[rows]
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """See `Decoder`."""
        one = torch.ones(len(tokens), 1, dtype=torch.bool, device=tokens.device)
        self._mask = torch.cat([self._mask, one], dim=1)
        return self._logits(tokens[:, None])

    def keep(self, rows: Tensor) -> None:
        """See `Decoder`."""
        self._cache.batch_select_indices(rows)
        self._mask = self._mask[rows]

    def _logits(self, ids: Tensor) -> Tensor:
        extra = {}
        if self._padded:
            positions = positions_of(self._mask)[:, -ids.shape[1] :]
            extra = dict(attention_mask=self._mask.long(), position_ids=positions)
        return self._policy.next_logits(ids, past_key_values=self._cache, **extra)
