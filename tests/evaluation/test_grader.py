"""The grader finds what is there, and is refused where nothing is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from allroads.errors import DataError
from allroads.evaluation.grader import beats, fit_grader, pair_margins
from allroads.evaluation.scorers import hits
from allroads.types import Pair

WORDS = [f"word{i}" for i in range(30)]
PLANTED = len(WORDS)
"""The token of the word that decides."""


def decode(tokens: Sequence[int]) -> str:
    return " ".join([*WORDS, "planted"][t] for t in tokens)


def pairs(count: int, *, seed: int, kind: str) -> list[Pair]:
    """Random texts; what makes the better one better is the kind."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        chosen, rejected = (tuple(rng.integers(30, size=8).tolist()) for _ in range(2))
        if kind == "planted":
            chosen = (*chosen[:4], PLANTED, *chosen[5:])
        if kind == "length":
            rejected = rejected[:3]
        out.append(Pair(prompt_id=str(i), prompt=(0,), chosen=chosen, rejected=rejected))
    return out


def judged(kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Margins on 300 held-out pairs of a grader that was fitted on 300 others."""
    grader = fit_grader(pairs(300, seed=1000 + seed, kind=kind), decode)
    return pair_margins(grader, pairs(300, seed=2000 + seed, kind=kind), decode)


def fit_to_judge(found: dict[str, np.ndarray]) -> bool:
    """The rule of the results: both intervals above zero."""
    return beats(found["grader"], None)[1] > 0 and beats(found["grader"], found["length"])[1] > 0


def test_a_planted_word_is_found():
    found = judged("planted")
    assert hits(found["grader"]).mean() > 0.95
    assert fit_to_judge(found)
    grader = fit_grader(pairs(300, seed=1, kind="planted"), decode)
    with_it, without = grader.scores(["word1 planted", "word1 word2"])
    assert with_it > without


def test_random_labels_are_refused():
    """Both 95 % intervals above zero by luck: less than once in 40 draws; the seeds are fixed."""
    above = sum(fit_to_judge(judged("nothing", seed)) for seed in range(10))
    assert above == 0


def test_what_length_alone_explains_is_refused():
    """The better text is always the longer one: the baseline is never wrong, nor to be beaten."""
    found = judged("length")
    assert hits(found["length"]).mean() == 1.0
    assert beats(found["grader"], None)[1] > 0
    assert beats(found["grader"], found["length"])[1] <= 0
    assert not fit_to_judge(found)


def test_the_sign_of_the_length_baseline_is_learned():
    shorter = [
        Pair(prompt_id=p.prompt_id, prompt=p.prompt, chosen=p.rejected, rejected=p.chosen)
        for p in pairs(100, seed=3, kind="length")
    ]
    grader = fit_grader(shorter, decode)
    assert grader.length_weight < 0
    assert hits(pair_margins(grader, shorter, decode)["length"]).mean() == 1.0


def test_the_grader_cannot_prefer_a_side():
    both = pairs(200, seed=4, kind="planted")
    swapped = [
        Pair(prompt_id=p.prompt_id, prompt=p.prompt, chosen=p.rejected, rejected=p.chosen)
        for p in both
    ]
    np.testing.assert_allclose(
        fit_grader(both, decode).scores(["planted word3"]),
        -fit_grader(swapped, decode).scores(["planted word3"]),
        atol=1e-6,
    )
    one = pair_margins(fit_grader(both, decode), both, decode)["grader"]
    other = pair_margins(fit_grader(both, decode), swapped, decode)["grader"]
    np.testing.assert_allclose(one, -other)


def test_the_grader_is_a_function_of_its_pairs():
    first, second = (judged("planted")["grader"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_beats_by_hand():
    # Right, right, wrong, tie: .625 against a coin is +.125; the differences are .5, .5, -.5, 0
    # with sample variance (.375^2 + .375^2 + .625^2 + .125^2) / 3 = .229167.
    middle, low, high = beats(np.array([1.0, 2.0, -1.0, 0.0]), None)
    assert middle == pytest.approx(0.125)
    assert high - middle == pytest.approx(1.96 * np.sqrt(0.2291667 / 4), rel=1e-6)
    assert middle - low == pytest.approx(high - middle)
    # Paired: against itself there is no difference and no doubt.
    assert beats(np.array([1.0, -1.0, 3.0]), np.array([2.0, -5.0, 0.1])) == (0.0, 0.0, 0.0)
    # +1, 0, 0, +1 against a baseline that is wrong twice.
    middle, _, _ = beats(np.array([1.0, 1.0, -1.0, 1.0]), np.array([-1.0, 1.0, -1.0, -1.0]))
    assert middle == pytest.approx(0.5)


def test_too_few_pairs_and_no_common_word():
    with pytest.raises(DataError, match="the grader's split holds 9 pairs; at least 10"):
        fit_grader(pairs(9, seed=0, kind="planted"), decode)
    every = [
        Pair(prompt_id=str(i), prompt=(0,), chosen=(2 * i,), rejected=(2 * i + 1,))
        for i in range(10)
    ]
    with pytest.raises(DataError, match="no word that occurs in two of its completions"):
        fit_grader(every, decode)
