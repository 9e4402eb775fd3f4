"""Human preferences in their native forms, with the tokenizers of real pretrained models."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

import pytest

from allroads.data.dataset import Dataset, build
from allroads.data.rows import Loaded, load
from allroads.data.tokenise import Tokeniser, load_tokeniser
from tests.data.synthetic import HAS_SHARED, SHARED, WHY_SKIPPED

pytestmark = pytest.mark.skipif(not HAS_SHARED, reason=WHY_SKIPPED)

HH = str(SHARED / "data/hh_harmless.jsonl.gz")
OASST = str(SHARED / "data/oasst_pairs.jsonl.gz")
MODELS = ("stories260k", "imdb-llama-6m")


@cache
def _rows(source: str) -> list[dict[str, Any]]:
    with gzip.open(source, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@cache
def _loaded(source: str) -> Loaded:
    return load(source)


@cache
def _built(source: str, model: str) -> tuple[Dataset, Tokeniser]:
    tokeniser = load_tokeniser(SHARED / "models" / model, max_length=512)
    return build(source, None, tokeniser), tokeniser


def test_hh_prompts_end_with_the_turn_and_no_character_is_lost() -> None:
    loaded, rows = _loaded(HH), _rows(HH)
    assert loaded.read == loaded.usable + len(loaded.dropped) == len(rows) == 2312
    for pair in loaded.pairs:
        row = rows[int(pair.where.rpartition(":")[2]) - 1]
        assert isinstance(pair.prompt, str)
        assert pair.prompt.endswith("\n\nAssistant:")
        assert pair.prompt + pair.chosen == row["chosen"]
        assert pair.prompt + pair.rejected == row["rejected"]
        assert "\n\nHuman:" not in pair.chosen + pair.rejected


def test_hh_has_four_empty_answers_and_they_are_named() -> None:
    # Counted without this code: zcat hh_harmless.jsonl.gz | grep -cE 'Assistant: ?", "rejected"'
    loaded = _loaded(HH)
    assert loaded.reasons == {"empty completion in 'chosen'": 4}
    for where, _ in loaded.dropped:
        assert (
            _rows(HH)[int(where.rpartition(":")[2]) - 1]["chosen"].rstrip().endswith("Assistant:")
        )


def test_oasst_is_usable_to_the_last_row() -> None:
    loaded = _loaded(OASST)
    assert (loaded.usable, loaded.dropped) == (754, ())
    for pair, row in zip(loaded.pairs, _rows(OASST), strict=True):
        assert list(pair.prompt) == row["prompt"]
        assert [pair.chosen] == [message["content"] for message in row["chosen"]]
        assert [pair.rejected] == [message["content"] for message in row["rejected"]]


@pytest.mark.parametrize(
    ("source", "read", "model"),
    [
        (HH, 2312, "imdb-llama-6m"),
        pytest.param(HH, 2312, "stories260k", marks=pytest.mark.slow),
        (OASST, 754, "stories260k"),
        pytest.param(OASST, 754, "imdb-llama-6m", marks=pytest.mark.slow),
    ],
    ids=["hh-imdb", "hh-stories", "oasst-stories", "oasst-imdb"],
)
def test_real_pairs_in_tokens(source: str, read: int, model: str) -> None:
    """Each file once and each tokenizer once; the two other combinations are slow."""
    dataset, tokeniser = _built(source, model)
    count = dataset.audit.sources[0]
    assert count.used + count.dropped == count.read == read
    assert count.used == sum(len(pairs) for pairs in dataset.pairs.values()) > 100
    bos = (1,) if model == "stories260k" else ()  # the other tokenizer adds none, nor do we
    for pair in (pair for pairs in dataset.pairs.values() for pair in pairs):
        assert pair.prompt[: len(bos)] == bos
        for tokens in (pair.chosen, pair.rejected):
            assert tokens[-1] == tokeniser.eos_id
            assert not {1, tokeniser.eos_id} & set(tokens[:-1])
            assert len(pair.prompt) + len(tokens) <= 512
    assert (dataset.audit.leaked_prompts, dataset.audit.leaked_tokens) == (0, 0)
    assert dataset.audit.cut_completions == 0


@pytest.mark.parametrize("model", MODELS)
def test_real_tokens_spell_the_original_text(model: str) -> None:
    tokeniser = load_tokeniser(SHARED / "models" / model, max_length=4_096)
    for pair in _loaded(HH).pairs[::40]:
        prompt = tokeniser.prompt(pair.prompt)
        for answer in (pair.chosen, pair.rejected):
            whole = prompt + tokeniser.completion(pair.prompt, answer)
            assert tokeniser.decode(whole) == f"{pair.prompt}{answer}"


def test_the_audit_sees_what_is_known_about_these_files() -> None:
    # Known of the files: the longer answer wins 44 % of HH and 70 % of OASST.
    hh, oasst = (_built(source, "imdb-llama-6m")[0].audit for source in (HH, OASST))
    assert hh.longer_chosen / hh.unequal_pairs == pytest.approx(0.44, abs=0.02)
    assert oasst.longer_chosen / oasst.unequal_pairs == pytest.approx(0.70, abs=0.05)
    assert hh.notes == ()
    assert "no chat template" in oasst.notes[0]
    assert any("longer answer" in line for line in oasst.warnings())
    assert any("dropped as too long: raise --max-length" in line for line in oasst.warnings())
