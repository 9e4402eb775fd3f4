from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from allroads.errors import ConfigError
from allroads.lab.study.claims import above
from allroads.lab.study.further import further
from allroads.lab.study.hypotheses import HYPOTHESES, best_first, chosen
from allroads.lab.study.hypothesis import merged
from allroads.lab.study.rules import Test
from allroads.lab.study.statistics import Difference
from allroads.lab.study.variants import VARIANTS, variant
from allroads.roads.atlas import all_controls, every_road
from allroads.roads.relabel import named

EVERY = merged(case.needs for one in HYPOTHESES.values() for case in one.cases)
SCORERS = {"margins/test", "margins/paraphrased"}


@pytest.mark.parametrize("name", list(HYPOTHESES))
def test_what_a_hypothesis_reads_can_be_run(name: str):
    known = every_road()
    for case in HYPOTHESES[name].cases:
        assert case.variant in VARIANTS
        for test in (*case.premises, *case.tests):
            for world, arm, kind in test.statistic.needs:
                assert world in VARIANTS
                purpose = named(arm, known).purpose
                assert (purpose == "policy") or kind in SCORERS


def test_a_world_of_text_without_a_model_says_so():
    with pytest.raises(ConfigError, match="'sentiment' needs --model"):
        variant("sentiment").config(("sft",), (0,))


@pytest.mark.parametrize("name", [v.name for v in VARIANTS.values() if not v.needs_model])
def test_a_variant_is_a_comparison(name: str):
    config = variant(name).config(("sft", "dpo"), (7,), rate=0.5)
    usual = variant(name).config(("sft", "dpo"), (7,))
    assert config.recipe is not None
    assert usual.recipe is not None
    assert config.recipe.policy.learning_rate == usual.recipe.policy.learning_rate / 2
    assert config.recipe.sft == usual.recipe.sft
    assert config.recipe.reward == usual.recipe.reward
    assert config.pool == 2 * max(config.ns)


def test_what_is_registered_changes_with_every_part_of_the_prediction():
    one = HYPOTHESES["gap"]
    (case,) = one.cases
    texts = {one.says}
    for test in (
        Test(Difference("routes", "online-dpo", "dpo"), above(0.04)),
        Test(Difference("routes", "rloo", "dpo"), above(0.03)),
        Test(Difference("secret", "online-dpo", "dpo"), above(0.03)),
    ):
        changed = dataclasses.replace(case, tests=(test,))
        texts.add(dataclasses.replace(one, cases=(changed,)).says)
    texts.add(dataclasses.replace(one, prediction="online-dpo is below dpo").says)
    assert len(texts) == 5
    assert dataclasses.replace(one, file=Path("elsewhere.py")).says == one.says


def test_hypotheses_are_chosen_by_name_and_world():
    assert [one.name for one in chosen(["H6", "gap"])] == ["gap", "H6"]
    assert {one.name for one in chosen(["all"], "secret")} == {"H6", "elsewhere"}
    with pytest.raises(ConfigError, match="did you mean 'gap'"):
        chosen(["gab"])
    with pytest.raises(ConfigError, match="no case of H3"):
        chosen(["H3"], "secret")


def test_a_short_budget_holds_the_main_arms():
    needs = merged(case.needs for one in best_first(chosen(["all"])) for case in one.cases)
    first = ["online-dpo", "dpo", "best-of-n", "dpo-relabelled", "online-dpo-margin"]
    assert {*first, "online-dpo@local-rm"} <= set(list(needs["routes"])[:10])
    assert needs == EVERY


def test_frontiers_and_scorers_are_read_at_every_setting_rewards_at_the_tuned_one():
    (case,) = HYPOTHESES["H2"].cases
    assert case.needs == {"routes": {"online-dpo": True, "dpo": True}}
    assert merged([case.needs, HYPOTHESES["gap"].cases[0].needs]) == case.needs
    assert HYPOTHESES["gap"].cases[0].needs == {"routes": {"online-dpo": False, "dpo": False}}
    labels, _ = HYPOTHESES["H5"].cases
    assert labels.needs["routes"] == {
        "reward-model": True,
        "local-rm": True,
        "best-of-n": False,
        "best-of-n-local": False,
    }


def test_every_control_is_run_on_the_main_world_but_those_that_are_a_road_under_another_name():
    run = merged([EVERY, further()])
    known = every_road()
    assert {named(arm, known).name for arms in run.values() for arm in arms}
    same = {"reward-model-sum", "online-dpo-head-sum"}
    assert set(all_controls()) - set(run["routes"]) == same
    assert further("secret") == {"secret": further()["secret"]}
