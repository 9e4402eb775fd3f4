"""The world of papers: who may see which, where a prompt is cut, and what a summary scores."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allroads.data.worlds import SciTldr, make_world
from allroads.data.worlds.overlap import Overlap, Telling
from allroads.data.worlds.papers import find_papers, read_papers
from allroads.errors import ConfigError, DataError
from allroads.types import Split
from tests.data.synthetic import SHARED
from tests.papers import COUNTS, OPTIONS, made_up, save_bytes_model, write_papers, write_part

pytest.importorskip("rouge_score", reason="the extra 'text' (rouge-score) is not installed")

SPLITS: tuple[Split, ...] = ("train", "selection", "test")
PARTS = {"train": "train", "selection": "dev", "test": "test"}


@pytest.fixture(scope="module")
def files_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("scitldr")
    return {
        "model": str(save_bytes_model(folder / "model")),
        "folder": str(write_papers(folder / "papers")),
        **OPTIONS,
    }


@pytest.fixture(scope="module")
def world(files_of: dict[str, Any]) -> SciTldr:
    return SciTldr(**files_of)


@pytest.fixture(scope="module")
def overlap() -> Overlap:
    return Overlap()


# What a text scores -------------------------------------------------------------------------------


def test_rouge_l_by_hand(overlap: Overlap):
    """Of "a cat sat on mats" and "a dog sat on the mat", "a sat on mat" is common to both.

    4 of 5 and 4 of 6 words: F1 = 2 * 4 / (5 + 6). "mats" is "mat" by its stem.
    """
    text, reference = "A cat sat on mats.", "a dog sat on the mat"
    assert overlap.rouge_l(text, [reference]) == pytest.approx(8 / 11)
    # In another order only one of the words is left in common: 2 * 1 / (2 + 2).
    assert overlap.rouge_l("sat cat", ["cat sat"]) == pytest.approx(1 / 2)
    assert overlap.rouge_l("", ["cat sat"]) == overlap.rouge_l("owl", ["cat sat"]) == 0
    assert overlap.rouge_l(text, ["owl", text, reference]) == pytest.approx(1)


def test_rouge_l_is_the_packages_own(overlap: Overlap):
    """Words are stemmed one by one here, so that they are stemmed once."""
    package = importlib.import_module("rouge_score.rouge_scorer").RougeScorer(
        ["rougeL"], use_stemmer=True
    )
    texts = [
        "We propose auto-encoders (VAEs) that learn 3 disentangled representations.",
        "Learned representations: a proposal for learning them with an auto-encoder's loss",
        "networks generalise; network generalisation is studied",
    ]
    for one in texts:
        for other in texts:
            theirs = package.score(one, other)["rougeL"].fmeasure
            assert overlap.rouge_l(other, [one]) == pytest.approx(theirs)


def test_content_words_do_not_count_order_or_stop_words(overlap: Overlap):
    """ "the owl of the hens" and "hen, owl and fox": 2 words of 2, of 3: F1 = 4 / 5."""
    assert overlap.content("the owl of the hens", ["hen, owl and fox"]) == pytest.approx(4 / 5)
    # Each as often as in both: 2 * 1 / (3 + 1).
    assert overlap.content("owl owl owl", ["owl"]) == pytest.approx(1 / 2)
    assert overlap.content("of the", ["of the"]) == 0


def test_telling_words_by_hand(overlap: Overlap):
    """Of 4 summaries all have owl, 2 have hen, 1 has fox, none has elk: log(4/d) / log 4."""
    telling = Telling(overlap, ["owl hens fox", "owls hen", "the owl", "owl owl"])
    weights = {word: telling.weight(word) for word in ("owl", "hen", "fox", "elk", "the")}
    assert weights == pytest.approx({"owl": 0, "hen": 1 / 2, "fox": 1, "elk": 1, "the": 0})

    def score(text: str, *references: str) -> float:
        return telling.score(text, references, 2)

    assert score("fox hen", "a hen, foxes") == pytest.approx((1 + 1 / 2) / 2)
    assert score("fox elk", "a hen, foxes") == pytest.approx(1 / 2)
    assert score("hens fox", "a hen", "the foxes") == pytest.approx(1 / 2)
    assert score("fox fox", "fox") == pytest.approx(1 / 2)
    assert score("fox", "fox") == score("fox hen elk", "fox hen elk") == score("", "fox") == 0
    assert telling.plain("fox hen", ["a hen, foxes"], 2) == pytest.approx(1 / 2)
    assert telling.plain("fox the", ["the fox"], 2) == pytest.approx(1 / 2)
    assert telling.best(["owl", "hen", "fox", "hens", "the"], 2) == ["hen", "fox"]
    assert telling.best(["owl", "fox", "foxes"], 2) == ["fox"]


def test_a_summary_is_judged_against_the_references_of_its_own_paper(world: SciTldr):
    prompts = world.prompts("test")
    papers = world.papers_of("test")
    own = [world._completion(paper.tldrs[1]) for paper in papers]
    scores = world.verify([prompt.tokens for prompt in prompts], own)
    assert scores == pytest.approx([1.0] * len(papers))
    others = world.verify([prompt.tokens for prompt in prompts], own[1:] + own[:1])
    assert np.mean(others) < 0.6
    # End-of-text is no word, and what was cut before it is scored as it stands.
    assert world.verify([prompts[0].tokens], [own[0][:-1]]) == scores[:1]
    check = world.second_opinion([prompts[0].tokens], [own[0]])
    assert check == pytest.approx([1.0])


# Who may see which paper --------------------------------------------------------------------------


def test_a_prompt_is_title_and_abstract_cut_to_fit(files_of: dict[str, Any]):
    whole, short, hidden = (
        SciTldr(**{**files_of, **changes}) for changes in ({}, {"prompt_tokens": 60}, {"title": 0})
    )
    ask = "\n\nTL;DR:"
    for split in SPLITS:
        rows = made_up(PARTS[split], COUNTS[PARTS[split]])
        said = [
            [world.decode(prompt.tokens) for prompt in world.prompts(split)]
            for world in (whole, short, hidden)
        ]
        for row, all_of_it, cut, untitled in zip(rows, *said, strict=True):
            text = f"Title: {row['title']}\n\nAbstract: {row['abstract']}"
            assert all_of_it == text + ask
            # One token a byte.
            assert cut == text[: 60 - len(ask)] + ask
            assert untitled == f"Abstract: {row['abstract']}{ask}"
    assert whole.prompts("grader") == ()


def test_a_title_in_two_files_belongs_to_the_test(files_of: dict[str, Any], tmp_path: Path):
    write_papers(tmp_path)
    shared = made_up("test", 2)
    for part in ("train", "dev"):
        write_part(
            tmp_path / f"scitldr_{part}.jsonl.gz",
            [*({**row, "abstract": "fox owl"} for row in shared), *made_up(part, 9)],
        )
    world = SciTldr(**{**files_of, "folder": str(tmp_path)})
    titles = {row["title"] for row in shared}
    assert titles <= {paper.title for paper in world.papers_of("test")}
    for split in ("train", "selection"):
        assert len(world.papers_of(split)) == 9
        assert not titles & {paper.title for paper in world.papers_of(split)}


def test_demonstrations_are_summaries_of_training_papers(world: SciTldr):
    rows = world.demonstrations(40, seed=3)
    assert rows == world.demonstrations(40, seed=3)
    assert rows != world.demonstrations(40, seed=4)
    told = {f"train-{i}": row["tldr"][0] for i, row in enumerate(made_up("train", 60), start=1)}
    prompts = {prompt.prompt_id: prompt.tokens for prompt in world.prompts("train")}
    for row in rows:
        assert row.prompt == prompts[row.prompt_id]
        assert world.decode(row.completion) == f" {told[row.prompt_id]}"
        assert row.completion[-1] == world.eos_id
    assert len(world.demonstrations(100, seed=3)) == 100
    assert set(world.verify([r.prompt for r in rows], [r.completion for r in rows])) == {1.0}


def test_two_words_are_of_the_summary_and_of_the_prompt(files_of: dict[str, Any]):
    world = SciTldr(**{**files_of, "max_new_tokens": 0}, words=2)
    assert (world.max_new_tokens, world.label_temperature) == (16, 6.0)
    rows = world.demonstrations(30, seed=0)
    told = {f"train-{i}": row["tldr"][0] for i, row in enumerate(made_up("train", 60), start=1)}
    for row in rows:
        words = world.decode(row.completion).split()
        assert len(set(words)) == 2
        assert set(words) <= set(told[row.prompt_id].split())
    scores = world.verify([row.prompt for row in rows], [row.completion for row in rows])
    weights = [
        np.mean([world._telling.weight(w) for w in world.decode(r.completion).split()])
        for r in rows
    ]
    assert scores == pytest.approx(weights)
    assert world.decode(rows[0].prompt).endswith("\n\nTwo words:")
    assert world.metric.name != SciTldr(**files_of).metric.name
    assert all("human summaries" not in note for note in world.notes())


def test_identity_is_of_the_task_and_not_of_its_place(files_of: dict[str, Any], tmp_path: Path):
    here = SciTldr(**files_of)
    for path in Path(files_of["folder"]).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    there = SciTldr(**{**files_of, "folder": str(tmp_path), "model": "m"})
    assert here.identity == there.identity
    for dial, value in (("words", 2), ("title", 0), ("prompt_tokens", 40)):
        assert SciTldr(**{**files_of, dial: value}).identity != here.identity
    write_part(tmp_path / "scitldr_dev.jsonl.gz", made_up("dev", 5))
    assert here.identity != there.identity


def test_the_form_of_its_authors_is_read_too(files_of: dict[str, Any], tmp_path: Path):
    """Sentences in `source`, summaries in `target`; a title on GitHub, none on the Hub."""
    for part, count in COUNTS.items():
        rows = [
            {"paper_id": "x", "title": row["title"], "source": row["abstract"].split(" ", 3)}
            | {"target": row["tldr"], "source_labels": [0], "rouge_scores": [0.1]}
            for row in made_up(part, count)
        ]
        write_part(tmp_path / f"{part}.jsonl", rows)
    theirs = SciTldr(**{**files_of, "folder": str(tmp_path)})
    for split in SPLITS:
        assert theirs.papers_of(split) == SciTldr(**files_of).papers_of(split)


# What cannot be used ------------------------------------------------------------------------------


def test_papers_that_are_not_there(tmp_path: Path):
    with pytest.raises(DataError, match=r"give world_options: \{folder: DIR\} .*allenai/scitldr"):
        find_papers(None, "train")
    with pytest.raises(DataError, match=r"has none of scitldr_dev\.jsonl\.gz, .*, dev\.jsonl;"):
        find_papers(str(tmp_path), "dev")


def test_rows_that_cannot_be_used_are_named(tmp_path: Path):
    path = tmp_path / "train.jsonl"
    write_part(path, [{"title": "t", "abstract": "a", "tldr": ["s"]}, {"title": "t", "tldr": []}])
    with pytest.raises(DataError, match=r"train\.jsonl:2: expected an abstract .* columns title"):
        read_papers(path)
    path.write_text("{}\nnot json\n")
    with pytest.raises(DataError, match=r"train\.jsonl:1: expected an abstract"):
        read_papers(path)


def test_dials_that_mean_nothing(files_of: dict[str, Any]):
    with pytest.raises(ConfigError, match=r"words must be 0 .* or 2, got 3"):
        make_world("scitldr", model="m", words=3)
    with pytest.raises(ConfigError, match="title must be 0 or 1, got 2"):
        make_world("scitldr", model="m", title=2)
    with pytest.raises(ConfigError, match="at least 32 and max_new_tokens 2, got 9 and 64"):
        make_world("scitldr", model="m", prompt_tokens=9)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match="install the extra 'text', or pip install rouge-score"):
        Overlap()


# Real papers --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_plain_rules_score_on_real_papers():
    """Means over 618 test papers; slow because every abstract is encoded.

    Everything is fixed. The title scores 0.347 as a summary, the first sentence of the abstract
    0.245, another paper's summary 0.138; "learning networks" 0.081 as two words.
    """
    if not (SHARED / "data" / "scitldr_test.jsonl.gz").is_file():
        pytest.skip("the real papers are not beside this checkout")
    real = {"model": str(SHARED / "models" / "stories260k"), "folder": str(SHARED / "data")}
    world, words = SciTldr(**real), SciTldr(**real, words=2)
    assert [len(world.prompts(split)) for split in SPLITS] == [1981, 616, 618]
    papers = world.papers_of("test")
    means = {
        "title": np.mean([world.score(p.title, p.tldrs) for p in papers]),
        "first": np.mean([world.score(p.abstract.split(". ")[0], p.tldrs) for p in papers]),
        "other": np.mean(
            [world.score(papers[i - 1].tldrs[0], p.tldrs) for i, p in enumerate(papers)]
        ),
        "bland": np.mean([words.score("learning networks", p.tldrs) for p in papers]),
    }
    expected = {"title": 0.347, "first": 0.245, "other": 0.138, "bland": 0.081}
    assert means == pytest.approx(expected, abs=0.005)
    assert math.isclose(world.score(papers[0].tldrs[0], papers[0].tldrs), 1.0)
