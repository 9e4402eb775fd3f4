"""A control is its neighbour with one field changed, and nothing else."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from allroads.errors import ConfigError
from allroads.roads.atlas import CHAIN, Recipe, all_controls, atlas, every_road
from allroads.roads.choices import Objective, Schedule, Source
from allroads.roads.differences import differences, one_field
from allroads.roads.relabel import named
from allroads.roads.sources import answered, planned_slots
from allroads.roads.stage import Road, Stage
from tests.roads import problem
from tests.roads.problem import dataset, made_of, round_of, supplies, tiny_policy

STARTS = ("sft", "sft-chosen", "base")
RECIPE = Recipe(
    reward=Schedule(epochs=3, learning_rate=2e-3),
    policy=Schedule(epochs=2, learning_rate=1e-3),
    online=Schedule(rounds=7, learning_rate=5e-4),
    reading="head-last",
)
"""No two schedules alike."""
TABLE = every_road("sft", RECIPE)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("reading", ["head-last", "head-sum"])
def test_each_control_differs_from_its_neighbour_in_the_field_that_it_names(
    start: str, reading: str
):
    recipe = RECIPE.model_copy(update={"reading": reading})
    table = every_road(start, recipe)
    for name, control in all_controls(start, recipe).items():
        near = table[control.neighbour]
        assert (control.road.name, table[name]) == (name, control.road)
        assert control.road.summary
        assert control.road.knob == near.knob
        # Draws hang on a stage's name: policies of both meet the same ones.
        if control.road.purpose == "policy" and name != "dpo-shuffled":
            assert control.road.last.name == near.last.name
        assert Road.model_validate_json(control.road.model_dump_json()) == control.road
        # The recipe's own head under another name; and a base model that is the start anyhow.
        same = {f"reward-model-{reading[5:]}", f"online-dpo-head-{reading[5:]}"}
        if start == "base":
            same |= {"reward-model-scratch", "online-dpo-head-scratch"}
        if name in same:
            assert differences(near, control.road) == []
            continue
        found = one_field(near, control.road)
        assert found.field == control.field, name
        assert set(found.entailed) < set(found.differences)
        assert one_field(control.road, near).field == control.field


@pytest.mark.parametrize("start", STARTS)
def test_a_chain_of_single_fields_leads_from_offline_to_online_dpo(start: str):
    table = every_road(start, RECIPE)
    steps = [one_field(table[a], table[b]).field for a, b in pairwise(CHAIN)]
    assert steps == [
        "last.labeller",
        "last.source",
        "last.schedule",
        "last.source.refresh",
        "last.source.prompts",
    ]
    # Whatever is sampled when: as many updates, at the same rate.
    short, fresh = table["dpo-samples-updates"].last, table["online-dpo"].last
    assert short.schedule.updates == fresh.schedule.rounds == 7
    assert short.schedule.learning_rate == fresh.schedule.learning_rate
    assert table["dpo-shuffled"].last.schedule.updates == 7


@pytest.mark.parametrize(
    ("a", "b", "field"),
    [
        ("online-dpo", "online-dpo@local-rm", "last.labeller"),
        ("rloo", "rloo@local-rm", "last.labeller"),
        ("ppo", "ppo@local-rm", "last.labeller"),
        ("online-dpo", "online-dpo-verifier", "last.labeller"),
        ("online-dpo-margin", "online-dpo-best-worst", "last.pick"),
        ("online-dpo", "online-dpo-from-dpo", "last.start"),
        ("rloo", "grpo", "last.objective"),
        ("rloo", "reinforce", "last.objective.advantage"),
        ("best-of-n", "best-of-n-local", "last.labeller"),
    ],
)
def test_one_field_of_named_roads(a: str, b: str, field: str):
    assert one_field(named(a, TABLE), named(b, TABLE)).field == field


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("dpo", "dpo", "differ in nothing"),
        ("dpo", "online-dpo", "last.source.who, last.source.per_prompt, last.source.refresh, last"),
        ("dpo-relabelled", "dpo-samples-updates", "more than one field: last.source.who"),
        ("dpo-cold", "dpo-2x", "last.objective.temperature, last.schedule.epochs"),
        ("online-dpo", "online-dpo-batch", "last.pick, last.schedule.learning_rate"),
        ("online-dpo-margin", "online-dpo-cold", "last.pick, last.objective.temperature"),
        ("dpo", "online-dpo-from-dpo", "more than one field"),
        ("reward-model", "reward-model-distilled", "more than one field"),
    ],
)
def test_more_or_less_than_one_field_is_refused_by_name(a: str, b: str, words: str):
    for one, other in ((a, b), (b, a)):
        with pytest.raises(ConfigError, match=re.escape(words)):
            one_field(TABLE[one], TABLE[other])


def test_what_a_field_does_not_entail_counts():
    """A labeller that brings its own reward model is one field; a pick beside it is another."""
    near, last = TABLE["online-dpo"], TABLE["online-dpo"].last
    other = last.model_copy(update={"labeller": "verifier", "pick": "best-worst"})
    road = Road(name="both", stages=(near.stages[0], other))
    with pytest.raises(ConfigError, match=r"last\.labeller, last\.pick"):
        one_field(near, road)
    idle = Road(name="idle", stages=(*near.stages[:-1], TABLE["dpo"].last, last))
    assert one_field(near, idle).field == "dpo"  # a stage that nothing needs is itself the change


def test_controls_take_no_name_of_the_atlas():
    assert not all_controls().keys() & atlas().keys()
    assert list(every_road()) == [*atlas(), *all_controls()]


# What makes no sense is refused -------------------------------------------------------------------

PAIRS = Source(who="pairs")
IMPLICIT = Objective(loss="bradley-terry", score="implicit", reference="base", beta=0.1)


def stage(**changes: object) -> Stage:
    given = {"name": "s", "source": PAIRS, "labeller": "data", "objective": IMPLICIT}
    return Stage.model_validate({**given, **changes})


SAMPLED = {"source": Source(who="self", per_prompt=2), "labeller": "verifier", "pick": "two"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": Objective(loss="bradley-terry", score="head-sum", temperature=0.1)},
            "a temperature of its own is for an implicit reward",
        ),
        (
            {"source": Source(who="demonstrations"), "labeller": "none",
             "objective": Objective(loss="likelihood", temperature=0.1)},
            "score 'log-prob' is taken as the samples are drawn, leave temperature out",
        ),
        ({"source": Source(who="pairs", prompts="pairs")}, "source.prompts says which prompts"),
        (
            {"source": Source(who="self", prompts="pairs"), "pick": "demonstrated"},
            "source.prompts says which prompts",
        ),
        (
            {"source": Source(who="pairs", refresh="never"), "labeller": "none"},
            "source must name it, found 'pairs'",
        ),
        (
            {"source": Source(who="before", refresh="never")},
            "source 'before' is labelled by 'none', found 'data'",
        ),
        (
            {"source": Source(who="before", refresh="never"), "labeller": "none", "pick": "two"},
            "pick 'two' cannot be made from an earlier stage's pairs; possible: as-given",
        ),
        (
            {"source": Source(who="before", refresh="never"), "labeller": "none",
             "schedule": Schedule(rounds=2)},
            "refresh 'never' samples nothing, but the schedule has 2 rounds",
        ),
        ({"schedule": Schedule(updates=3, epochs=2)}, "takes the place of epochs; found rounds 1"),
        (
            {**SAMPLED, "source": Source(who="self", per_prompt=2, refresh="update"),
             "schedule": Schedule(updates=3, rounds=2)},
            "takes the place of epochs; found rounds 2, epochs 1",
        ),
        ({**SAMPLED, "pick": "margin-matched", "labeller": "judge"}, "have no scale that both sha"),
        (
            {**SAMPLED, "pick": "margin-matched", "source": Source(who="self", per_prompt=1)},
            "pick 'margin-matched' needs at least 2 completions per prompt, found 1",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(changes: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        stage(**changes)


def test_only_pairs_of_samples_are_replayed():
    again = stage(name="again", source=Source(who="first", refresh="never"), labeller="none")
    with pytest.raises(ConfigError, match="replays 'first', which was not trained on pairs of sam"):
        Road(name="r", stages=(stage(name="first"), again))
    Road(name="r", stages=(stage(name="first", **SAMPLED), again))


# Prompts of the data's pairs ----------------------------------------------------------------------


def test_the_prompts_of_the_pairs_are_answered_as_often_as_they_have_pairs(all_finish: None):
    """Of ten pairs the eight on five of six prompts: a lap is eight answers, no two of one draw."""
    data = dataset()
    rows = [pair for pair in data.pairs["train"] if pair.prompt_id != "prompt-2"]
    few = made_of(rows, (), data.prompts["train"])
    once = problem.CONTROLS["dpo-samples"]
    met = answered(once, few)
    assert sorted(prompt.tokens for prompt in met) == sorted(pair.prompt for pair in rows)
    assert len({prompt.prompt_id for prompt in met}) == len(rows) == planned_slots(once, few) == 8
    start = tiny_policy()
    units = round_of(once, supplies(once, start, dataset=few), start).units
    twice = [unit for unit in units if unit.prompt == rows[0].prompt]
    assert len({unit.completions for unit in twice}) == len(twice) == 2
    # Online, laps go through the same eight; all prompts otherwise.
    fresh = problem.CONTROLS["online-dpo-pair-prompts"]
    given = supplies(fresh, start, dataset=few)
    rounds = [round_of(fresh, given, start, i) for i in range(2)]
    seen = [unit.prompt for one in rounds for unit in one.units]
    assert {(2,)} & set(seen) == set()
    assert planned_slots(fresh, few) == 4
    assert answered(problem.STAGES["online-dpo"], few) == few.prompts["train"]
