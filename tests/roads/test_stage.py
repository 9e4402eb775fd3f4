"""A road is a list of stages: every named road is legal, every illegal one is refused by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from allroads.errors import ConfigError
from allroads.roads.atlas import Recipe, atlas
from allroads.roads.differences import differences
from allroads.roads.losses import LOSSES
from allroads.roads.stage import Objective, Road, Schedule, Source, Stage

STARTS = ("sft", "sft-chosen", "base")

SFT = Stage(name="sft", source=Source(who="demonstrations"), objective=Objective(loss="likelihood"))
IMPLICIT = Objective(loss="bradley-terry", score="implicit", reference="start", beta=0.1)
HEAD = Objective(loss="bradley-terry", score="head-sum")
RLOO = Objective(loss="rloo", reference="start", beta=0.1)


def stage(**changes: object) -> Stage:
    """Offline DPO, with changes."""
    choices = dict(name="s", source=Source(who="pairs"), labeller="data", objective=IMPLICIT)
    return Stage.model_validate({**choices, **changes})


def online(pick: str = "two", per_prompt: int | None = 2, **changes: object) -> Stage:
    """Online DPO by the verifier, with changes."""
    source = Source(who="self", per_prompt=per_prompt, refresh="update")
    return stage(**{"source": source, "labeller": "verifier", "pick": pick, **changes})


def road(*stages: Stage) -> Road:
    return Road(name="r", stages=stages)


# The atlas --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
def test_every_named_road_is_legal_from_every_start(start: str):
    roads = atlas(start)
    assert set(roads) == {
        *(["sft"] if start == "sft" else []),
        *["sft-chosen", "reward-model", "local-rm", "dpo", "best-of-n", "best-of-n-local", "rloo"],
        *["online-dpo", "online-dpo-from-dpo", "online-dpo-batch", "online-dpo-batch-from-dpo"],
        *["online-dpo-local", "online-dpo-verifier"],
    }
    for name, one in roads.items():
        assert one.name == name
        assert one.summary
        # The same checks again on plain values, as they come from a file.
        assert Road.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize("start", STARTS)
def test_every_road_descends_from_the_start(start: str):
    """Fairness rule 4: follow the starts of the last stage back to the beginning."""
    for one in atlas(start).values():
        stages = {s.name: s for s in one.stages}
        ancestors, name = [], one.last.name
        while name != "base":
            ancestors.append(name)
            name = stages[name].start
        if start != "base":
            assert start in ancestors
        # Nothing trains beside the road: every stage is needed by the last one.
        needed, todo = set(), [one.last.name]
        while todo:
            needed.add(now := todo.pop())
            todo += [n for n in stages[now].needs() if n not in needed]
        assert needed == set(stages)


def test_an_unknown_start_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"start 'sft_chosen' is unknown: did you mean 'sft-chos"):
        atlas("sft_chosen")


def test_the_recipe_is_the_one_source_of_schedules_and_sizes():
    recipe = Recipe(
        sft=Schedule(learning_rate=0.1),
        reward=Schedule(learning_rate=0.2),
        policy=Schedule(learning_rate=0.3),
        online=Schedule(learning_rate=0.4, rounds=7),
        reading="head-last",
        batch_samples=25,
        group=6,
    )
    roads = atlas("sft", recipe)
    rates = {
        (name, s.name): s.schedule.learning_rate for name, one in roads.items() for s in one.stages
    }
    assert rates["sft", "sft"] == rates["sft-chosen", "sft-chosen"] == 0.1
    assert rates["reward-model", "reward-model"] == rates["local-rm", "local-rm"] == 0.2
    assert rates["dpo", "dpo"] == rates["online-dpo-batch", "online-dpo"] == 0.3
    assert rates["online-dpo", "online-dpo"] == rates["rloo", "rloo"] == 0.4
    assert roads["reward-model"].last.objective.score == "head-last"
    assert roads["online-dpo-batch"].last.source.per_prompt == 25
    assert roads["rloo"].last.source.per_prompt == 6


# Controls: rows that differ in one named thing ----------------------------------------------------


def changed(a: Road, b: Road) -> set[str]:
    return {field for field, _, _ in differences(a, b)}


@pytest.mark.parametrize("start", STARTS)
def test_global_and_local_reward_models_differ_in_what_they_score_alone(start: str):
    roads = atlas(start)
    assert differences(roads["reward-model"], roads["local-rm"]) == [
        ("last.objective.score", "head-sum", "implicit"),
        ("last.objective.reference", "None", start),
    ]


def test_dpo_and_the_local_reward_model_differ_in_the_schedule_alone():
    roads = atlas()
    assert differences(roads["local-rm"], roads["dpo"]) == [("last.schedule.epochs", "4", "2")]
    same = Recipe(policy=Schedule(epochs=4))
    assert changed(atlas("sft", same)["local-rm"], atlas("sft", same)["dpo"]) == set()


def test_the_verifier_road_differs_in_the_labeller():
    roads = atlas()
    fields = changed(roads["online-dpo"], roads["online-dpo-verifier"])
    assert {f for f in fields if f.startswith("last.")} == {"last.labeller"}
    assert {f.split(".")[0] for f in fields} == {"last", "reward-model"}


def test_starting_from_dpo_changes_start_and_reference():
    roads = atlas()
    fields = changed(roads["online-dpo"], roads["online-dpo-from-dpo"])
    assert {f for f in fields if f.startswith("last.")} == {
        "last.start",
        "last.objective.reference",
    }


def test_a_road_does_not_differ_from_itself_and_differences_swap():
    roads = atlas()
    for a in roads.values():
        assert differences(a, a) == []
        for b in roads.values():
            swapped = sorted((field, y, x) for field, x, y in differences(b, a))
            assert sorted(differences(a, b)) == swapped


# The knob ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
def test_knobs(start: str):
    knobs = {name: one.knob for name, one in atlas(start).items()}
    fixed = {"sft", "sft-chosen", "reward-model"}
    assert {n for n, knob in knobs.items() if knob == ""} == fixed & set(knobs)
    assert {n for n, knob in knobs.items() if knob == "N"} == {"best-of-n", "best-of-n-local"}


@pytest.mark.parametrize("name", sorted(atlas()))
def test_at_sets_everything_that_is_open_and_nothing_else(name: str):
    before = atlas()[name]
    after = before.at(4)
    assert after.knob == ""
    for old, new in zip(before.stages, after.stages, strict=True):
        beta, count = old.objective.beta, old.source.per_prompt
        if before.knob == "beta" and old.objective.uses_beta and beta is None:
            beta = 4
        assert new.objective == old.objective.model_copy(update={"beta": beta})
        assert new.source.per_prompt == (4 if count is None else count)
        assert new.schedule == old.schedule
    assert Road.model_validate(after.model_dump()) == after


def test_at_leaves_a_given_beta_alone():
    local = atlas()["best-of-n-local"].at(8)
    assert [s.objective.beta for s in local.stages] == [None, 0.5, None]
    assert local.last.source.per_prompt == 8


@pytest.mark.parametrize("name", ["dpo", "best-of-n"])
def test_a_knob_without_a_value_is_refused(name: str):
    with pytest.raises(ConfigError, match=f"road {name!r} needs a value for (beta|N)"):
        atlas()[name].at(None)


def test_a_road_without_a_knob_stays_as_it_is():
    sft = atlas()["sft"]
    assert sft.at(None) is sft
    assert sft.at(3.0) is sft


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("dpo", -0.1, r"stage 'dpo': beta must be positive, got -0\.1"),
        ("dpo", 0.0, r"stage 'dpo': beta must be positive, got 0\.0"),
        ("best-of-n", 0, "needs at least 1 completions per prompt, found 0"),
        ("best-of-n", 2.5, r"road 'best-of-n': N must be a whole number, got 2\.5"),
    ],
)
def test_an_impossible_knob_is_refused(name: str, value: float, why: str):
    with pytest.raises(ConfigError, match=why):
        atlas()[name].at(value)


# Illegal combinations, each with its reason -------------------------------------------------------


def test_what_the_pick_yields_is_what_the_loss_takes():
    for loss in LOSSES.values():
        reference = "start" if loss.needs_reference else None
        objective = Objective(loss=loss.name, score=loss.scores[0], reference=reference, beta=1.0)  # type: ignore[arg-type]
        for pick, yields in (("winners", "single"), ("two", "pair"), ("group", "group")):
            source = Source(who="policy", per_prompt=2)
            if yields == loss.takes:
                assert online(pick, source=source, objective=objective).yields == yields
            else:
                with pytest.raises(
                    ConfigError,
                    match=f"pick {pick!r} yields a {yields}, but loss {loss.name!r} takes a",
                ):
                    online(pick, source=source, objective=objective)


@pytest.mark.parametrize(
    ("why", "make"),
    [
        (
            r"stage 's': pick 'two' cannot be made from pairs; possible: as-given, winners",
            lambda: stage(pick="two"),
        ),
        (
            r"pick 'winners' cannot be made from demonstrations; possible: as-given",
            lambda: stage(source=Source(who="demonstrations"), pick="winners"),
        ),
        (
            r"pick 'as-given' cannot be made from sampled completions; possible: best-worst, group",
            lambda: online("as-given"),
        ),
        (
            r"loss 'bradly-terry' is unknown: did you mean 'bradley-terry'\?",
            lambda: stage(objective=Objective(loss="bradly-terry", score="implicit")),
        ),
        (
            r"loss 'xyz' is unknown: valid: bradley-terry, likelihood, none, rloo",
            lambda: stage(objective=Objective(loss="xyz")),
        ),
        (
            r"loss 'bradley-terry' works on implicit or head-last .* found score 'log-prob'",
            lambda: stage(objective=Objective(loss="bradley-terry")),
        ),
        (
            r"loss 'rloo' needs a reference",
            lambda: online("group", objective=Objective(loss="rloo", beta=1.0)),
        ),
        (
            r"a reward model writes no completions; source cannot be 'self'",
            lambda: online(objective=HEAD),
        ),
        (
            r"beta must be positive, got 0.0",
            lambda: stage(objective=IMPLICIT.model_copy(update={"beta": 0.0})),
        ),
        (
            r"sampled completions need a labeller .* found 'none'",
            lambda: online(labeller="none"),
        ),
        (
            r"sampled completions need a labeller .* found 'data'",
            lambda: online(labeller="data"),
        ),
        (
            r"source 'pairs' is labelled by 'data', found 'reward-model'",
            lambda: stage(labeller="reward-model"),
        ),
        (
            r"source 'demonstrations' is labelled by 'none', found 'data'",
            lambda: stage(
                source=Source(who="demonstrations"), objective=Objective(loss="likelihood")
            ),
        ),
        (
            r"pick 'best-worst' needs at least 2 completions per prompt, found 1",
            lambda: online("best-worst", 1),
        ),
        (
            r"pick 'two' needs at least 2 completions per prompt, found 1",
            lambda: online("two", 1),
        ),
        (
            r"pick 'group' needs at least 2 completions per prompt, found 1",
            lambda: online("group", 1, objective=RLOO),
        ),
        (
            r"pick 'winners' needs at least 1 completions per prompt, found 0",
            lambda: online("winners", 0, objective=Objective(loss="none")),
        ),
        (
            r"loss 'none' is best-of-N: .* found source 'pairs', pick 'as-given'",
            lambda: stage(objective=Objective(loss="none")),
        ),
        (
            r"loss 'none' is best-of-N: .* found source 'self', pick 'two'",
            lambda: online(objective=Objective(loss="none")),
        ),
    ],
)
def test_an_illegal_stage_is_refused_with_its_reason(why: str, make):
    with pytest.raises(ConfigError, match=why):
        make()


REWARD_MODEL = stage(name="reward-model", start="sft", objective=HEAD)
BEST_OF_N = online(
    "winners",
    8,
    name="best-of-n",
    source=Source(who="sft", per_prompt=8),
    labeller="reward-model",
    objective=Objective(loss="none"),
)


@pytest.mark.parametrize(
    ("why", "stages"),
    [
        (r"two stages are called 'sft'", (SFT, SFT)),
        (
            r"stage 's' needs 'stf', which is no earlier stage: did you mean 'sft'\?",
            (SFT, stage(start="stf")),
        ),
        (r"stage 's' needs 's', which is no earlier stage", (SFT, stage(start="s"))),
        (
            r"stage 's' needs 's', which is no earlier stage",
            (SFT, stage(objective=IMPLICIT.model_copy(update={"reference": "s"}))),
        ),
        (r"stage 's' needs 's', which is no earlier", (SFT, online(labeller="s"))),
        (
            r"stage 's' needs 's', which is no earlier",
            (SFT, online(source=Source(who="s", per_prompt=2))),
        ),
        (r"stage 'reward-model' needs 'sft', which is no earlier", (REWARD_MODEL, SFT)),
        (
            r"stage 's' starts from 'reward-model', which is a reward model, not a policy",
            (SFT, REWARD_MODEL, stage(start="reward-model")),
        ),
        (
            r"stage 's' samples from 'reward-model', which is a reward model, not a policy",
            (SFT, REWARD_MODEL, online(source=Source(who="reward-model", per_prompt=2))),
        ),
        (
            r"stage 's' starts from 'best-of-n', which is a best-of-n, not a policy",
            (SFT, REWARD_MODEL, BEST_OF_N, stage(start="best-of-n")),
        ),
    ],
)
def test_an_illegal_road_is_refused_with_its_reason(why: str, stages: tuple[Stage, ...]):
    with pytest.raises(ConfigError, match=f"road 'r': {why}"):
        road(*stages)


REFERS_TO_HEAD = IMPLICIT.model_copy(update={"reference": "reward-model"})
REFERS_TO_N = IMPLICIT.model_copy(update={"reference": "best-of-n"})


@pytest.mark.parametrize(
    ("why", "stages"),
    [
        (
            "refers to 'reward-model', which is a reward model, not a policy",
            (SFT, REWARD_MODEL, stage(objective=REFERS_TO_HEAD)),
        ),
        (
            "refers to 'best-of-n', which is a best-of-n, not a policy",
            (SFT, REWARD_MODEL, BEST_OF_N, stage(objective=REFERS_TO_N)),
        ),
        (
            "is labelled by 'best-of-n', which is a best-of-n, not a reward model",
            (SFT, REWARD_MODEL, BEST_OF_N, online(labeller="best-of-n")),
        ),
        (
            "is labelled by 'sft', which is a policy, not a reward model or local reward model",
            (SFT, online(labeller="sft")),
        ),
    ],
)
def test_a_stage_in_a_role_that_it_cannot_fill_is_refused(why: str, stages: tuple[Stage, ...]):
    with pytest.raises(ConfigError, match=f"road 'r': stage 's' {why}"):
        road(*stages)


@pytest.mark.parametrize(
    ("why", "make"),
    [
        ("start cannot be 'self'", lambda: stage(start="self")),
        ("start cannot be 'pairs'", lambda: stage(start="pairs")),
        ("source cannot be 'data'", lambda: online(source=Source(who="data", per_prompt=2))),
        ("labeller cannot be 'pairs'", lambda: online(labeller="pairs")),
        (
            "reference cannot be 'verifier'",
            lambda: stage(objective=IMPLICIT.model_copy(update={"reference": "verifier"})),
        ),
    ],
)
def test_a_reserved_word_of_another_field_is_refused(why: str, make):
    with pytest.raises(ConfigError, match=f"stage 's': {why}; it is the name of an earlier"):
        make()


@pytest.mark.parametrize(
    "word", ["base", "self", "data", "pairs", "demonstrations", "verifier", "none", "start"]
)
def test_no_stage_is_called_by_a_reserved_word(word: str):
    with pytest.raises(ConfigError, match=f"a stage cannot be called {word!r}"):
        stage(name=word)


def test_two_open_knobs_are_refused():
    roads = atlas()
    local, best = roads["local-rm"].stages[-1], roads["best-of-n-local"].stages[-1]
    with pytest.raises(ConfigError, match="road 'r' leaves both N and beta open"):
        road(SFT, local, best)


def test_samples_drawn_once_have_one_round():
    source = Source(who="self", per_prompt=2, refresh="once")
    with pytest.raises(ConfigError, match=r"refresh 'once' samples a single time, but .* 3 rounds"):
        online(source=source, schedule=Schedule(rounds=3))


def test_an_empty_road_is_refused():
    with pytest.raises(ValidationError, match="stages"):
        Road(name="r", stages=())


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Source.model_validate({"who": "pairs", "per_promt": 2}), "per_promt"),
        (lambda: Objective.model_validate({"loss": "rloo", "betta": 1}), "betta"),
        (lambda: Schedule.model_validate({"lr": 1e-3}), "lr"),
        (lambda: stage(rounds=3), "rounds"),
        (lambda: Road.model_validate({"name": "r", "stages": [SFT], "stage": 1}), "stage"),
        (lambda: Recipe.model_validate({"groups": 4}), "groups"),
    ],
)
def test_an_unknown_key_is_refused(make, key: str):
    with pytest.raises(ValidationError, match=rf"{key}\s+Extra inputs are not permitted"):
        make()


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": -1.0}, {"batch_size": 0}, {"epochs": 0}, {"rounds": 0}, {"warmup": 1.5},
        {"decay": "step"}, {"weight_decay": -1.0}, {"gradient_clip": 0.0},
    ],
)  # fmt: skip
def test_an_impossible_schedule_is_refused(wrong: dict):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Schedule(**wrong)


def test_choices_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        SFT.name = "other"  # type: ignore[misc]


def test_what_a_stage_makes_and_needs():
    assert (SFT.makes, SFT.trains, SFT.needs()) == ("policy", True, set())
    assert (REWARD_MODEL.makes, REWARD_MODEL.trains) == ("reward model", True)
    assert REWARD_MODEL.needs() == {"sft"}
    assert (BEST_OF_N.makes, BEST_OF_N.trains) == ("policy", False)
    assert BEST_OF_N.needs() == {"sft", "reward-model"}
    dpo = stage(start="a", objective=IMPLICIT.model_copy(update={"reference": "b"}))
    assert dpo.needs() == {"a", "b"}
