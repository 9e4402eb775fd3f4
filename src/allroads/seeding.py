"""Randomness by address: every draw has a path in one seed tree, so nothing needs a saved state.

A resumed run asks for the same address and gets the same numbers; a new consumer of randomness
shifts nobody else's draws.
"""

from __future__ import annotations

import hashlib

import numpy as np


def address(seed: int, *path: str | int) -> int:
    """A 63-bit integer that identifies one place in the seed tree, the same on every machine."""
    text = "/".join(map(str, (seed, *path))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def child(seed: int, *path: str | int) -> np.random.Generator:
    """The NumPy generator at one address, for example `child(7, "rollout", step)`."""
    return np.random.Generator(np.random.Philox(key=address(seed, *path)))
