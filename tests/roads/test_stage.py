"""A road is a list of stages: every named road is legal, every illegal one is refused by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from allroads.errors import ConfigError
from allroads.roads.atlas import Recipe, atlas
from allroads.roads.choices import Critic, Objective, Schedule, Source
from allroads.roads.differences import differences
from allroads.roads.losses import LOSSES
from allroads.roads.stage import Road, Stage

STARTS = ("sft", "sft-chosen", "base")

SFT = Stage(name="sft", source=Source(who="demonstrations"), objective=Objective(loss="likelihood"))
IMPLICIT = Objective(loss="bradley-terry", score="implicit", reference="start", beta=0.1)
HEAD = Objective(loss="bradley-terry", score="head-sum")
RLOO = Objective(
    loss="policy-gradient", reference="start", beta=0.1, advantage="leave-one-out", kl="reward"
)
PPO = Objective(
    loss="clipped", reference="start", beta=0.1, advantage="lambda", kl="reward", critic=Critic()
)


def stage(**changes: object) -> Stage:
    """Offline DPO, with changes."""
    choices = dict(name="s", source=Source(who="pairs"), labeller="data", objective=IMPLICIT)
    return Stage.model_validate({**choices, **changes})


def online(pick: str = "two", per_prompt: int | None = 2, **changes: object) -> Stage:
    """Online DPO by the verifier, with changes."""
    source = Source(who="self", per_prompt=per_prompt, refresh="update")
    return stage(**{"source": source, "labeller": "verifier", "pick": pick, **changes})


def with_objective(objective: Objective, **changes: object) -> Stage:
    """Groups of two by the verifier, with a changed objective."""
    return online("group", objective=objective.model_copy(update=changes))


def road(*stages: Stage) -> Road:
    return Road(name="r", stages=stages)


# The atlas --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
def test_every_named_road_is_legal_from_every_start(start: str):
    roads = atlas(start)
    assert set(roads) == {
        *(["sft"] if start == "sft" else []),
        *["sft-chosen", "reward-model", "local-rm", "best-of-n", "best-of-n-local"],
        *["dpo", "ipo", "simpo", "kto", "slic", "cdpo", "orpo", "dpo-relabelled", "spin"],
        *["rejection-sampling", "rloo", "reinforce", "rebel", "grpo", "dr-grpo", "ppo"],
        *["online-dpo", "online-dpo-from-dpo", "online-dpo-batch", "online-dpo-batch-from-dpo"],
        *["online-dpo-local", "online-dpo-verifier", "online-ipo"],
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
    fixed = {"sft", "sft-chosen", "reward-model", "orpo", "rejection-sampling"}
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


ONE_OF_EACH = {
    name: one
    for name, loss in LOSSES.items()
    for one in [
        Objective(
            loss=name,
            score=loss.scores[0],  # type: ignore[arg-type]
            reference="start",
            beta=1.0,
            advantage="centred" if "advantage" in loss.reads else "none",
        )
    ]
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_the_pick_yields_is_what_the_loss_takes(loss: str):
    takes, objective = LOSSES[loss].takes, ONE_OF_EACH[loss]
    for pick, yields in (("winners", "single"), ("two", "pair"), ("group", "group")):
        source = Source(who="policy", per_prompt=2)
        if yields == takes:
            assert online(pick, source=source, objective=objective).yields == yields
        else:
            with pytest.raises(
                ConfigError, match=f"pick {pick!r} yields a {yields}, but loss {loss!r} takes a"
            ):
                online(pick, source=source, objective=objective)


OTHER_THAN_USUAL = {
    "beta_factor": 2.0,
    "over_tokens": "mean",
    "margin": 0.5,
    "smoothing": 0.1,
    "weight": 0.5,
    "eta": 2.0,
    "advantage": "centred",
    "kl": "reward",
    "clip": 0.1,
    "normalise": "sequence",
}


@pytest.mark.parametrize("option", OTHER_THAN_USUAL)
@pytest.mark.parametrize("loss", LOSSES)
def test_an_option_that_the_loss_does_not_read_is_refused(loss: str, option: str):
    """A choice that changes nothing would be a lie in the report."""
    row = LOSSES[loss]
    objective = Objective.model_validate(
        {**dict(ONE_OF_EACH[loss]), option: OTHER_THAN_USUAL[option]}
    )
    source = Source(who="policy", per_prompt=2)
    pick = {"single": "winners", "pair": "two", "group": "group"}[row.takes]
    if option in row.reads:
        assert getattr(online(pick, source=source, objective=objective).objective, option)
    else:
        with pytest.raises(ConfigError, match=f"loss {loss!r} does not read {option!r}; leave it"):
            online(pick, source=source, objective=objective)


def test_every_option_is_read_by_some_loss():
    assert {o for loss in LOSSES.values() for o in loss.reads} == {*OTHER_THAN_USUAL, "critic"}


def test_the_words_of_an_objective_name_what_is_unusual():
    assert IMPLICIT.words == "bradley-terry on implicit against start"
    assert PPO.words == (
        "clipped on log-prob against start (advantage lambda, kl reward, critic start)"
    )
    assert Objective(loss="none").words == "none"


@pytest.mark.parametrize(
    ("why", "make"),
    [
        (
            r"stage 's': pick 'group' cannot be made from pairs; possible: as-given, two, winners",
            lambda: stage(pick="group"),
        ),
        (
            r"pick 'two' orders the data's pairs anew and needs a labeller .* found 'data'",
            lambda: stage(pick="two"),
        ),
        (
            r"pick 'two' orders the data's pairs anew and needs a labeller .* found 'none'",
            lambda: stage(pick="two", labeller="none"),
        ),
        (
            r"pick 'demonstrated' sets .*: source 'self', labeller 'data'; found 'self' and 'veri",
            lambda: online("demonstrated", 1),
        ),
        (
            r"pick 'demonstrated' sets .*: source 'self', labeller 'data'; found 'p' and 'data'",
            lambda: online("demonstrated", source=Source(who="p"), labeller="data"),
        ),
        (
            r"pick 'winners' cannot be made from demonstrations; possible: as-given",
            lambda: stage(source=Source(who="demonstrations"), pick="winners"),
        ),
        (
            r"pick 'as-given' cannot be made from sampled completions; possible: best-worst, demo",
            lambda: online("as-given"),
        ),
        (
            r"loss 'bradly-terry' is unknown: did you mean 'bradley-terry'\?",
            lambda: stage(objective=Objective(loss="bradly-terry", score="implicit")),
        ),
        (
            r"loss 'xyz' is unknown: valid: bradley-terry, clipped, .* rebel",
            lambda: stage(objective=Objective(loss="xyz")),
        ),
        (
            r"loss 'bradley-terry' works on implicit or head-last .* found score 'log-prob'",
            lambda: stage(objective=Objective(loss="bradley-terry")),
        ),
        (
            r"kl 'reward' needs a reference to measure it from",
            lambda: with_objective(RLOO, reference=None),
        ),
        (
            r"loss 'policy-gradient' needs an advantage: one of 'leave-one-out', .*, 'lambda'",
            lambda: with_objective(RLOO, advantage="none"),
        ),
        (
            r"advantage 'lambda' and a critic go together; found 'lambda' and no critic",
            lambda: with_objective(PPO, critic=None),
        ),
        (
            r"advantage 'lambda' and a critic go together; found 'centred' and a critic",
            lambda: with_objective(PPO, advantage="centred"),
        ),
        (
            r"advantage 'lambda' and a critic go together; found 'lambda' and no critic",
            lambda: with_objective(RLOO, advantage="lambda"),
        ),
        (
            r"loss 'policy-gradient' does not read 'critic'; leave it out",
            lambda: with_objective(RLOO, advantage="lambda", critic=Critic()),
        ),
        (
            r"kl 'loss' is for losses by token; loss 'policy-gradient' takes it in the reward",
            lambda: with_objective(RLOO, kl="loss"),
        ),
        (
            r"kl 'loss' is for losses by token; loss 'rebel' takes it in the reward",
            lambda: with_objective(RLOO, loss="rebel", advantage="none", kl="loss"),
        ),
        (
            r"over_tokens 'mean' is for score 'implicit', found 'head-sum'",
            lambda: stage(objective=HEAD.model_copy(update={"over_tokens": "mean"})),
        ),
        (
            r"reference 'writer' is this stage's own policy of the round, for source 'self' and w",
            lambda: stage(objective=IMPLICIT.model_copy(update={"reference": "writer"})),
        ),
        (
            r"reference 'writer' is this stage's own policy of the round, for source 'self' and w",
            lambda: with_objective(RLOO, reference="writer"),
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
            r"pick 'group' needs at least 2 completions per prompt, found 1",
            lambda: online("group", 1, objective=Objective(loss="rebel")),
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
            "has a critic from 'sft', which is a policy, not a reward model",
            (SFT, with_objective(PPO, critic=Critic(start="sft"))),
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


@pytest.mark.parametrize("advantage", ["others", "lambda"])
def test_one_completion_is_enough_where_the_baseline_is_not_its_group(advantage: str):
    objective = PPO if advantage == "lambda" else RLOO.model_copy(update={"advantage": "others"})
    assert online("group", 1, objective=objective).yields == "group"


def test_a_critic_names_its_reward_model():
    critic = with_objective(PPO, critic=Critic(start="reward-model"))
    assert critic.critic == "reward-model"
    assert critic.needs() == {"reward-model"}
    assert (with_objective(PPO).critic, with_objective(PPO).needs()) == ("start", set())
    assert road(SFT, REWARD_MODEL, critic).last == critic
    with pytest.raises(ConfigError, match="critic cannot be 'verifier'"):
        with_objective(PPO, critic=Critic(start="verifier"))


def test_beta_means_something_where_there_is_a_price():
    """An implicit reward and a KL have one; a plain expected reward and an odds ratio do not."""
    assert IMPLICIT.uses_beta
    assert RLOO.uses_beta
    assert not RLOO.model_copy(update={"kl": "none"}).uses_beta
    assert not Objective(loss="odds-ratio").uses_beta
    assert IMPLICIT.model_copy(update={"beta": 0.1, "beta_factor": 20.0}).price == 2.0
    with pytest.raises(ValueError, match="beta is not given yet"):
        IMPLICIT.model_copy(update={"beta": None}).price  # noqa: B018


def test_an_empty_road_is_refused():
    with pytest.raises(ValidationError, match="stages"):
        Road(name="r", stages=())


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Source.model_validate({"who": "pairs", "per_promt": 2}), "per_promt"),
        (lambda: Objective.model_validate({"loss": "rebel", "betta": 1}), "betta"),
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
