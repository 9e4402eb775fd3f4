"""ROAD@LABELLER: the last stage's labeller changes, and with it only what it brought along."""

from __future__ import annotations

import re

import pytest

from allroads.errors import ConfigError
from allroads.roads.atlas import atlas
from allroads.roads.choices import BASE, DATA, Objective, Schedule, Source
from allroads.roads.differences import differences
from allroads.roads.relabel import LABELLERS, named, with_labeller
from allroads.roads.stage import Road, Stage

TABLE = atlas()
SAMPLED = [
    road for road in TABLE.values() if road.last.source.sampled and road.last.labeller != DATA
]
"""SPIN's samples are labelled by the data alone: there is nobody to replace."""


def stages(name: str, table: dict[str, Road] = TABLE) -> list[str]:
    return [stage.name for stage in named(name, table).stages]


@pytest.mark.parametrize("road", SAMPLED, ids=lambda road: road.name)
@pytest.mark.parametrize("labeller", LABELLERS)
def test_only_the_labeller_and_its_own_stages_differ(road: Road, labeller: str):
    other = with_labeller(road, labeller, TABLE)
    assert other.name == f"{road.name}@{labeller}"
    assert (other.last.labeller, other.purpose, other.source) == (
        labeller, road.purpose, road.source,
    )  # fmt: skip
    assert labeller in other.summary
    same = other.last.model_copy(update={"labeller": road.last.labeller})
    if road.last.critic == road.last.labeller != labeller:
        # A critic that was made of the old labeller begins as the policy does.
        assert same.critic == "start"
        critic = same.objective.critic.model_copy(update={"start": road.last.critic})
        objective = same.objective.model_copy(update={"critic": critic})
        same = same.model_copy(update={"objective": objective})
    assert same == road.last
    # What the two roads do not share are the two labellers themselves.
    own = {s.name: s for s in road.stages[:-1]}, {s.name: s for s in other.stages[:-1]}
    for one, another, its_labeller in ((*own, road.last.labeller), (*own[::-1], labeller)):
        assert {name for name in one if name not in another} <= {its_labeller}
        assert all(another[name] == stage for name, stage in one.items() if name in another)
    # A local reward model has a beta of its own, also where the road has none.
    assert other.knob == (road.knob or ("beta" if labeller == "local-rm" else ""))


@pytest.mark.parametrize(
    ("asked", "row"),
    [
        ("online-dpo@verifier", "online-dpo-verifier"),
        ("online-dpo@local-rm", "online-dpo-local"),
        ("best-of-n@local-rm", "best-of-n-local"),
        ("online-dpo-local@reward-model", "online-dpo"),
        ("online-dpo-verifier@reward-model", "online-dpo"),
        ("best-of-n-local@reward-model", "best-of-n"),
        ("rloo@reward-model", "rloo"),
    ],
)
@pytest.mark.parametrize("start", ["sft", "sft-chosen", BASE])
def test_the_rows_that_were_written_by_hand_come_out(asked: str, row: str, start: str):
    table = atlas(start)
    assert differences(named(asked, table), table[row]) == []


def test_what_nothing_needs_any_more_drops_out():
    assert stages("rloo@verifier") == ["sft", "rloo"]
    assert stages("online-dpo@judge") == ["sft", "online-dpo"]
    assert stages("best-of-n@verifier", atlas(BASE)) == ["best-of-n"]
    # Offline DPO is where the policy starts, whoever labels.
    assert stages("online-dpo-from-dpo@judge") == ["sft", "dpo", "online-dpo"]
    assert stages("online-dpo-from-dpo@local-rm") == ["sft", "dpo", "local-rm", "online-dpo"]


def reward_model(name: str, start: str = BASE) -> Stage:
    return Stage(
        name=name,
        start=start,
        source=Source(who="pairs"),
        labeller="data",
        objective=Objective(loss="bradley-terry", score="head-last"),
    )


def online(name: str, labeller: str, start: str = BASE) -> Stage:
    return Stage(
        name=name,
        start=start,
        source=Source(who="self", per_prompt=2, refresh="update"),
        labeller=labeller,
        pick="two",
        objective=Objective(loss="bradley-terry", score="implicit", reference="start", beta=0.1),
        schedule=Schedule(rounds=2),
    )


def test_a_reward_model_that_an_earlier_stage_needs_stays():
    road = Road(
        name="twice",
        stages=(reward_model("judge-of-both"), online("one", "judge-of-both"),
                online("two", "judge-of-both", start="one")),
    )  # fmt: skip
    changed = with_labeller(road, "verifier", TABLE)
    assert [s.name for s in changed.stages] == ["judge-of-both", "one", "two"]
    assert [s.labeller for s in changed.stages] == ["data", "judge-of-both", "verifier"]


def test_what_only_the_old_labeller_stood_on_goes_with_it():
    below = Stage(
        name="below",
        source=Source(who="pairs"),
        labeller="data",
        pick="winners",
        objective=Objective(loss="likelihood"),
    )
    aside = below.model_copy(update={"name": "aside"})
    road = Road(
        name="mine",
        stages=(below, aside, reward_model("rm", start="below"), online("last", "rm")),
    )
    # 'aside' was of no use before; that is the writer's own business.
    assert [s.name for s in with_labeller(road, "judge", TABLE).stages] == ["aside", "last"]
    assert [s.name for s in with_labeller(road, "local-rm", TABLE).stages] == [
        "aside", "sft", "local-rm", "last",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rloo@verifer", "road 'rloo@verifer': labeller 'verifer' is unknown: did you mean 'veri"),
        ("rloo@", "road 'rloo@': labeller '' is unknown: valid: judge, local-rm, reward-model, v"),
        ("rlo@judge", "road 'rlo' (of 'rlo@judge') is unknown: did you mean 'rloo'?"),
        ("rlo", "road 'rlo' is unknown: did you mean 'rloo'?"),
        (
            "dpo@verifier",
            "road 'dpo@verifier': 'dpo' has no labeller to replace, its last stage 'dpo' learns "
            "from pairs; ask for a road whose samples are scored, for example online-dpo@verifier",
        ),
        ("spin@judge", "'spin' has no labeller to replace, its last stage 'spin' learns from demo"),
        ("sft@judge", "'sft' has no labeller to replace, its last stage 'sft' learns from demons"),
        ("reward-model@judge", "'reward-model' has no labeller to replace"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(name: str, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        named(name, TABLE)


def test_a_road_of_that_very_name_comes_first():
    mine = TABLE["rloo"].model_copy(update={"name": "a@b"})
    assert named("a@b", {**TABLE, "a@b": mine}) is mine
