"""Features of whole completions and of single steps: what simple rewards and policies look at."""

from __future__ import annotations

import numpy as np

from allroads.exact.tree import Array, Tree


def token_counts(tree: Tree) -> Array:
    """How often each token occurs in each completion, (P, L, V); the same for all prompts."""
    counts = (tree.tokens_LH[..., None] == np.arange(tree.vocabulary)).sum(axis=1)
    return np.broadcast_to(counts.astype(float), (tree.prompts, *counts.shape))


def token_at_position(tree: Tree) -> Array:
    """Slot features that see the position and the token but not the rest of the prefix.

    Returns:
        (P, S, P H V): one indicator for each prompt, position and token. Policies that are
        log-linear in them draw every token without looking at the ones before it.
    """
    size = tree.horizon * tree.vocabulary
    rows = [
        depth * tree.vocabulary + np.tile(np.arange(tree.vocabulary), tree.nodes(depth))
        for depth in range(tree.horizon)
    ]
    one = np.eye(size)[np.concatenate(rows)]
    return np.stack([np.kron(np.eye(tree.prompts)[k], one) for k in range(tree.prompts)])
