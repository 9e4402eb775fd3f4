"""The calibration study: its worlds, what is read of them, and that nothing is run twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from allroads.diagnoses import ONLINE
from allroads.diagnosis.model import fitted
from allroads.lab.study.lines import Store
from allroads.lab.study.measured import NoEstimate
from allroads.lab.study.prediction import collecting, document, running
from allroads.lab.study.prediction.endings import endings
from allroads.lab.study.prediction.measured import (
    ROADS,
    SEEDS,
    EvidenceLine,
    evidence_lines,
    gain,
    keep,
    measured_worlds,
    table_of,
)
from allroads.lab.study.prediction.worlds import FAMILIES, WORLDS
from allroads.lab.study.running import Place
from allroads.lab.study.table import TUNING, Table
from allroads.report import blocks
from tests.diagnosis import made
from tests.lab.study.making import moment, policy

NAME = "routes-few"
RESULTS = Path(__file__).parents[4] / "results"


def line(world: str = NAME, **changes: Any) -> EvidenceLine:
    features = {"accuracy": (0.05, 0.01, 0.09), "bits": (0.1, 0.0, 0.2)}
    fields = {
        "world": world,
        "seed": 0,
        "features": {"labels": features, "truth": {**features, "search": (0.2, 0.1, 0.3)}},
        "numbers": {"own": -2.0},
        "longest": 8.0,
        "flops": 7.0,
        "seconds": 1.0,
        "revision": "abc",
        "created": "now",
    }
    return EvidenceLine(**{**fields, **changes})


def fill(results: Path, world: str = NAME, lead: float = 0.2) -> Store:
    """Every road beats offline on three prompts of four and ties on the fourth."""
    store = Store(results)
    for seed in SEEDS:
        ground = [0.1, 0.2, 0.3, 0.4]
        better = [0.1 + lead, 0.2 + lead, 0.3 + lead, 0.4]
        store.add(policy("sft", seed, ground, variant=world))
        store.add(policy("dpo", seed, ground, 0.3, variant=world, flops=3.0))
        for road in ROADS:
            store.add(policy(road, seed, better, 0.3, variant=world, flops=5.0))
    return store


def test_the_study_is_wide_enough():
    assert len(WORLDS) >= 40
    families = set(FAMILIES.values())
    assert len(families) >= 6
    assert set(FAMILIES) == set(WORLDS)


def test_best_of_n_gives_one_answer_as_every_policy_does():
    # A mean over a larger pool is above or below every single answer's reward of 0 or 1, so that
    # P(one beats the other) would compare what cannot be compared.
    for variant in WORLDS.values():
        config = variant.config(("best-of-n",), (0,))
        assert (config.ns, config.pool) == ((8,), 8)


def test_families_take_turns():
    families = [FAMILIES[name] for name in WORLDS]
    first = families[: len(set(families))]
    assert len(set(first)) == len(first)


def test_the_gain_is_the_share_of_prompts_won_less_a_half(tmp_path: Path):
    found = gain(Table(fill(tmp_path)), NAME, "rloo")
    assert found.value == pytest.approx((3 * 1 + 0.5) / 4 - 0.5)
    worse = Table(fill(tmp_path / "worse", lead=-0.05))
    assert gain(worse, NAME, "rloo").value == pytest.approx(-0.375)


def test_settings_lie_within_a_fifth_of_an_answers_entropy(tmp_path: Path):
    results = tmp_path / "prediction"
    store = fill(results)
    for seed in SEEDS:
        far = moment([9.0] * 4, kl=2.5)
        store.add(policy("online-dpo", seed, [], 1.0, variant=NAME, moments=(far,)))
    # 2.5 nats are a fifth of 12.5, answers of 8 tokens with 1.5625 nats each; no price is paid.
    keep(line(numbers={"own": -1.57}), results)
    assert table_of(results).setting(NAME, "online-dpo").value == 1.0
    keep(line(numbers={"own": -1.55}), results)
    assert table_of(results).setting(NAME, "online-dpo").value == 0.3


def test_settings_are_tuned_before_a_gain_is_read(tmp_path: Path):
    store = Store(tmp_path)
    for arm, value in (("sft", None), ("dpo", 0.3), ("online-dpo", 0.3)):
        store.add(policy(arm, TUNING[0], [0.1, 0.2], value, variant=NAME))
    with pytest.raises(NoEstimate, match="not tuned"):
        gain(Table(store), NAME, "online-dpo")


def test_a_world_is_measured_where_gain_and_evidence_are_there(tmp_path: Path):
    results = tmp_path / "prediction"
    fill(results)
    assert measured_worlds(results, "labels", "online-dpo") == ()
    keep(line("secret-few"), results)
    assert measured_worlds(results, "labels", "online-dpo") == ()
    keep(line(flops=6.0), results)
    keep(line(), results)
    (world,) = measured_worlds(results, "truth", "online-dpo")
    assert (world.name, world.family) == (NAME, "routes")
    assert world.gain == pytest.approx(0.375)
    assert world.features["search"] == (0.2, 0.1, 0.3)
    assert set(measured_worlds(results, "labels", "rloo")[0].features) == {"accuracy", "bits"}
    # The newest line of a world counts.
    assert world.costs == {"online-dpo": 5.0, "dpo": 3.0, "evidence": 7.0}
    assert collecting.found(results) == {}
    assert "Too few" in collecting.text_of({})


def test_nothing_is_run_twice_and_what_is_late_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ran: list[str] = []

    def conducted(needs: Any, seeds: Any, place: Any, told: Any) -> list[str]:
        ran.extend(needs)
        assert place.entropies == {NAME: 16.0}
        assert set(needs[NAME]) == {"dpo", *ROADS}
        return []

    monkeypatch.setattr(running, "conduct", conducted)
    monkeypatch.setattr(running, "_evidence", lambda name, place: line(name))
    place = Place(store=Store(tmp_path / "prediction"), work=tmp_path / "work")
    told: list[str] = []
    assert running.run(place, told.append, (NAME,)) == []
    assert running.run(place, told.append, (NAME,)) == []
    assert told == [f"{NAME}: evidence"]
    assert list(evidence_lines(tmp_path / "prediction")) == [NAME]
    assert ran == [NAME, NAME]
    late = Place(store=place.store, work=place.work, until=time.monotonic() - 1)
    assert running.run(late, told.append, (NAME,)) == [f"{NAME}: the time was up"]


def test_whoever_has_no_verifier_sees_no_truth():
    grades = ((0.1, 0.2, 0.3, 0.4),) * 2
    start = made.pool(grades={"verifier": grades, "independent": grades, "truth": grades})
    both = made.evidence(start=start, offline=start)
    blind = running.without_truth(both)
    assert blind.offline is not None
    for pool in (blind.start, blind.offline):
        assert set(pool.grades) == {"verifier", "independent"}
    assert set(both.start.grades) == {"verifier", "independent", "truth"}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen worlds of as many families: online wins where the verifier is the more accurate."""
    results = tmp_path_factory.mktemp("study") / "prediction"
    for at, name in enumerate(list(WORLDS)[:16]):
        ahead = at % 2 == 0
        fill(results, name, 0.2 if ahead else -0.05)
        accuracy = (0.05 if ahead else -0.05) + 0.001 * at
        features = {"accuracy": (accuracy, accuracy, accuracy), "bits": (0.01 * at, 0.0, 0.2)}
        keep(line(name, features={"labels": features, "truth": features}), results)
    return results


def test_families_are_predicted_from_the_others(several: Path):
    found = collecting.found(several)
    assert set(found) == {"labels"}  # Nobody searched.
    assert set(found["labels"]) == set(ROADS)
    one = found["labels"]["rloo"]
    assert (one.calibration.worlds, one.calibration.signs) == (16, 1.0)
    assert one.calibration.families == 16
    assert "16 worlds of 16 families" in collecting.text_of(found)
    assert len(one.worst) == 5
    # All roads are alike here, and the advice never errs.
    regret = collecting.regret(found["labels"])
    assert regret["advice"] == 0.0
    assert regret["always rloo"] == pytest.approx(0.375 / 2)
    assert "mean regret, of all roads: advice 0.000" in collecting.text_of(found)


def test_the_documents_blocks_are_filled(several: Path):
    found, models = collecting.found(several), collecting.models(several)
    page = fill_page(document.blocks(found, models, {}))
    assert all(f"| {name} | " in page for name in list(WORLDS)[:16])
    assert "| worlds, families | 16, 16 | 16, 16 | 16, 16 |" in page
    assert "| of these right (aim: 90 %) | 100% | 100% | 100% |" in page
    assert all(f"- **labels, {road}**: gain = " in page for road in ROADS)
    nothing = document.blocks({}, collecting.models(several / "nothing"), {})
    assert fill_page(nothing).count("None") == 4


def test_a_training_is_unfinished_where_it_is_chosen_at_an_end_that_still_gained(tmp_path: Path):
    results = tmp_path / "prediction"
    store = fill(results)
    for seed in SEEDS:
        # Both gained; the selection scorer chooses the end of one, the middle of the other.
        for road, better in (("rloo", 1.0), ("online-dpo", -1.0)):
            half = moment([0.1, 0.2, 0.3, 0.4], fraction=0.5, selection=5.0)
            end = moment([0.3, 0.4, 0.5, 0.6], selection=5.0 + better)
            store.add(policy(road, seed, [], 0.7, variant=NAME, moments=(half, end)))
    keep(line(), results)
    (rloo,), (online,) = (endings(results, road) for road in ("rloo", "online-dpo"))
    assert rloo.brought.value == online.brought.value == pytest.approx(0.2)
    assert (rloo.chosen, rloo.unfinished) == (True, True)
    assert (online.chosen, online.unfinished) == (False, False)
    assert endings(results, "best-of-n") == ()  # No training, no middle.
    page = fill_page(document.blocks({}, collecting.models(results), {"rloo": (rloo,)}))
    assert f"| rloo | 1 | 1 | +0.200 | +0.200 ({NAME}) to +0.200 ({NAME}) | {NAME} |" in page


def test_what_may_as_well_be_chance_is_no_gain_of_the_end(tmp_path: Path):
    results = tmp_path / "prediction"
    store = fill(results)
    for seed, gained in zip(SEEDS, (0.2, -0.1, 0.2), strict=True):
        half = moment([0.1, 0.2, 0.3, 0.4], fraction=0.5)
        end = moment([one + gained for one in (0.1, 0.2, 0.3, 0.4)], selection=5.0)
        store.add(policy("rloo", seed, [], 0.7, variant=NAME, moments=(half, end)))
    keep(line(), results)
    (one,) = endings(results, "rloo")
    assert one.chosen
    assert one.brought.value == pytest.approx(0.1)
    assert not one.unfinished


def fill_page(every: dict[str, Any]) -> str:
    return blocks.fill(blocks.marked({name: lambda: "old\n" for name in every}), every)


def test_a_page_without_a_block_is_refused():
    with pytest.raises(ValueError, match="calibration"):
        blocks.fill("# A page\n", {"calibration": lambda: ""})
    with pytest.raises(ValueError, match="verdicts"):
        blocks.fill("<!-- study: verdicts -->\n<!-- end -->\n", {"calibration": lambda: ""})


def test_the_shipped_models_are_fitted_on_the_committed_lines():
    shipped, made = fitted(), collecting.models(RESULTS / "prediction").models
    assert set(shipped) == set(made) == {"labels", "truth"}
    for name, roads in shipped.items():
        assert list(roads) == list(made[name]) == list(ROADS)
        for road, one in roads.items():
            again = made[name][road]
            assert one.names == again.names == collecting.READS[name]
            assert one.coefficients == pytest.approx(again.coefficients, rel=1e-6)
            assert (one.intercept, one.scatter) == pytest.approx(
                (again.intercept, again.scatter), rel=1e-6
            )


def test_the_documents_say_what_the_lines_say():
    results = RESULTS / "prediction"
    every = document.blocks(
        collecting.found(results),
        collecting.models(results),
        {road: endings(results, road) for road in ONLINE},
    )
    docs = RESULTS.parent / "docs"
    pages = [(docs / name).read_text("utf-8") for name in ("diagnosis.md", "diagnosis-study.md")]
    for page in pages:
        assert blocks.fill(page, every) == page
    for name in every:
        assert "".join(pages).count(f"<!-- study: {name} -->") == 1
