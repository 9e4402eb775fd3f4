"""Randomness by address: every draw has a path in one seed tree, so nothing needs a saved state.

A resumed run asks for the same address and gets the same numbers; a new consumer of randomness
shifts nobody else's draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_MULTIPLIERS = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_WEYL = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def address(seed: int, *path: str | int) -> int:
    """A 63-bit integer that identifies one place in the seed tree, the same on every machine."""
    text = "/".join(map(str, (seed, *path))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


class _Key(ISeedSequence):
    """Hands a key to Philox, which asks the operating system for entropy if given a plain one."""

    def __init__(self, key: int) -> None:
        self._key = key

    def generate_state(self, n_words: int, dtype: type = np.uint64) -> Words:
        return np.array([self._key, 0], dtype=np.uint64)


def child(seed: int, *path: str | int) -> np.random.Generator:
    """The NumPy generator at one address, for example `child(7, "rollout", step)`."""
    # NumPy's stubs know no seed sequence but its own.
    return np.random.Generator(np.random.Philox(_Key(address(seed, *path))))  # type: ignore[arg-type]


def uniforms(
    seed: int, path: str | int, names: Iterable[tuple[str | int, ...]], length: int
) -> NDArray[np.float64]:
    """(rows, length) numbers in [0, 1): row i is `child(seed, path, *names[i]).random(length)`.

    All rows at once, about twenty times as fast as one generator a row.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox-4x64-10).
    """
    trunk = hashlib.blake2b(f"{seed}/{path}".encode(), digest_size=8)
    digests = bytearray()
    for name in names:
        leaf = trunk.copy()
        leaf.update("".join(f"/{one}" for one in name).encode())
        digests += leaf.digest()
    key = np.frombuffer(digests, dtype=">u8").astype(np.uint64) >> np.uint64(1)
    words = _philox(key, -(-length // 4))[:, :length]
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _philox(key: Words, blocks: int) -> Words:
    """(rows, 4 x blocks): what Philox with these keys gives first; NumPy counts blocks from 1."""
    counter = np.zeros((4, len(key), blocks), dtype=np.uint64)
    counter[0] = np.arange(1, blocks + 1, dtype=np.uint64)
    a, b, c, d = counter
    first, second = key[:, None], np.uint64(0)
    for _ in range(10):
        high_a, low_a = _product(_MULTIPLIERS[0], a)
        high_c, low_c = _product(_MULTIPLIERS[1], c)
        a, b, c, d = high_c ^ b ^ first, low_c, high_a ^ d ^ second, low_a
        with np.errstate(over="ignore"):
            first, second = first + _WEYL[0], second + _WEYL[1]
    return np.stack([a, b, c, d], axis=-1).reshape(len(key), 4 * blocks)


def _product(factor: np.uint64, values: Words) -> tuple[Words, Words]:
    """High and low words of a product of 128 bits."""
    f_high, f_low = factor >> _HALF, factor & _LOW
    high, low = values >> _HALF, values & _LOW
    middle = f_high * low + (f_low * low >> _HALF)
    cross = f_low * high + (middle & _LOW)
    return f_high * high + (middle >> _HALF) + (cross >> _HALF), factor * values
