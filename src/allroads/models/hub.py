"""Where a model that the user names lies: a folder, a GGUF file, or an id of the Hub.

A model of the Hub is downloaded once, into the Hub's own cache: its safetensors, configuration and
tokenizer, nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download

from allroads.errors import ModelError
from allroads.models.gguf import dequantised, is_gguf

_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_NEEDED = ("*.json", "*.safetensors", "*.model", "*.jinja", "*.txt")


def located(model: str | Path) -> Path:
    """The checkpoint folder of a model; what is no folder is made one first.

    Args:
        model: a folder, a .gguf file, or "owner/name" where no such path exists.

    Raises:
        ModelError: when the Hub does not give it, or a GGUF file is none.
    """
    if is_gguf(model):
        return dequantised(model)
    path = Path(model)
    if path.exists() or not _ID.fullmatch(str(model)):
        return path
    try:
        return Path(snapshot_download(str(model), allow_patterns=list(_NEEDED)))
    except Exception as error:  # every failure of a download is the same sentence to the user
        raise ModelError(
            f"--model {model}: no such folder, and no such model could be had from the Hub "
            f"({type(error).__name__}). Check the name and the connection, or give a folder"
        ) from error
