"""Finite token trees: every completion of every prompt, in one fixed order, as plain arrays.

A policy, an advantage, a token-level reward: anything with one number for each token after each
prefix is `Levels`, one array of shape (P, N, V) for each depth. Anything with one number for each
completion has shape (P, L). Two walks connect them: `Tree.spread` sums along each path from the
prompt to its leaves, `Tree.gather` folds the leaves back to the prompt.

Axis letters: P prompts, N prefixes of one length (nodes of a level), V tokens of the vocabulary,
L leaves (whole completions), H horizon, S slots (all pairs of a prefix and a next token).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from allroads.errors import InputError
from allroads.types import Tokens

Array = NDArray[np.float64]
Levels = tuple[Array, ...]
"""One array a depth, from the empty prefix to the longest one: (P, N, V), or (P, N) of prefixes."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """All completions over a vocabulary up to a horizon, for several prompts.

    Without `eos` every completion has exactly `horizon` tokens. With it, a completion ends with
    `eos`, or is cut at `horizon` tokens without it; both are leaves. All prompts have the same
    completions; what differs between prompts are the numbers on them.

    Order of prefixes of one length: as numbers whose digits are the tokens (`eos`, which no
    prefix holds, left out of the digits). Order of leaves: first those that end before the
    horizon, shorter ones first; then all of full length; inside each, the order of their prefixes,
    then of the last token.
    """

    vocabulary: int
    """Number of tokens, `eos` included. Tokens are 0, 1, ..., vocabulary - 1."""
    horizon: int
    """Greatest number of tokens of a completion, `eos` included."""
    rho: tuple[float, ...] = (1.0,)
    """Probability of each prompt."""
    eos: int | None = None
    """The token that ends a completion; None: all completions have the same length."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise InputError(f"horizon must be at least 1 token, got {self.horizon}")
        if self.eos is not None and not 0 <= self.eos < self.vocabulary:
            raise InputError(
                f"eos must be a token of the vocabulary 0..{self.vocabulary - 1}, got {self.eos}"
            )
        if self.branching < 1:
            raise InputError(
                f"vocabulary must hold a token that goes on, got {self.vocabulary} with "
                f"eos {self.eos}: give at least {2 - (self.eos is None)} tokens"
            )
        if not self.rho or min(self.rho) <= 0 or abs(sum(self.rho) - 1) > 1e-9:
            raise InputError(
                f"rho must be positive probabilities of the prompts that sum to 1, got {self.rho}"
            )

    @property
    def prompts(self) -> int:
        """P."""
        return len(self.rho)

    @property
    def branching(self) -> int:
        """Tokens after which a completion goes on: all but `eos`."""
        return self.vocabulary - (self.eos is not None)

    @cached_property
    def going_on(self) -> NDArray[np.intp]:
        """The tokens other than `eos`, in order."""
        return np.array([t for t in range(self.vocabulary) if t != self.eos], dtype=np.intp)

    def nodes(self, depth: int) -> int:
        """N: prefixes of `depth` tokens that can still be continued."""
        return self.branching**depth

    @cached_property
    def _offsets(self) -> tuple[int, ...]:
        """Where the leaves that end at depths 1, 2, ..., H begin, and L itself at the end."""
        early = [self.nodes(h) if self.eos is not None else 0 for h in range(self.horizon - 1)]
        return tuple(
            accumulate([*early, self.nodes(self.horizon - 1) * self.vocabulary], initial=0)
        )

    @property
    def leaves(self) -> int:
        """L: completions of one prompt."""
        return self._offsets[-1]

    @property
    def slots(self) -> int:
        """S: pairs of a prefix and a next token, of one prompt."""
        return sum(self.nodes(h) for h in range(self.horizon)) * self.vocabulary

    def spread(self, levels: Levels) -> Array:
        """Sum what `levels` say of each token along the path to each leaf.

        Args:
            levels: one array a depth, broadcastable to (P, N, V).

        Returns:
            (P, L). Of a policy: the log-probability of each completion, in nats.
        """
        self.check(levels)
        blocks = []
        for depth, (sums, level) in enumerate(zip(self.prefix_sums(levels), levels, strict=True)):
            paths = sums[..., None] + level
            if depth == self.horizon - 1:
                blocks.append(paths.reshape(self.prompts, -1))
            elif self.eos is not None:
                blocks.append(paths[..., self.eos])
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def prefix_sums(self, levels: Levels) -> Levels:
        """The same sums for each prefix: one (P, N) a depth. Of a policy: its log-reach, nats."""
        sums = [np.zeros((self.prompts, 1))]
        for level in levels[:-1]:
            paths = sums[-1][..., None] + level
            alive = paths if self.eos is None else paths[..., self.going_on]
            sums.append(alive.reshape(self.prompts, -1))
        return tuple(sums)

    def gather(self, leaf_PL: Array, fold: Callable[[int, Array], Array]) -> tuple[Levels, Array]:
        """Carry leaf values back to the prompt.

        Args:
            leaf_PL: one value a completion.
            fold: takes a depth and the values after each token, (P, N, V); returns the value of
                each prefix, (P, N).

        Returns:
            The values after each token, one (P, N, V) a depth, and the value of each prompt (P,).
        """
        if leaf_PL.shape != (self.prompts, self.leaves):
            raise InputError(
                f"leaf values have shape {leaf_PL.shape}, expected (prompts, leaves) = "
                f"{(self.prompts, self.leaves)}"
            )
        after: list[Array] = []
        node = leaf_PL
        for depth in reversed(range(self.horizon)):
            start, stop = self._offsets[depth : depth + 2]
            shape = (self.prompts, self.nodes(depth), self.vocabulary)
            if depth == self.horizon - 1:
                level = leaf_PL[:, start:stop].reshape(shape)
            elif self.eos is None:
                level = node.reshape(shape)
            else:
                level = np.empty(shape)
                level[..., self.eos] = leaf_PL[:, start:stop]
                level[..., self.going_on] = node.reshape(*shape[:2], self.branching)
            after.append(level)
            node = fold(depth, level)
        return tuple(reversed(after)), node[:, 0]

    def check(self, levels: Levels) -> None:
        """Refuse anything that is not one number for each token after each prefix."""
        shapes = [np.shape(level)[-2:] for level in levels]
        expected = [(self.nodes(h), self.vocabulary) for h in range(self.horizon)]
        if shapes != expected or any(np.shape(v)[:-2] not in ((), (1,), (self.prompts,))
                                     for v in levels):  # fmt: skip
            raise InputError(
                f"levels have shapes {[np.shape(level) for level in levels]}, expected "
                f"{[(self.prompts, *shape) for shape in expected]}: one array for each depth"
            )

    def flatten(self, levels: Levels) -> Array:
        """`levels` side by side: (P, S)."""
        return np.concatenate([level.reshape(self.prompts, -1) for level in levels], axis=1)

    def unflatten(self, slot_PS: Array) -> Levels:
        """What `flatten` had side by side, as levels again."""
        sizes = [self.nodes(h) * self.vocabulary for h in range(self.horizon)]
        parts = np.split(slot_PS, np.cumsum(sizes)[:-1], axis=1)
        return tuple(part.reshape(self.prompts, -1, self.vocabulary) for part in parts)

    @cached_property
    def paths_LS(self) -> Array:
        """1 where a leaf's path uses a slot: `spread(x)` is `flatten(x) @ paths_LS.T`."""
        table = np.zeros((self.leaves, self.slots))
        base = np.cumsum([0] + [self.nodes(h) * self.vocabulary for h in range(self.horizon)])
        for leaf, tokens in enumerate(self.completions):
            node = 0
            for depth, token in enumerate(tokens):
                table[leaf, base[depth] + node * self.vocabulary + token] = 1
                node = node * self.branching + self._digit(token)
        return table

    @cached_property
    def tokens_LH(self) -> NDArray[np.int64]:
        """The tokens of each leaf, filled up with -1 behind its last one."""
        blocks, prefix = [], np.zeros((1, 0), dtype=np.int64)
        for depth in range(self.horizon):
            ends = [self.eos] if self.eos is not None else []
            if depth == self.horizon - 1:
                ends = [*range(self.vocabulary)]
            if ends:
                block = np.full((len(prefix) * len(ends), self.horizon), -1)
                block[:, :depth] = np.repeat(prefix, len(ends), axis=0)
                block[:, depth] = np.tile(ends, len(prefix))
                blocks.append(block)
            grown = np.repeat(prefix, self.branching, axis=0)
            prefix = np.column_stack([grown, np.tile(self.going_on, len(prefix))])
        return np.concatenate(blocks)

    @cached_property
    def lengths_L(self) -> NDArray[np.int64]:
        """Tokens of each leaf, `eos` included."""
        return (self.tokens_LH >= 0).sum(axis=1)

    @cached_property
    def finished_L(self) -> NDArray[np.bool_]:
        """False for a completion that was cut at the horizon before its `eos`."""
        if self.eos is None:
            return np.ones(self.leaves, dtype=bool)
        return (self.tokens_LH == self.eos).any(axis=1)

    @cached_property
    def completions(self) -> tuple[Tokens, ...]:
        """Each leaf as a tuple of tokens, in order."""
        return tuple(tuple(t for t in row if t >= 0) for row in self.tokens_LH.tolist())

    def leaf(self, tokens: Tokens) -> int:
        """The place of a completion in the order of leaves.

        Raises:
            InputError: where `tokens` are no whole completion of this tree.
        """
        *prefix, last = tokens or (-1,)
        size = len(tokens)
        whole = 1 <= size <= self.horizon and all(t in self.going_on for t in prefix)
        ends = last == self.eos or (size == self.horizon and 0 <= last < self.vocabulary)
        if not (whole and ends):
            raise InputError(
                f"tokens {tokens} are no completion of this tree: expected {self.horizon} tokens "
                f"of 0..{self.vocabulary - 1}" + ("" if self.eos is None else f", or {self.eos}"
                " at the end and nowhere else")
            )  # fmt: skip
        node = 0
        for token in prefix:
            node = node * self.branching + self._digit(token)
        inside = node if size < self.horizon else node * self.vocabulary + last
        return self._offsets[size - 1] + inside

    def _digit(self, token: int) -> int:
        return token - (self.eos is not None and token > self.eos)
