"""GGUF files: de-quantised once into a checkpoint folder, which is then used as any other.

The rounding that quantisation did stays in the weights; only the storage changes.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch

from allroads import files
from allroads.errors import ConfigError, ModelError

_NOTE = "allroads-gguf.json"
CACHE_VARIABLE = "ALLROADS_CACHE"


def is_gguf(path: str | Path) -> bool:
    """Whether a path names a GGUF file."""
    return str(path).endswith(".gguf")


def dequantised(path: str | Path, cache: Path | None = None) -> Path:
    """The checkpoint folder of a GGUF file; made on first use, found again afterwards.

    Args:
        path: the file.
        cache: where such folders lie; by default $ALLROADS_CACHE, else ~/.cache/allroads.

    Returns:
        A folder with config, single-precision safetensors and tokenizer.

    Raises:
        ConfigError: when the packages gguf and accelerate are not installed.
        ModelError: when the file is absent or holds no causal language model.
    """
    source = Path(path)
    if not source.is_file():
        raise ModelError(f"--model {path}: no such file")
    folder = (cache or _cache()) / f"{source.stem}-{_digest(source)[:12]}"
    if not (folder / _NOTE).is_file():
        files.write_folder(folder, lambda target: _convert(source, target))
    return folder


def note_on(folder: str | Path) -> str:
    """One sentence about a folder that came from a GGUF file; '' for any other."""
    path = Path(folder) / _NOTE
    if not path.is_file():
        return ""
    facts = files.read_json(path)
    return (
        f"the base model was de-quantised from {facts['file']} ({facts['quantisation']}); its "
        "weights carry the rounding of that format"
    )


def _cache() -> Path:
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "allroads"


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _convert(source: Path, target: Path) -> None:
    try:
        import accelerate  # noqa: F401
        import gguf
    except ImportError as error:
        raise ConfigError(
            f"--model {source.name} needs the packages gguf and accelerate: "
            "pip install 'allroads[gguf]'"
        ) from error
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": source.name}
    try:
        loaded = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **where)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **where)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"--model {source}: not a causal language model: {reason}") from error
    # transformers refuses to save what it loaded from GGUF; the same weights in a fresh model it
    # does save.
    config = type(loaded.config).from_dict(loaded.config.to_dict())
    config.__dict__.pop("quantization_config", None)
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    tensors = gguf.GGUFReader(str(source)).tensors
    kinds = [tensor.tensor_type.name for tensor in tensors if len(tensor.shape) > 1]
    common = max(sorted(set(kinds)), key=kinds.count)
    files.write_json(target / _NOTE, {"file": source.name, "quantisation": common})
