"""Is this installation able to work? Versions, devices, and one step whose result is known."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform

import torch

from allroads.models.builtin import small_transformer
from allroads.models.device import bfloat16_gain
from allroads.models.states import Rows
from allroads.objectives import bradley_terry_nll, implicit_reward

_NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn")


def examine() -> tuple[list[str], bool]:
    """Lines to print, and whether everything is in order."""
    lines = [f"python {platform.python_version()} on {platform.platform()}"]
    healthy = True
    for name in _NEEDED:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name}: MISSING, install it with pip")
            healthy = False
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    lines.append(f"cuda: {cuda}; mps: {'yes' if torch.backends.mps.is_available() else 'none'}")
    lines.append(f"cores: {os.cpu_count()}; torch threads: {torch.get_num_threads()}")
    gain = bfloat16_gain(torch.device("cpu"))
    lines.append(f"bfloat16 on this CPU: {gain:.2g} times the speed of float32")
    policy = small_transformer(vocabulary=11, context=8, eos_id=0, seed=0)
    rows = Rows([(1, 2), (1, 2)], [(3, 0), (4, 5, 0)])
    logprob = policy.sequence_logprobs(rows).detach()
    reward = implicit_reward(logprob, logprob, beta=0.5)
    loss = float(bradley_terry_nll(reward[:1], reward[1:]).mean())
    right = abs(loss - math.log(2)) < 1e-6
    lines.append(
        f"DPO's first loss: {loss:.6f} nats, expected log 2 = {math.log(2):.6f}: "
        + ("right" if right else "WRONG, please report this with the lines above")
    )
    return lines, healthy and right
