"""Shared by all tests: one thread (tiny models only lose by two), tiny models of three families."""

from __future__ import annotations

import copy
import os
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

# Before anything imports torch, which reads it once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The process that hands out tests reads this file before it starts its workers, and needs no torch:
# imported only where it is used, it keeps nobody waiting.
if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

    from allroads.models.policy import Policy

EOS = 0
VOCABULARY = 23

_COMMON = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": EOS, "pad_token_id": EOS}
_ROTARY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}

FAMILIES: dict[str, dict[str, Any]] = {
    # Absolute positions.
    "gpt2": {
        "n_positions": 64,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
    },
    # Rotary positions, parallel residual.
    "gpt-neox": _ROTARY,
    # Rotary positions, grouped queries.
    "llama": {**_ROTARY, "num_key_value_heads": 1},
    # Caps its logits after the head, so the head cannot be applied to hidden states alone.
    "gemma2": {
        **_ROTARY,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "final_logit_softcapping": 1.0,
        "sliding_window": 64,
    },
}


def tiny_config(family: str) -> PreTrainedConfig:
    """The configuration of a tiny model of this family."""
    from transformers import AutoConfig

    return AutoConfig.for_model(family.replace("-", "_"), **_COMMON, **FAMILIES[family])


def tiny_policy(
    family: str = "gpt2", *, seed: int = 0, dtype: torch.dtype | None = None, layers: int = 2
) -> Policy:
    """A policy with random weights, far enough from uniform for differences to show."""
    from allroads.models.policy import Policy

    return Policy(copy.deepcopy(_tiny_model(family, seed, dtype, layers)), EOS)


@cache
def _tiny_model(family: str, seed: int, dtype: torch.dtype | None, layers: int) -> PreTrainedModel:
    """Drawn once and then copied, which takes a third of the time: tests ask thousands of times."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = tiny_config(family)
    config.num_hidden_layers = layers
    model = AutoModelForCausalLM.from_config(config).to(dtype or torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
    return model


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


LONGEST = (
    "tests/lab/test_kill.py",
    "tests/lab/test_compare_files.py",
    "tests/theory/test_roads.py",
    "tests/roads/contract/test_optimum.py",
    "tests/theory/test_planted.py",
    "tests/lab/test_outside.py",
    "tests/lab/test_tracking.py",
    "tests/report/test_page.py",
    "tests/test_cli.py",
    "tests/roads/contract/test_kill.py",
    "tests/lab/test_judging.py",
    "tests/lab/test_jobs.py",
    "tests/data/test_sentiment.py",
    "tests/roads/test_ways_of_training.py",
    "tests/lab/test_results.py",
    "tests/models/test_lora.py",
    "tests/test_stats.py",
    "tests/docs/test_readme.py",
    "tests/roads/contract/test_gradient.py",
    "tests/report/test_claims.py",
    "tests/lab/test_sentiment.py",
    "tests/lab/test_export.py",
    "tests/roads/test_loop.py",
)
"""Begun first, so that no worker starts on one of them when the others have nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of `LONGEST` first; the rest, and the tests of each file, in their own order."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))
