"""Whole comparisons on files: models of three families on made-up pairs, and real ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

import allroads
from allroads import files
from allroads.data.dataset import Dataset
from allroads.data.split import SplitFractions, prompt_id_of, split_of
from allroads.errors import DataError, ModelError
from allroads.evaluation.graders import INSTALL, Grader, TextPairs, fit_grader
from allroads.lab.compare import prepare
from allroads.lab.config import CompareConfig
from allroads.records import Cost, Results
from allroads.roads.loop import train
from allroads.roads.stage import Stage
from allroads.roads.supplies import Supplies
from allroads.types import Pair
from tests.data.synthetic import HAS_SHARED, SHARED, WHY_SKIPPED
from tests.evaluation.graders.made_up import needs_minilm
from tests.words import NOUNS, VERBS, preferences, save_model, write_preferences, write_rows

SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3}
RECIPE: dict[str, Any] = {
    "sft": SHORT,
    "reward": SHORT,
    "policy": SHORT,
    "online": {**SHORT, "rounds": 2, "batch_size": 8},
    "reading": "head-last",
}
ROADS = ("sft-chosen", "dpo", "best-of-n", "online-dpo")


REFUSED = "No verdict: the grader is not good enough to judge by."


def config(data: Path, model: Path, **changes: Any) -> CompareConfig:
    chosen = {
        "data": str(data), "model": str(model), "roads": ROADS, "seeds": (0, 1), "betas": (0.1,),
        "ns": (2,), "pool": 2, "eval_prompts": 20, "snapshots": 1, "processes": 1,
        "recipe": RECIPE, "grader": "tf-idf",
    }  # fmt: skip
    return CompareConfig.model_validate({**chosen, **changes})


def check(results: Results, folder: Path, roads: tuple[str, ...] = ROADS) -> None:
    """What must hold of any comparison on files."""
    assert {p.road for p in results.points} == set(roads)
    assert (results.metric.source, results.metric.unit) == ("grader", "share of prompts")
    for point in results.points:
        assert 0 <= point.reward.value <= 1
        assert point.kl.value > -0.5
        assert point.controlled is not None
        assert -0.5 < point.controlled.value < 1.5
    start = results.points[0]
    assert start.kl.value == pytest.approx(0.0, abs=1e-4)
    rows = {row.name: row for row in results.reward_models}
    assert {"grader", "length", "tf-idf", "reward-model", "selection-scorer"} <= set(rows)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page.lower()
    for road in roads:
        assert road in page
    assert "At equal length" in page
    shared = {row.road: row.labels for row in results.ledger if row.road.startswith("(")}
    assert results.labels_withheld == sum(shared.values()) > 0
    assert f"{results.labels_withheld} labels fitted the grader and the selection scorer" in page
    # By the rule: a grader that does not beat a coin, length and tf-idf gives no verdict.
    refused = results.verdict.headline == REFUSED
    grade = next(row for row in results.reward_models if row.name == "grader")
    assert grade.accuracy.low is not None
    if grade.accuracy.low < 0.5:
        assert refused
    if refused or len(results.seeds) == 1:
        assert not results.verdict.decided
        assert {c.conclusion for c in results.comparisons} == {"no verdict"}
    else:
        assert {c.conclusion for c in results.comparisons} <= {
            "better", "worse", "equivalent", "undecided",
        }  # fmt: skip


# Made up: words, of which one decides -------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "seeds"), [("gpt2", (0, 1)), ("gpt-neox", (0,)), ("llama", (0,))]
)
def test_the_whole_path_with_absolute_and_rotary_positions(
    family: str, seeds: tuple[int, ...], tmp_path: Path
):
    data = write_preferences(tmp_path / "pairs.jsonl", 400)
    model = save_model(tmp_path / "tiny", family)
    out = tmp_path / "run"
    results = allroads.compare(out=out, config=config(data, model, seeds=seeds))
    check(results, out)
    # The planted word makes tf-idf nearly perfect; but it is the baseline, and cannot beat itself.
    (grade,) = [row for row in results.reward_models if row.name == "grader"]
    assert grade.accuracy.value > 0.95
    assert results.verdict.headline == REFUSED
    said = " ".join(results.verdict.reasons)
    assert "does not beat tf-idf (+0.0% [+0.0%, +0.0%])." in said
    assert f"{INSTALL}, or give --grader DIR" in said
    for folder in out.glob("checkpoints/dpo-*/model"):
        made = AutoModelForCausalLM.from_pretrained(folder)
        assert type(made) is type(AutoModelForCausalLM.from_pretrained(model))
    assert len(list(out.glob("checkpoints/dpo-*/model"))) == len(seeds)
    assert ("one seed shows no difference" in said) == (len(seeds) == 1)


def test_nobody_trains_on_what_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Splits by prompt: the roads', the selection scorer's, the grader's, the test's."""
    fitted: dict[str, tuple[Pair, ...]] = {}
    graded: list[str] = []

    def fit_and_tell(name: str, pairs: TextPairs, head: Path) -> Grader:
        graded.extend(pairs.clusters)
        return fit_grader(name, pairs, head)

    def train_and_tell(stage: Stage, trainee: Any, supplies: Supplies, *rest: Any) -> Cost:
        fitted[stage.name] = supplies.dataset.pairs["train"]
        return train(stage, trainee, supplies, *rest)

    monkeypatch.setattr("allroads.lab.workshop.fit_grader", fit_and_tell)
    monkeypatch.setattr("allroads.lab.stages.train", train_and_tell)
    data, model = write_preferences(tmp_path / "pairs.jsonl", 400), save_model(tmp_path / "tiny")
    out = tmp_path / "run"
    results = allroads.compare(out=out, config=config(data, model, seeds=(0,), roads=("dpo",)))
    made = Dataset.from_json((out / "data" / "dataset.json").read_text())
    prompts = {split: {p.tokens for p in rows} for split, rows in made.prompts.items()}
    for split, own in prompts.items():
        others: set = set().union(*(p for other, p in prompts.items() if other != split))
        assert own
        assert not own & others
    assert graded == [pair.cluster for pair in made.pairs["grader"]]
    splits = {"sft-chosen": "train", "dpo": "train", "selection-scorer": "selection"}
    assert fitted == {name: made.pairs[split] for name, split in splits.items()}  # type: ignore[index]
    rows = {row.road: row for row in results.ledger}
    assert rows["dpo"].labels == len(made.pairs["train"])
    assert rows["(selection scorer, shared)"].labels == len(made.pairs["selection"])
    assert rows["(grader, shared)"].labels == len(made.pairs["grader"])
    assert results.verdict.headline == REFUSED
    assert results.verdict.reasons[0].startswith("one seed shows no difference")


class Parity:
    """Prefers an even number of runs, eats and naps: what no count of words can see."""

    @staticmethod
    def of(text: str) -> int:
        return sum(word in ("runs", "eats", "naps") for word in text.split()) % 2

    def scores(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        return np.array([-float(self.of(answer)) for answer in answers])


def parity_rows(count: int) -> list[dict[str, str]]:
    """Pairs of which the better answer is the even one; all answers have four words."""
    rng, rows = random.Random(0), []
    while len(rows) < count:
        first, second = (" " + " ".join(rng.choice(VERBS) for _ in range(4)) for _ in range(2))
        if Parity.of(first) != Parity.of(second):
            better, worse = sorted((first, second), key=Parity.of)
            nouns = " ".join(rng.choice(NOUNS) for _ in range(4))
            rows.append(
                {"prompt": f"what does the {nouns} do", "chosen": better, "rejected": worse}
            )
    return rows


def test_a_grader_that_beats_all_baselines_gives_conclusions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("allroads.lab.workshop.fit_grader", lambda name, pairs, head: Parity())
    data, model = write_rows(tmp_path / "pairs.jsonl", parity_rows(500)), save_model(tmp_path / "m")
    out = tmp_path / "run"
    results = allroads.compare(out=out, config=config(data, model, roads=("sft-chosen", "dpo")))
    assert "No verdict" not in results.verdict.headline
    assert {c.conclusion for c in results.comparisons} <= {
        "better",
        "worse",
        "equivalent",
        "undecided",
    }
    rows = {row.name: row.accuracy.value for row in results.reward_models}
    assert rows["grader"] == 1.0
    assert rows["tf-idf"] == pytest.approx(0.5, abs=0.2)
    assert rows["length"] == pytest.approx(0.5, abs=0.2)


@needs_minilm
def test_minilm_grades_where_nothing_else_is_asked_for(tmp_path: Path):
    data, model = write_preferences(tmp_path / "pairs.jsonl", 300), save_model(tmp_path / "tiny")
    out = tmp_path / "run"
    asked = config(data, model, grader="auto", roads=("dpo",), seeds=(0,))
    results = allroads.compare(out=out, config=asked)
    (grade,) = [row for row in results.reward_models if row.kind == "grader"]
    assert grade.description.startswith("MiniLM sentence encoder")
    # "gladly" and "sadly" are far apart for it, but tf-idf knows the two words as well.
    assert grade.accuracy.value > 0.8
    assert results.verdict.headline == REFUSED
    assert not any("--grader DIR" in reason for reason in results.verdict.reasons)
    settings = files.read_json(out / "manifest.json")["settings"]
    assert settings["grader"] == "minilm"
    before = (out / "report.html").read_bytes()
    assert allroads.open_run(out) == results
    assert (out / "report.html").read_bytes() == before


def test_the_policy_cannot_grade_itself(tmp_path: Path):
    data, model = write_preferences(tmp_path / "pairs.jsonl", 300), save_model(tmp_path / "m")
    with pytest.raises(ModelError, match=r"--grader .*: it has weights of the policy .*another"):
        prepare(config(data, model, grader=str(model)))
    other = save_model(tmp_path / "other", seed=1)
    assert prepare(config(data, model, grader=str(other))).settings.grader == str(other)


def test_another_grader_grades_again_and_trains_nothing(tmp_path: Path):
    data, model = write_preferences(tmp_path / "pairs.jsonl", 300), save_model(tmp_path / "m")
    other = save_model(tmp_path / "other", seed=1)
    by_words = prepare(config(data, model)).plan.jobs
    by_other = prepare(config(data, model, grader=str(other))).plan.jobs
    kept = {by_words[name].kind for name in set(by_words) & set(by_other)}
    redone = {by_words[name].kind for name in set(by_words) - set(by_other)}
    assert kept == {"stage", "scorer"}
    assert redone == {"evaluate", "best-of-n", "grader"}
    # What decides is the folder's content, not its name.
    same = save_model(tmp_path / "same", seed=1)
    assert set(prepare(config(data, model, grader=str(same))).plan.jobs) == set(by_other)


def test_base_and_demonstrations_as_starts(tmp_path: Path):
    data, model = write_preferences(tmp_path / "pairs.jsonl", 300), save_model(tmp_path / "tiny")
    rows = [{"prompt": f"what does the {noun} do", "completion": f" {verb} gladly"}
            for noun in NOUNS for verb in VERBS]  # fmt: skip
    shown = write_rows(tmp_path / "shown.jsonl", rows)
    changes: dict[str, Any] = {"roads": ("dpo",), "seeds": (0,)}
    base = allroads.compare(
        out=tmp_path / "base", config=config(data, model, start="base", **changes)
    )
    assert [p.road for p in base.points] == ["base", "dpo"]
    taught = allroads.compare(
        out=tmp_path / "taught", config=config(data, model, demonstrations=str(shown), **changes)
    )
    assert [p.road for p in taught.points] == ["sft", "dpo"]
    assert {row.road: row.demonstrations for row in taught.ledger}["dpo"] > 20


def test_demonstrations_of_which_none_is_left_are_refused_before_training(tmp_path: Path):
    """All have one prompt, and the split of the pairs has it for a test prompt."""
    rows = preferences(300)
    data, model = write_rows(tmp_path / "pairs.jsonl", rows), save_model(tmp_path / "tiny")
    kept = next(r["prompt"] for r in rows if split_of_text(r["prompt"]) == "test")
    shown = write_rows(tmp_path / "shown.jsonl", [{"prompt": kept, "completion": " runs"}] * 30)
    with pytest.raises(DataError, match=r"shown\.jsonl: none of its demonstrations is left"):
        allroads.compare(
            out=tmp_path / "run", config=config(data, model, demonstrations=str(shown))
        )
    assert not (tmp_path / "run").exists()


def split_of_text(prompt: str) -> str:
    return split_of(prompt_id_of(prompt), 0, SplitFractions())


def test_too_few_pairs_are_refused_by_split(tmp_path: Path):
    data, model = write_preferences(tmp_path / "pairs.jsonl", 40), save_model(tmp_path / "tiny")
    with pytest.raises(
        DataError, match=r"usable pairs fall into the split '\w+', at least \d+ are"
    ):
        allroads.compare(out=tmp_path / "run", config=config(data, model))
    assert not (tmp_path / "run").exists()


# Real ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_SHARED, reason=WHY_SKIPPED)
@pytest.mark.parametrize("seeds", [(0,), pytest.param((0, 1, 2), marks=pytest.mark.slow)])
def test_human_preferences_with_a_pretrained_model(seeds: tuple[int, ...], tmp_path: Path):
    out = tmp_path / "run"
    real = config(
        SHARED / "data/hh_harmless.jsonl.gz",
        SHARED / "models/stories260k",
        max_pairs=220,
        max_length=100,
        max_new_tokens=16,
        seeds=seeds,
        eval_prompts=10,
        # Enough for the model to learn that answers end.
        recipe={**RECIPE, "sft": {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3}},
    )
    results = allroads.compare(out=out, config=real)
    check(results, out)
    said = (results.verdict.headline, *results.verdict.reasons)
    assert any("held-out pairs of" in line for line in said)
    alone = any("one seed shows no difference between roads from luck" in line for line in said)
    assert alone == (len(seeds) == 1)


# Adapters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "roads"),
    [
        ("float32", (*ROADS, "rloo")),
        # Where half precision differs is in training: here on pairs, a reward model, and samples.
        ("bfloat16", ("dpo", "online-dpo")),
        pytest.param("bfloat16", (*ROADS, "rloo"), marks=pytest.mark.slow),
    ],
    ids=["float32", "bfloat16", "bfloat16-all"],
)
def test_adapters_in_every_road(dtype: str, roads: tuple[str, ...], tmp_path: Path):
    """Every road in single precision; in half precision two stand for all, which are slow."""
    pytest.importorskip("peft", reason="the package peft is not installed")
    data, model = write_preferences(tmp_path / "pairs.jsonl", 300), tmp_path / "tiny"
    save_model(model, "llama")
    before = (model / "model.safetensors").read_bytes()
    out = tmp_path / "run"
    chosen = config(
        data,
        model,
        seeds=(0,),
        roads=roads,
        lora={"rank": 2, "alpha": 4.0},
        gradient_checkpointing=True,
        dtype=dtype,
        snapshots=2,
    )
    results = allroads.compare(out=out, config=chosen)
    started = roads if "sft-chosen" in roads else ("sft-chosen", *roads)
    check(results, out, started)
    folders = list(out.glob("checkpoints/*/model"))
    # What a road trains, the start among them, and the reward model and the selection scorer.
    assert len(folders) == len({*started} - {"best-of-n"}) + 2
    for folder in folders:
        assert (folder / "adapter_config.json").is_file()
        assert not (folder / "model.safetensors").exists()
    assert (model / "model.safetensors").read_bytes() == before
    assert any("adapter of rank 2" in note for note in results.notes)
    assert "LoRA of rank 2" in results.model
    # A checkpoint joins another comparison as it is, and loads in plain transformers.
    (dpo,) = out.glob("checkpoints/dpo-*/model")
    assert type(AutoModelForCausalLM.from_pretrained(dpo)).__name__ == "LlamaForCausalLM"
    (reward,) = out.glob("checkpoints/reward-model-*/model")
    again = config(
        data, model, seeds=(0,), roads=("best-of-n",), policies={"mine": str(dpo)},
        reward_model=str(reward),
    )  # fmt: skip
    joined = allroads.compare(out=tmp_path / "again", config=again)
    assert {"mine", "best-of-n"} <= {p.road for p in joined.points}


def test_a_tuned_model_is_the_start_as_it_is(tmp_path: Path):
    """A chat template says that the model was tuned already; `start` can say otherwise."""
    data, model = write_preferences(tmp_path / "pairs.jsonl", 300), save_model(tmp_path / "tiny")
    template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    (model / "chat_template.jinja").write_text(template)
    found = allroads.compare(
        out=tmp_path / "run", config=config(data, model, seeds=(0,), roads=("dpo",))
    )
    assert found.points[0].road == "base"
    assert any("start from the base model as it is" in note for note in found.notes)
    asked = config(data, model, seeds=(0,), roads=("dpo",), start="sft-chosen")
    jobs = prepare(asked).plan.jobs.values()
    (start,) = {job.spec["start"] for job in jobs if job.kind == "evaluate"}
    assert start.startswith("sft-chosen-")
