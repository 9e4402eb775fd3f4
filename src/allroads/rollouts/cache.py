"""A key-value cache with spare room: a new token is written in place instead of copying the rest.

The library's own cache concatenates at every step, so that copying grows with the square of the
length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_ROOM = 64
"""Tokens that fit before the cache is copied into a larger one."""


class RoomyLayer(DynamicLayer):
    """One layer's keys and values, (rows, heads, tokens, width), as views of larger buffers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append the new tokens' keys and values; all of them come back."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if self._buffers is None or self._buffers[0].shape[-2] < after:
            self._buffers = (
                self._grown(self.keys, key_states, before, after),
                self._grown(self.values, value_states, before, after),
            )
        keys, values = self._buffers
        keys[:, :, before:after] = key_states
        values[:, :, before:after] = value_states
        self.keys, self.values = keys[:, :, :after], values[:, :, :after]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep (or repeat) these rows."""
        super().batch_select_indices(indices)
        self._buffers = None

    @staticmethod
    def _grown(old: Tensor | None, new: Tensor, before: int, after: int) -> Tensor:
        rows, heads, _, width = new.shape
        buffer = torch.empty(
            (rows, heads, after + _ROOM, width), dtype=new.dtype, device=new.device
        )
        if before:
            assert old is not None
            buffer[:, :, :before] = old
        return buffer


def roomy_cache() -> Cache:
    """An empty cache for decoding without gradients."""
    return Cache(layer_class_to_replicate=RoomyLayer)
