"""The paper's TL;DR recipe: the very files of docs/, with tiny stand-ins for what the Hub holds."""

from __future__ import annotations

import copy
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from allroads import api
from allroads.data.rows import load
from allroads.errors import ModelError
from allroads.lab.compare import prepare
from allroads.lab.config import CompareConfig, build_config, load_yaml
from allroads.models import hub
from tests.words import BAD, GOOD, NOUNS, VERBS, save_model

DOCS = Path(__file__).parents[2] / "docs"
SIZES = ("1.4b", "2.8b")
END = "<eos>"


def recipe(size: str) -> dict[str, Any]:
    return load_yaml(DOCS / f"tldr-pythia-{size}.yaml")


def shrunk(fields: dict[str, Any]) -> CompareConfig:
    """The same roads and stages on a processor, with fewer samples and prompts."""
    small: dict[str, Any] = {
        **copy.deepcopy(fields),
        **{"device": "cpu", "dtype": "float32", "gradient_checkpointing": False},
        **{"max_length": 24, "max_new_tokens": 6, "eval_prompts": 12, "pool": 4, "ns": [1, 2]},
        **{"grader": "tf-idf", "token_budget": 1024},
    }
    small["recipe"]["batch_samples"] = 4
    for road in small["custom"]:
        for stage in road["stages"]:
            if stage["source"].get("per_prompt"):
                stage["source"]["per_prompt"] = 4
    return build_config(small, origin="test")


def posts(count: int, *, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["what does the " + " ".join(rng.choices(NOUNS, k=4)) + " do" for _ in range(count)]


def preferences(count: int = 200) -> list[dict[str, Any]]:
    """Rows as `vwxyzjn/summarize_from_feedback_oai_preprocessing_*` has them.

    Its card names these columns; a summary begins with a space and spells out the end of text.
    """
    rng = random.Random(0)
    return [
        {
            "info": {"id": "t3_x", "post": query, "title": "t", "subreddit": "s"},
            "summaries": [{"text": "", "policy": "sup1", "note": None}],
            "choice": 0,
            "query_token": [1, 2],
            "query": query,
            "chosen": f" {rng.choice(VERBS)} {GOOD} {END}",
            "chosen_token": [3],
            "rejected": f" {rng.choice(VERBS)} {BAD} {END}",
            "policies": "sup1--sup2",
        }
        for query in posts(count, seed=1)
    ]


def summaries(count: int = 120) -> list[dict[str, Any]]:
    """Rows as `cleanrl/summarize_from_feedback_tldr_3_filtered_oai_preprocessing_*` has them."""
    rng = random.Random(2)
    return [
        {
            "id": "t3_x",
            "subreddit": "s",
            "summary": "s",
            "query": query,
            "query_token": [1, 2],
            "reference_response": f" {rng.choice(VERBS)} {rng.choice(VERBS)} {END}",
            "query_reference_response": "both",
        }
        for query in posts(count, seed=3)
    ]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A Hub that has just what the recipe names; the ids that were asked for."""
    model = save_model(tmp_path / "neox", "gpt-neox")
    found: list[str] = []

    def load_dataset(name: str, *, split: str) -> list[dict[str, Any]]:
        assert split == "train"
        found.append(name)
        return summaries() if "tldr_3_filtered" in name else preferences()

    def download(name: str, **_: object) -> str:
        found.append(name)
        return str(model)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr(hub, "snapshot_download", download)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_each_recipe_says_what_the_paper_says(size: str):
    """Section 3.1 of the paper's notes; here only what an edit could silently change."""
    config = build_config(recipe(size), origin="docs")
    assert config.model == f"EleutherAI/pythia-{size}-deduped"
    assert (config.betas, config.ns, config.max_new_tokens) == ((0.05,), (1, 2, 5, 10, 25), 53)
    assert config.recipe is not None
    sft, reward, policy = config.recipe.sft, config.recipe.reward, config.recipe.policy
    assert (sft.learning_rate, sft.batch_size, sft.decay, sft.warmup) == (3e-6, 64, "cosine", 0)
    assert reward == sft
    assert (policy.learning_rate, policy.batch_size, policy.decay) == (3e-7, 128, "linear")
    roads = {road.name: road for road in config.custom}
    twice = roads["dpo-two-epochs"].last.schedule
    assert twice == policy.model_copy(update={"epochs": 2})
    for name, start in (("online-dpo-25", "sft"), ("online-dpo-25-from-dpo", "dpo")):
        last = roads[name].last
        assert (last.source.per_prompt, last.source.temperature, last.pick) == (
            25,
            0.1,
            "best-worst",
        )
        assert last.start == last.objective.reference == start
        assert (last.schedule, last.objective.temperature) == (policy, 0.1)
    free = roads["local-rm-batch-128"].last
    assert (free.objective.reference, free.schedule.learning_rate) == (None, 3e-6)


def test_both_recipes_differ_in_the_model_alone():
    one, other = map(recipe, SIZES)
    assert one.pop("model") != other.pop("model")
    assert one == other


@pytest.mark.parametrize("size", SIZES)
def test_a_recipe_is_planned_from_the_ids_that_it_names(size: str, asked: list[str]):
    prepared = prepare(shrunk(recipe(size)))
    assert set(asked) == {recipe(size)[key] for key in ("data", "demonstrations", "model")}
    stages = [job.stage for job in prepared.plan.jobs.values() if job.kind == "stage"]
    names = sorted(stage.name for stage in stages)
    # What two roads share is trained once: SFT, the reward model and DPO.
    assert names == sorted(
        "sft selection-scorer reward-model local-rm-batch-128 dpo dpo-two-epochs online-dpo-25 "
        "online-dpo-25-from-dpo".split()
    )
    assert prepared.dataset is not None
    pair = prepared.dataset.pairs["train"][0]
    assert pair.chosen[-1] == pair.rejected[-1] == prepared.settings.eos_id
    assert prepared.settings.eos_id not in (*pair.prompt, *pair.chosen[:-1])


def test_a_recipe_runs_to_its_report(asked: list[str], tmp_path: Path):
    results = api.compare(out=tmp_path / "run", config=shrunk(recipe("1.4b")))
    policies = {"sft", "dpo", "dpo-two-epochs", "online-dpo-25", "online-dpo-25-from-dpo"}
    assert {point.road for point in results.points} == {*policies, "best-of-n"}
    scorers = {row.name for row in results.reward_models}
    assert {"reward-model", "local-rm-batch-128, beta 0.05", "dpo, beta 0.05"} <= scorers
    assert not [note for note in results.notes if "failed" in note]


def test_the_columns_of_the_tldr_datasets_are_read(asked: list[str]):
    pairs = load("vwxyzjn/summarize_from_feedback_oai_preprocessing_1706381144")
    assert (pairs.kind, pairs.usable) == ("pairs", 200)
    assert pairs.pairs[0].prompt == preferences()[0]["query"]
    assert pairs.pairs[0].chosen == preferences()[0]["chosen"]
    shown = load("cleanrl/summarize_from_feedback_tldr_3_filtered_oai_preprocessing_1704563162")
    assert (shown.kind, shown.usable) == ("demonstrations", 120)
    assert shown.demonstrations[0].completion == summaries()[0]["reference_response"]


def test_a_model_that_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> str:
        raise OSError("404")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match="--model nobody/nothing: no such folder, and no such mod"):
        hub.located("nobody/nothing")
    for path in ("/tmp/absent", "absent", "a/b/c"):
        assert hub.located(path) == Path(path)
