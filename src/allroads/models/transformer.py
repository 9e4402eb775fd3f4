"""The forward pass of a decoder, over packed tokens, on the weights that the library's model holds.

The library's own modules rebuild masks, positions and cache objects at every call and compute the
last layer at every token. At small widths that costs more than the products. Here a pass is the
arithmetic alone: tokens of all rows lie one behind the other without padding, the caller says how
they attend to each other, and the last layer ends at the states that are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from allroads.models.rotary import Turn

Attend = Callable[[int, Tensor, Tensor, Tensor, float], Tensor]
"""(layer, queries (N, H, h), keys (N, G, h), values (N, G, h), scale) -> (N, H * h): how packed
tokens attend. G key heads serve H query heads, neighbours together."""


@dataclass(frozen=True)
class Block:
    """One layer. All functions are of packed tokens, (N, d) unless said otherwise.

    Attributes:
        before_attention: the norm that attention reads through.
        project: (N, d) -> queries (N, H, h), keys and values (N, G, h), turned if there is a turn.
        out: (N, H * h) -> (N, d).
        before_mlp: the norm that the MLP reads through.
        mlp: the MLP.
        parallel: whether the MLP reads what attention reads, and not what it wrote.
        scale: what the products of queries and keys are multiplied by.
    """

    before_attention: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Turn | None], tuple[Tensor, Tensor, Tensor]]
    out: Callable[[Tensor], Tensor]
    before_mlp: Callable[[Tensor], Tensor]
    mlp: Callable[[Tensor], Tensor]
    parallel: bool
    scale: float

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The layer's end: (N, d) from its input and what attention found, (N, H * h)."""
        middle = x + self.out(attended)
        return middle + self.mlp(self.before_mlp(x if self.parallel else middle))


@dataclass(frozen=True)
class Transformer:
    """A decoder's backbone: everything but its head.

    It is read from a module when it is needed and never kept, so that it cannot outlive a weight or
    an adapter that is exchanged.

    Attributes:
        embed: (ids, positions), both (N,) -> (N, d).
        turn: positions -> what rotary embeddings multiply by; None where there are none.
        blocks: the layers.
        norm: the last norm.
    """

    embed: Callable[[Tensor, Tensor], Tensor]
    turn: Callable[[Tensor], Turn] | None
    blocks: tuple[Block, ...]
    norm: Callable[[Tensor], Tensor]

    def states(
        self,
        ids: Tensor,
        positions: Tensor,
        attend: Attend,
        *,
        read: Tensor | None = None,
        turn: Turn | None = None,
    ) -> Tensor:
        """Final hidden states.

        Args:
            ids: (N,) packed tokens.
            positions: (N,) the place of each in its sequence, from 0.
            attend: how they attend to each other.
            read: indices (M,) of the tokens whose states are wanted; None: all of them.
            turn: `self.turn(positions)`, where the caller has it already.

        Returns:
            (M, d) or (N, d).
        """
        x = self.embed(ids, positions)
        if turn is None and self.turn is not None:
            turn = self.turn(positions)
        last = len(self.blocks) - 1
        for i, block in enumerate(self.blocks):
            queries, keys, values = block.project(block.before_attention(x), turn)
            attended = attend(i, queries, keys, values, block.scale)
            if i == last and read is not None:
                x, attended = x.index_select(0, read), attended.index_select(0, read)
            x = block.finish(x, attended)
        return self.norm(x)


def widened(keys: Tensor, heads: int) -> Tensor:
    """(B, G, L, h) key heads repeated for the (B, H, L, h) query heads that they serve."""
    groups = keys.shape[1]
    return keys if groups == heads else keys.repeat_interleave(heads // groups, dim=1)


def causal_attention(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None = None
) -> Tensor:
    """(B, T, H, h) from queries (B, T, H, h), keys and values (B, L, G, h).

    Without a mask T = L and attention is causal; the mask, (B, 1, T, L), is added to the scores.
    """
    q, k, v = (part.transpose(1, 2) for part in (queries, keys, values))
    heads = q.shape[1]
    out = torch.nn.functional.scaled_dot_product_attention(
        q, widened(k, heads), widened(v, heads), attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return out.transpose(1, 2)
