"""Hidden states of completions under a transformer backbone, with the prompt encoded once.

A prompt that several completions share is run through the backbone once and its keys and values
are handed to each of them. That is the same arithmetic as encoding every row in full, so it is
used whenever it saves enough tokens to pay for attending in two parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from allroads.errors import ModelError
from allroads.models.families import transformer_of
from allroads.models.packing import alone, shared
from allroads.models.recompute import is_recomputing
from allroads.models.transformer import Transformer
from allroads.types import Tokens

PAD = 0
"""Any id serves: padding is always masked, and masks never derive from ids."""

_WORTH_SHARING = 0.25
"""Share of the tokens that must be saved before a prompt is encoded apart."""

Read = Literal["before", "after", "last"]
"""Which states are asked for: those that predict each completion token, those that have read it, or
of each row the one that has read the whole completion."""


@dataclass(frozen=True)
class Rows:
    """Completions of prompts, one row each."""

    prompts: Sequence[Tokens]
    completions: Sequence[Tokens]

    def __post_init__(self) -> None:
        if len(self.prompts) != len(self.completions):
            raise ValueError(f"{len(self.prompts)} prompts for {len(self.completions)} completions")
        for prompt, completion in zip(self.prompts, self.completions, strict=True):
            if not prompt or not completion:
                raise ModelError(
                    "a prompt and a completion need at least one token each; "
                    f"found {len(prompt)} and {len(completion)}"
                )

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def tokens(self) -> int:
        """Tokens of all rows, prompts counted in every row."""
        return sum(map(len, self.prompts)) + sum(map(len, self.completions))


@dataclass(frozen=True)
class States:
    """Hidden states at the completions of B rows whose longest completion has T tokens.

    `flat` is (M, d), row after row; `tokens` and `mask` are (B, T).
    """

    flat: Tensor
    tokens: Tensor
    mask: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """(B, T) from one value a token, (M,); exactly 0 on padding."""
        out = torch.zeros(self.mask.shape, dtype=values.dtype, device=values.device)
        return out.masked_scatter(self.mask, values)


def pad_right(sequences: Sequence[Tokens], device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, T) ids and their boolean mask, the tokens on the left."""
    longest = max(map(len, sequences))
    ids = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in sequences])
    lengths = torch.tensor([len(row) for row in sequences])
    mask = torch.arange(longest)[None] < lengths[:, None]
    return ids.to(device), mask.to(device)


def pad_left(sequences: Sequence[Tokens], device: torch.device) -> tuple[Tensor, Tensor]:
    """(B, T) ids and their boolean mask, the tokens on the right."""
    longest = max(map(len, sequences))
    ids = torch.tensor([[*[PAD] * (longest - len(row)), *row] for row in sequences])
    lengths = torch.tensor([len(row) for row in sequences])
    mask = torch.arange(longest)[None] >= longest - lengths[:, None]
    return ids.to(device), mask.to(device)


def wide(values: Tensor) -> Tensor:
    """At least single precision: sums and softmaxes of half-precision values lose digits."""
    return values if values.dtype == torch.float64 else values.float()


def positions_of(mask: Tensor) -> Tensor:
    """Position ids that count real tokens only, (B, T), 0 on padding."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def completion_states(backbone: nn.Module, rows: Rows, read: Read) -> States:
    """Run the backbone over all rows.

    Independent of padding side, pad length and batch mates up to rounding.

    Args:
        backbone: a transformer without its head.
        rows: prompts and completions; a prompt that several share is encoded once where that
            saves enough.
        read: which states come back, see `Read`.
    """
    like = next(backbone.parameters())
    tokens, mask = pad_right(rows.completions, like.device)
    # Recomputing belongs to the library's own layers.
    transformer = None if is_recomputing(backbone) else transformer_of(backbone)
    if transformer is None:
        flat = _through_library(backbone, rows, read, mask)
    else:
        flat = _packed(transformer, rows, read, like)
    return States(flat, tokens, mask)


def _packed(transformer: Transformer, rows: Rows, read: Read, like: Tensor) -> Tensor:
    # The last token predicts nothing that is asked for.
    fed = [c[:-1] for c in rows.completions] if read == "before" else rows.completions
    unique = list(dict.fromkeys(rows.prompts))
    whole = sum(map(len, rows.prompts)) + sum(map(len, fed))
    if sum(map(len, unique)) + sum(map(len, fed)) <= (1 - _WORTH_SHARING) * whole:
        where = {prompt: i for i, prompt in enumerate(unique)}
        owner = [where[prompt] for prompt in rows.prompts]
        packing = shared(
            unique, owner, fed, [_places(read, 0, len(c)) for c in rows.completions], like
        )
    else:
        full = [(*p, *c) for p, c in zip(rows.prompts, fed, strict=True)]
        places = [
            _places(read, len(p), len(c))
            for p, c in zip(rows.prompts, rows.completions, strict=True)
        ]
        packing = alone(full, places, like)
    return transformer.states(packing.ids, packing.positions, packing.attend, read=packing.read)


def _places(read: Read, start: int, length: int) -> range:
    """Where the states of a completion of this length stand whose first token is at `start`."""
    if read == "before":
        return range(start - 1, start + length - 1)
    return range(start if read == "after" else start + length - 1, start + length)


def _through_library(backbone: nn.Module, rows: Rows, read: Read, mask: Tensor) -> Tensor:
    unique = list(dict.fromkeys(rows.prompts))
    apart = sum(map(len, unique)) + sum(map(len, rows.completions))
    # A layer that recomputes cannot write into a cache.
    caches = not is_recomputing(backbone)
    if caches and len(unique) < len(rows) and apart <= (1 - _WORTH_SHARING) * rows.tokens:
        hidden = _shared(backbone, unique, rows, mask.device)
    else:
        hidden = _in_full(backbone, rows, mask.device)
    # (B, T + 1, d): entry t predicts completion token t, entry t + 1 has read it.
    if read == "before":
        return hidden[:, :-1][mask]
    if read == "after":
        return hidden[:, 1:][mask]
    return hidden[torch.arange(len(rows), device=mask.device), mask.sum(dim=1)]


def _in_full(backbone: nn.Module, rows: Rows, device: torch.device) -> Tensor:
    full = [(*p, *c) for p, c in zip(rows.prompts, rows.completions, strict=True)]
    ids, _ = pad_right(full, device)
    # Right padding needs no mask under causal attention: no real token can see it.
    hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state
    longest = max(map(len, rows.completions))
    start = torch.tensor([len(p) for p in rows.prompts], device=device) - 1
    index = start[:, None] + torch.arange(longest + 1, device=device)[None]
    index = index.clamp(max=ids.shape[1] - 1)
    return hidden[torch.arange(len(rows), device=device)[:, None], index]


def _shared(backbone: nn.Module, unique: list[Tokens], rows: Rows, device: torch.device) -> Tensor:
    # Padded on the right, the prompts need no mask under causal attention, which is the fast path;
    # the gap before each completion is masked, and positions are given, so nothing sees it.
    ids, mask = pad_right(unique, device)
    cache = DynamicCache()
    states = backbone(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    first = states[torch.arange(len(unique), device=device), mask.sum(dim=1) - 1]
    where = {prompt: i for i, prompt in enumerate(unique)}
    pick = torch.tensor([where[p] for p in rows.prompts], device=device)
    cache.batch_select_indices(pick)
    tokens, token_mask = pad_right(rows.completions, device)
    whole_mask = torch.cat([mask[pick], token_mask], dim=1)
    rest = backbone(
        input_ids=tokens,
        attention_mask=whole_mask.long(),
        position_ids=positions_of(whole_mask)[:, mask.shape[1] :],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return torch.cat([first[pick][:, None], rest], dim=1)
