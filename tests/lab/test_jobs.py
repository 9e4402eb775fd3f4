"""The plan: what is the same work, what comes before what, and which roads the data can feed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import allroads
from allroads.errors import ConfigError, ModelError
from allroads.lab.compare import prepare
from allroads.lab.config import CompareConfig, build_config
from allroads.lab.jobs import SELECTION, Job, Plan, chosen_roads
from allroads.lab.runner import longest_chain_first
from allroads.roads.atlas import Recipe
from tests.lab import tiny
from tests.words import NOUNS, VERBS, save_model, write_preferences, write_rows


def plan_of(**changes: Any) -> Plan:
    return prepare(tiny.config(**changes)).plan


def stages(plan: Plan, name: str) -> list[Job]:
    return [j for j in plan.jobs.values() if j.kind == "stage" and j.spec["stage"]["name"] == name]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("jobs") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preferences(tmp_path_factory.mktemp("jobs") / "pairs.jsonl", 300)


# The same work is done once -----------------------------------------------------------------------


def test_shared_stages_are_planned_once_for_each_seed():
    plan = plan_of(roads=list(tiny.EVERY_ROAD), seeds=[0, 1], betas=[0.2, 0.5])
    for name, times in {
        "sft": 2,
        "reward-model": 2,  # four roads use it
        SELECTION: 2,
        "sft-chosen": 2,
        "dpo": 4,  # two seeds, two betas; two further roads start from it
        "rloo": 4,
    }.items():
        assert len(stages(plan, name)) == times, name
    # The local reward model at each beta, and the one of best-of-N at its own 0.5: the same job.
    assert len(stages(plan, "local-rm")) == 4
    assert len([j for j in plan.jobs.values() if j.kind == "pairs"]) == 2
    # Seven roads end in a stage 'online-dpo': all of them different work.
    assert len(stages(plan, "online-dpo")) == 6 * 4


def test_every_setting_of_best_of_n_is_one_job():
    plan = plan_of(ns=[1, 2, 4, 8], roads=["best-of-n"])
    assert len([j for j in plan.jobs.values() if j.kind == "best-of-n"]) == 1
    assert [c.value for c in plan.cells if c.road == "best-of-n"] == [1, 2, 4, 8]


def test_the_start_is_always_evaluated_and_every_reward_model_judged():
    plan = plan_of(roads=["online-dpo"])
    assert [cell.road for cell in plan.cells] == ["sft", "online-dpo"]
    assert [row[:2] for row in plan.scorers] == [
        (SELECTION, "selection"),
        ("reward-model", "global"),
    ]


def test_the_selection_scorer_reads_its_own_pairs():
    for job in plan_of().jobs.values():
        if job.kind == "stage":
            selection = job.spec["stage"]["name"] == SELECTION
            assert job.spec["split"] == ("selection" if selection else "train")


# Order --------------------------------------------------------------------------------------------


def assert_in_order(plan: Plan) -> None:
    seen: set[str] = set()
    for name, job in plan.jobs.items():
        assert job.id == name
        assert set(job.needs) <= seen, f"{name} comes before {set(job.needs) - seen}"
        seen.add(name)
        # Every job that the spec names is one that is waited for.
        text = json.dumps(job.spec)
        assert {other for other in plan.jobs if f'"{other}"' in text} <= set(job.needs)


def test_every_job_comes_after_what_it_needs():
    assert_in_order(plan_of(seeds=[3, 1], betas=[0.2, 0.5], ns=[2, 4]))


@pytest.mark.parametrize("start", ["sft-chosen", "base"])
def test_every_job_comes_after_what_it_needs_on_files(start: str, model: Path, data: Path):
    config = CompareConfig(
        data=str(data), model=str(model), start=start, roads=("dpo", "best-of-n", "rloo")
    )
    plan = prepare(config).plan
    assert_in_order(plan)
    assert plan.grader in plan.jobs
    assert len([j for j in plan.jobs.values() if j.kind == "grader"]) == 1
    assert plan.cells[0].road == start


# Ids ----------------------------------------------------------------------------------------------


def test_ids_are_a_function_of_what_the_work_depends_on():
    assert list(plan_of().jobs) == list(plan_of().jobs)
    # Neither the order of roads, nor how the machine is used, nor when checkpoints are taken.
    same = plan_of(
        roads=list(reversed(tiny.ROADS)), processes=2, threads=2, checkpoint_seconds=99, margin=0.5
    )
    assert set(same.jobs) == set(plan_of().jobs)
    assert set(plan_of(roads=["dpo"]).jobs) < set(plan_of().jobs)
    more = plan_of(seeds=[0, 1], betas=[0.5, 0.7], ns=[2, 4])
    # Another N is another table of the same pool: that job alone is done again.
    gone = set(plan_of().jobs) - set(more.jobs)
    assert {plan_of().jobs[name].kind for name in gone} == {"best-of-n"}


EVERYTHING: list[tuple[str, dict[str, Any]]] = [
    ("seed", {"seeds": [1]}),
    ("data", {"sizes": {"demonstrations": 201, "pairs": 120}}),
    ("world", {"world_options": {**tiny.FIELDS["world_options"], "wander": 0.5}}),
    ("temperature", {"temperature": 0.9}),
    ("dtype", {"dtype": "float64"}),
    ("token budget", {"token_budget": 512}),
]


@pytest.mark.parametrize(("what", "change"), EVERYTHING, ids=[what for what, _ in EVERYTHING])
def test_no_id_survives_another(what: str, change: dict[str, Any]):
    roads = ["dpo", "best-of-n"]
    assert not set(plan_of(roads=roads).jobs) & set(plan_of(roads=roads, **change).jobs)


def test_another_schedule_changes_its_stage_and_what_follows():
    recipe = {**tiny.FIELDS["recipe"], "reward": {"epochs": 3}}
    before, after = plan_of(), plan_of(recipe=recipe)
    for name, same in (("sft", True), ("sft-chosen", True), ("dpo", True), ("reward-model", False)):
        assert ([j.id for j in stages(before, name)] == [j.id for j in stages(after, name)]) == same
    assert not {j.id for j in stages(before, "rloo")} & {j.id for j in stages(after, "rloo")}


def test_another_model_or_file_changes_every_id(model: Path, data: Path, tmp_path: Path):
    def jobs(model: Path, data: Path) -> set[str]:
        config = CompareConfig(data=str(data), model=str(model), roads=("dpo",))
        return set(prepare(config).plan.jobs)

    before = jobs(model, data)
    assert before == jobs(model, data)
    shutil.copytree(model, tmp_path / "moved")
    shutil.copyfile(data, tmp_path / "moved.jsonl")
    assert before == jobs(tmp_path / "moved", tmp_path / "moved.jsonl"), "content, not names"
    assert not before & jobs(save_model(tmp_path / "other", seed=1), data)
    assert not before & jobs(model, write_preferences(tmp_path / "more.jsonl", 301))


# Roads that cannot be fed -------------------------------------------------------------------------


def refused(**fields: Any) -> str:
    def choose() -> None:
        chosen_roads(build_config(fields), Recipe())

    with pytest.raises(ConfigError) as error:
        choose()
    return str(error.value)


FILES = {"data": "pairs.jsonl", "model": "folder"}


def test_roads_that_the_data_cannot_feed():
    assert refused(**FILES, roads=["online-dpo-verifier"]) == (
        "road 'online-dpo-verifier' is labelled by a verifier, and none is given: add --verifier "
        "FILE.py, whose function verify(prompts, completions) returns one number each"
    )
    assert "road 'sft' is unknown (it needs --demonstrations)" in refused(**FILES, roads=["sft"])
    assert refused(**FILES, start="sft", roads=["dpo"]) == (
        "road 'dpo': stage 'sft' needs --demonstrations FILE"
    )
    assert refused(world="routes", roads=["onlinedpo"]) == (
        "road 'onlinedpo' is unknown: did you mean 'online-dpo'?"
    )
    assert "road 'x' is unknown: valid: best-of-n, " in refused(world="routes", roads=["x"])
    assert refused(world="routes", roads=["rloo"], temperature=0.7) == (
        "road 'rloo': stage 'rloo' samples at temperature 1, but log-probabilities are taken at "
        "0.7; ratios to the policy that wrote need both the same"
    )


# Roads of one's own -------------------------------------------------------------------------------

SFT = {
    "name": "sft",
    "source": {"who": "demonstrations"},
    "objective": {"loss": "likelihood"},
    "schedule": {"epochs": 2, "learning_rate": 3e-3, "batch_size": 32},
}
DOUBTFUL = {
    "name": "doubtful",
    "stages": [
        SFT,
        {
            "name": "by-truth",
            "start": "sft",
            "source": {"who": "self", "per_prompt": 2, "refresh": "update"},
            "labeller": "verifier",
            "pick": "two",
            "objective": {
                "loss": "bradley-terry",
                "score": "implicit",
                "reference": "sft",
                "beta": 0.5,
            },
            "schedule": {"rounds": 2, "batch_size": 16},
        },
        {
            "name": "by-data",
            "start": "by-truth",
            "source": {"who": "pairs"},
            "labeller": "data",
            "objective": {
                "loss": "bradley-terry",
                "score": "implicit",
                "reference": "by-truth",
                "beta": 0.5,
            },
        },
    ],
}


def test_a_road_of_ones_own_is_trained_and_reported(tmp_path: Path):
    results = allroads.compare(
        out=tmp_path / "run",
        config=tiny.config(roads=["dpo", "doubtful"], custom=[DOUBTFUL]),
    )
    assert {point.road for point in results.points} == {"sft", "dpo", "doubtful"}
    assert [row.stage for row in results.stages if row.road == "doubtful"] == [
        "sft",
        "by-truth",
        "by-data",
    ]
    (row,) = [row for row in results.ledger if row.road == "doubtful"]
    assert row.outside_queries == 2 * 2 * 16
    assert (row.labels > 0, row.demonstrations > 0) == (True, True)


def test_a_road_that_ever_asked_outside_is_no_evidence_from_the_data():
    """Its last stage learns from the pairs, but starts where the truth led it."""
    plan = plan_of(roads=["dpo", "doubtful", "online-dpo-verifier"], custom=[DOUBTFUL])
    assert {cell.road: cell.labeller for cell in plan.cells} == {
        "sft": "data",
        "dpo": "data",
        "doubtful": "outside",
        "online-dpo-verifier": "outside",
    }


def test_a_road_of_ones_own_shares_stages_with_the_named_ones():
    plan = plan_of(roads=["dpo", "doubtful"], custom=[DOUBTFUL])
    assert len(stages(plan, "sft")) == 1


def test_a_road_of_ones_own_cannot_take_a_name():
    custom = [{**DOUBTFUL, "name": "dpo"}]
    assert refused(world="routes", roads=["dpo"], custom=custom) == (
        "custom road 'dpo' has the name of a built-in road"
    )


# Models that are given ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Checkpoints as `allroads.train` hands them out, trained with another seed."""
    out = tmp_path_factory.mktemp("given")
    made: dict[str, Path] = {}

    def train(road: str) -> Path:
        if road not in made:
            value = 0.5 if road == "dpo" else None
            made[road] = allroads.train(road, out=out, value=value, seed=5, config=tiny.config())
        return made[road]

    return train


def test_a_trained_policy_joins_the_comparison(given: Callable[[str], Path], tmp_path: Path):
    folder = given("dpo")
    assert folder.name == "model"
    assert folder.parent.name.startswith("dpo-b0.5-s5-")
    assert not list(folder.parents[2].glob("evaluations/*")), "nothing is evaluated"
    config = tiny.config(roads=["dpo"], policies={"mine": str(folder)})
    results = allroads.compare(out=tmp_path / "run", config=config)
    (point,) = [point for point in results.points if point.road == "mine"]
    assert (point.knob, point.value, point.fraction, point.selected) == ("", None, 1.0, True)
    assert point.kl.value > 0.01
    (comparison,) = [c for c in results.comparisons if c.road == "mine"]
    assert comparison.labeller == "none", "who knows where it comes from"
    (row,) = [row for row in results.ledger if row.road == "mine"]
    assert (row.labels, row.tokens_trained) == (0, 0)


def test_a_trained_reward_model_takes_the_stages_place(
    given: Callable[[str], Path], tmp_path: Path
):
    config = tiny.config(
        roads=["dpo", "best-of-n", "online-dpo"], reward_model=str(given("reward-model"))
    )
    results = allroads.compare(out=tmp_path / "run", config=config)
    assert "reward-model" not in tiny.stage_jobs(tmp_path / "run").values()
    origins = {c.road: c.labeller for c in results.comparisons}
    assert origins == {"sft": "data", "best-of-n": "outside", "online-dpo": "outside"}
    rows = {row.road: row for row in results.ledger}
    assert rows["online-dpo"].outside_queries > 0
    assert rows["online-dpo"].scorer_queries == 0
    assert rows["online-dpo"].labels == 0, "no pair reached it"


def test_a_policy_of_another_vocabulary_is_refused(model: Path, tmp_path: Path):
    config = tiny.config(roads=["sft"], policies={"foreign": str(model)})
    with pytest.raises(
        ModelError, match=r"its vocabulary has 23 tokens, the base model's 17; only"
    ):
        allroads.compare(out=tmp_path / "run", config=config)


def test_a_wrong_folder_is_found_before_anything_is_trained(tmp_path: Path):
    config = tiny.config(roads=["dpo"], policies={"mine": str(tmp_path / "nowhere")})
    with pytest.raises(ModelError):
        allroads.compare(out=tmp_path / "run", config=config)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_another_model_in_the_same_folder_is_other_work(tmp_path: Path):
    folder = save_model(tmp_path / "mine")
    changes = {"roads": ["sft"], "policies": {"mine": str(folder)}}
    before = set(plan_of(**changes).jobs)
    save_model(folder, seed=1)
    assert before != set(plan_of(**changes).jobs)


def test_train_of_what_has_no_model_of_its_own(tmp_path: Path):
    with pytest.raises(ConfigError, match="road 'best-of-n' trains no model of its own"):
        allroads.train("best-of-n", out=tmp_path / "run", config=tiny.config())


def test_demonstrations_of_a_file_make_sft_the_start(model: Path, data: Path, tmp_path: Path):
    rows = [
        {"prompt": f"what does the {noun} do", "completion": f" {verb} gladly"}
        for noun in NOUNS
        for verb in VERBS
    ]
    shown = write_rows(tmp_path / "shown.jsonl", rows)
    config = CompareConfig(
        data=str(data), model=str(model), demonstrations=str(shown), roads=("sft", "dpo")
    )
    plan = prepare(config).plan
    assert plan.cells[0].road == "sft"
    assert {j.spec["stage"]["name"] for j in plan.jobs.values() if j.kind == "stage"} == {
        "sft",
        "dpo",
        SELECTION,
    }


# Order of work ------------------------------------------------------------------------------------


def test_what_a_long_chain_waits_for_comes_first():
    def job(name: str, *needs: str) -> Job:
        return Job(name, "stage", 0, needs, {})

    named = [job("start"), job("short", "start"), job("reward", "start"), job("end of short")]
    named += [job("policy", "reward"), job("judge", "policy")]
    order = list(longest_chain_first({one.id: one for one in named}))
    assert order == ["start", "reward", "policy", "short", "end of short", "judge"]


def test_followers_of_finished_jobs_are_ordered_too():
    jobs = {
        "short": Job("short", "stage", 0, ("done before",), {}),
        "long": Job("long", "stage", 0, ("done before",), {}),
        "after": Job("after", "evaluate", 0, ("long",), {}),
    }
    assert list(longest_chain_first(jobs)) == ["long", "short", "after"]
