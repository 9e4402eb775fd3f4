"""Where weights live, and what half precision is worth there."""

from __future__ import annotations

import time

import torch

from allroads.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device by name; auto takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: when the named device is absent.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available[name]:
        raise ConfigError(f"--device {name}: torch finds none here; use --device auto or cpu")
    return torch.device(name)


def bfloat16_gain(device: torch.device) -> float:
    """How many times faster a matrix product is in bfloat16 than in float32, measured here.

    A CPU without instructions for it emulates them, several times slower than float32.
    """
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.ones(256, 512, dtype=dtype, device=device)
        right = torch.ones(512, 512, dtype=dtype, device=device)
        best = float("inf")
        for _ in range(4):
            since = time.perf_counter()
            float((left @ right)[0, 0])
            best = min(best, time.perf_counter() - since)
        seconds[dtype] = best
    return seconds[torch.float32] / seconds[torch.bfloat16]
