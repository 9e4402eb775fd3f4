"""A GGUF file becomes an ordinary checkpoint folder once; its weights are the file's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from allroads.errors import ModelError
from allroads.models.gguf import CACHE_VARIABLE, dequantised, is_gguf, note_on

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")
pytest.importorskip("accelerate", reason="the package accelerate is not installed")

WIDTH, INNER, HEADS, LAYERS = 64, 96, 2, 1
WORDS = [
    "<unk>",
    "<s>",
    "</s>",
    "ab",
    *(chr(c) for c in range(33, 127)),
    "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}",
]
TEMPLATE = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer whose matrices are quantised to 4 bits (Q4_1), as a real file is."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.Q4_1.gguf"
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_context_length(64)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_rope_freq_base(10000.0)
    out.add_vocab_size(len(WORDS))
    out.add_tokenizer_model("gpt2")
    out.add_token_list(WORDS)
    out.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    out.add_token_merges(["a b"])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = rng.normal(size=(rows, columns)).astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q4_1
        out.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    matrix("token_embd.weight", len(WORDS), WIDTH)
    matrix("output.weight", len(WORDS), WIDTH)
    out.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{layer}.{name}.weight", WIDTH, WIDTH)
        matrix(f"blk.{layer}.ffn_gate.weight", INNER, WIDTH)
        matrix(f"blk.{layer}.ffn_up.weight", INNER, WIDTH)
        matrix(f"blk.{layer}.ffn_down.weight", WIDTH, INNER)
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, dtype=np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def test_the_folder_holds_the_files_own_numbers(file: Path, tmp_path: Path):
    folder = dequantised(file, tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    stored = {t.name: t for t in gguf.GGUFReader(str(file)).tensors}
    for ours, theirs in (
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("lm_head.weight", "output.weight"),
    ):
        tensor = stored[theirs]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(model.state_dict()[ours].numpy(), expected)
    assert model.dtype == torch.float32
    assert AutoTokenizer.from_pretrained(folder).chat_template == TEMPLATE
    assert note_on(folder) == (
        "the base model was de-quantised from tiny.Q4_1.gguf (Q4_1); its weights carry the "
        "rounding of that format"
    )


def test_it_is_made_once_for_the_same_content(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    folder = dequantised(file)
    assert folder.parent == tmp_path
    made = (folder / "model.safetensors").stat().st_mtime_ns
    moved = tmp_path / "elsewhere" / file.name
    moved.parent.mkdir()
    moved.write_bytes(file.read_bytes())
    assert dequantised(moved) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made


def test_what_is_no_such_file_is_refused(tmp_path: Path):
    assert is_gguf("x.gguf")
    assert not is_gguf(tmp_path)
    assert note_on(tmp_path) == ""
    with pytest.raises(ModelError, match="no such file"):
        dequantised(tmp_path / "absent.gguf", tmp_path)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="not a causal language model"):
        dequantised(broken, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == [
        "broken.gguf"
    ]
