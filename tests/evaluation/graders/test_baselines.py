"""Length and tf-idf find what they can see, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allroads.errors import DataError
from allroads.evaluation.graders import TF_IDF, TextPairs, fit_grader, fit_length, fit_tf_idf
from allroads.evaluation.graders.protocol import margins
from allroads.evaluation.scorers import hits
from allroads.types import Pair
from tests.evaluation.graders.made_up import swapped, text_pairs


def test_a_planted_word_is_found():
    grader = fit_tf_idf(text_pairs(300, seed=1, kind="planted"))
    assert hits(margins(grader, text_pairs(300, seed=2, kind="planted"))).mean() > 0.95
    with_it, without = grader.scores(["", ""], ["word1 planted", "word1 word2"])
    assert with_it > without


def test_the_sign_of_length_is_learned():
    pairs = text_pairs(100, seed=3, kind="length")
    longer, shorter = fit_length(pairs), fit_length(swapped(pairs))
    assert longer.weight > 0
    assert shorter.weight == pytest.approx(-longer.weight)
    assert hits(margins(longer, pairs)).mean() == 1.0
    assert longer.scores(["", ""], ["", "ab"]).tolist() == [0.0, 2 * longer.weight]


def test_no_side_of_a_pair_can_be_preferred():
    pairs = text_pairs(200, seed=4, kind="planted")
    grader = fit_tf_idf(pairs)
    np.testing.assert_allclose(margins(grader, swapped(pairs)), -margins(grader, pairs))
    other = fit_tf_idf(swapped(pairs))
    np.testing.assert_allclose(margins(other, pairs), -margins(grader, pairs), atol=1e-4)


def test_a_grader_is_a_function_of_its_pairs():
    first, second = (fit_tf_idf(text_pairs(100, seed=5, kind="nothing")) for _ in range(2))
    held_out = text_pairs(50, seed=6, kind="nothing")
    np.testing.assert_array_equal(margins(first, held_out), margins(second, held_out))


def test_without_a_common_word_tf_idf_is_a_coin():
    ids = tuple(str(i) for i in range(10))
    pairs = TextPairs(ids, ids, tuple(f"only{i}" for i in ids), tuple(f"once{i}" for i in ids))
    assert hits(margins(fit_tf_idf(pairs), pairs)).tolist() == [0.5] * 10


def test_too_few_pairs(tmp_path: Path):
    with pytest.raises(DataError, match="the grader's split holds 9 pairs; at least 10"):
        fit_grader(TF_IDF, text_pairs(9, seed=0, kind="planted"), tmp_path / "head.json")


def test_pairs_of_tokens_become_columns_of_text():
    pair = Pair(prompt_id="p", prompt=(1, 2), chosen=(3,), rejected=(4, 5))
    columns = TextPairs.of([pair], lambda tokens: "-".join(map(str, tokens)))
    assert columns == TextPairs(("p",), ("1-2",), ("3",), ("4-5",))
    assert len(columns) == 1
