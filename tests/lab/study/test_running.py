from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from allroads.errors import ConfigError
from allroads.lab.study.lines import Cell, PolicyLine, ScorerLine, Store, key_of
from allroads.lab.study.running import CONFIRMATORY, Batch, Place, missing, run
from allroads.lab.study.variants import Variant
from allroads.roads.atlas import Recipe
from tests.lab.tiny import FIELDS

TINY = Variant(
    name="tiny",
    says="seconds, not minutes",
    world="routes",
    options=FIELDS["world_options"],
    sizes=FIELDS["sizes"],
    recipe=Recipe.model_validate({**FIELDS["recipe"], "online": {"rounds": 1, "batch_size": 8}}),
    betas=(0.5,),
    ns=(2,),
)
SEED = CONFIRMATORY


def batch(**changes: object) -> Batch:
    return dataclasses.replace(
        Batch(variant=TINY, arms=("dpo", "best-of-n"), seeds=(SEED,)), **changes
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, list[Cell]]:
    """A batch that was interrupted at once, and then run to its end."""
    folder = tmp_path_factory.mktemp("study")
    place = Place(store=Store(folder / "results"), work=folder / "work", processes=1)
    told: list[Cell] = []
    late = dataclasses.replace(place, until=time.monotonic() - 1)
    assert run(batch(), late, told.append) == missing(batch(), place) > 0
    assert told == []
    assert run(batch(), place, told.append) == 0
    return place, told


def test_every_cell_is_a_line(done: tuple[Place, list[Cell]]):
    place, told = done
    lines = list(place.store.cells("tiny"))
    assert sorted(map(key_of, lines)) == sorted(map(key_of, told))
    assert {(x.arm, x.value) for x in lines if isinstance(x, PolicyLine)} == {
        ("sft", None),
        ("dpo", 0.5),
        ("best-of-n", 2),
    }
    assert {x.arm for x in lines if isinstance(x, ScorerLine)} == {
        "reward-model",
        "selection-scorer",
        "dpo",
    }
    for line in lines:
        assert line.seed == SEED
        if isinstance(line, PolicyLine):
            assert all(len(one.reward) == 30 for one in line.moments)
        else:
            assert len(line.margins["test"]) == len(line.prompts)


def test_a_dpo_cell_has_its_labels_and_moments(done: tuple[Place, list[Cell]]):
    line = next(x for x in done[1] if isinstance(x, PolicyLine) and x.arm == "dpo")
    assert [one.fraction for one in line.moments] == [0.5, 1.0]
    assert 0 < line.labels <= FIELDS["sizes"]["pairs"]
    assert line.outside_queries == 0
    assert all(np.isfinite(one.selection) for one in line.moments)


def test_nothing_is_run_twice_not_even_without_the_checkpoints(done: tuple[Place, list[Cell]]):
    place, _ = done
    away = dataclasses.replace(place, work=place.work.with_name("away"))
    assert missing(batch(), away) == 0
    assert run(batch(), away, lambda _: pytest.fail("run again")) == 0
    assert not away.work.exists()


def test_another_rate_is_another_cell_only_where_it_changes_something(
    done: tuple[Place, list[Cell]],
):
    # Likelihood, the reward models and best-of-N's policy keep their rates.
    assert missing(batch(rate=2.0), done[0]) == 2  # dpo as a policy and as a scorer


def test_a_spent_seed_confirms_no_changed_arm(done: tuple[Place, list[Cell]]):
    place, _ = done
    changed = TINY.model_copy(update={"sizes": {**TINY.sizes, "pairs": 100}})
    with pytest.raises(ConfigError, match=r"tiny, .*seed 1000.*fresh seeds"):
        run(batch(variant=changed), place, lambda _: None)
    assert missing(batch(variant=changed, seeds=(3,)), place) > 0


def test_work_may_be_deleted_between_two_runs(done: tuple[Place, list[Cell]], tmp_path: Path):
    place, told = done
    copy = Place(store=Store(tmp_path / "results"), work=place.work, processes=1)
    again: list[Cell] = []
    assert run(batch(), copy, again.append) == 0
    plain = [line.model_dump(exclude={"created"}) for line in again]
    for line in told:
        assert line.model_dump(exclude={"created"}) in plain
    shutil.rmtree(place.work, ignore_errors=True)
    assert missing(batch(), place) == 0
