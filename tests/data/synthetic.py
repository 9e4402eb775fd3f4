"""Tokenizers whose tokens can be counted by hand: one byte, one token, unless merges are given."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SHARED = Path(__file__).parents[2].parent / "shared"
HAS_SHARED = SHARED.is_dir()
WHY_SKIPPED = "the real data and models are not beside this checkout"

CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }}"
    "{% else %}{{ raise_exception('no system turns here') }}{% endif %}{% endfor %}"
)


def byte_tokenizer(
    *,
    specials: Sequence[str] = ("<s>", "</s>"),
    merges: Sequence[tuple[str, str]] = (),
    opening: str | None = None,
    closing: str = "",
    prepend: str = "",
    template: str | None = None,
    **named: str,
) -> PreTrainedTokenizerFast:
    """Bytes, then merges, then specials. `opening` and `closing` are what encoding adds itself.

    `prepend` is put before every text, as Llama's tokenizer puts a space.
    """
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    inner = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=list(merges)))
    if prepend:
        inner.normalizer = normalizers.Prepend(prepend)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(specials))
    if opening is not None:
        used = [opening, *([closing] if closing else [])]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{opening} $A {closing}".strip(),
            special_tokens=[(token, inner.token_to_id(token)) for token in used],
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, **{"bos_token": "<s>", "eos_token": "</s>", **named}
    )
    tokenizer.chat_template = template
    return tokenizer


def chatml(eos_token: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    """Like SmolLM2-Instruct: bos is the marker that opens a turn, eos the one that ends it."""
    return byte_tokenizer(
        specials=("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        template=CHATML,
        bos_token="<|im_start|>",
        eos_token=eos_token,
        pad_token=eos_token,
    )


def write_jsonl(path: Path, rows: Iterable[Any]) -> str:
    """One JSON value per line; the path as text."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)
