"""The contract speaks of every road: a new one joins by standing in the table."""

from __future__ import annotations

import pytest

from allroads.roads.atlas import atlas
from tests.roads.contract import copying
from tests.roads.problem import RECIPE, STAGES, WHERE, kinds_of


def test_every_stage_that_trains_stands_for_itself_or_by_one_that_does_the_same():
    table = atlas("sft", RECIPE)
    trained = {(r.name, s.name) for r in table.values() for s in r.stages if s.trains}
    assert set(WHERE) == trained
    assert set(WHERE.values()) == set(STAGES) == set(copying.STAGES)
    # Every road that ends in training ends in a row of the contract, most in one of its own.
    assert all(WHERE[r.name, r.last.name] in STAGES for r in table.values() if r.last.trains)


@pytest.mark.parametrize("start", ["sft-chosen", "base"])
def test_another_start_makes_no_road_that_the_contract_does_not_know(start: str):
    """Where a road begins is given to it: what it does is the same from every start."""
    assert set(kinds_of(atlas(start, RECIPE))[0]) <= set(STAGES)


def test_what_differs_is_a_row_of_its_own():
    """A factor of beta, a pick or an advantage apart, and no two rows do the same."""
    dumps = {
        stage.model_copy(update={"name": "", "start": ""}).model_dump_json()
        for stage in STAGES.values()
    }
    assert len(dumps) == len(STAGES)
    assert {"dpo", "cdpo", "rloo", "reinforce", "grpo", "dr-grpo", "online-dpo-batch"} <= set(
        STAGES
    )
