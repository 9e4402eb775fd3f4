"""From the files of a finished run to what the report shows, against the files themselves."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import allroads
from allroads import api, files, stats
from allroads.errors import RunFolderError
from allroads.evaluation import scorers
from allroads.lab.compare import prepare
from allroads.lab.jobs import SELECTION, Plan
from allroads.records import Point, Results
from tests.lab import tiny
from tests.lab.conftest import GROWN, SEEDS, Grown, Straight, evaluations, written


def record(folder: Path, job: str) -> dict[str, Any]:
    return files.read_json(folder / "evaluations" / f"{job}.json")


def only(results: Results, road: str, value: float | None, fraction: float = 1.0) -> Point:
    (point,) = [
        p for p in results.points if (p.road, p.value, p.fraction) == (road, value, fraction)
    ]
    return point


# Points -------------------------------------------------------------------------------------------


def test_a_point_for_every_road_setting_and_moment(grown: Grown):
    found = [(p.road, p.knob, p.value, p.fraction) for p in grown.results.points]
    trained = [
        (road, "beta", beta, fraction)
        for road in ("dpo", "online-dpo", "online-dpo-verifier", "rloo")
        for beta in (0.5, 0.2)
        for fraction in (0.5, 1.0)
    ]
    expected = [("sft", "", None, 1.0), ("best-of-n", "N", 2.0, 1.0), *trained]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert all((p.reward.seeds, p.reward.prompts) == (2, 20) for p in grown.results.points)


def test_numbers_of_a_point_are_means_of_the_files(grown: Grown, plan: Plan):
    rows = [record(grown.folder, job)["snapshots"][0] for job in evaluations(plan, "rloo", 0.2)]
    point = only(grown.results, "rloo", 0.2, 0.5)
    for name, mean in (
        ("metric", point.reward),
        ("kl", point.kl),
        ("length", point.length),
        ("no_eos", point.no_eos),
    ):
        table = np.array([row[name] for row in rows])
        assert table.shape == (2, 20)
        expected = stats.two_way_mean(table)
        assert expected.low is not None
        assert expected.high is not None
        # A share has no interval above one; what cannot be negative has none below zero.
        high = min(1.0, expected.high) if name == "no_eos" else expected.high
        assert (mean.value, mean.high) == (expected.value, high)
        assert mean.low == (expected.low if name == "metric" else max(0.0, expected.low))
        assert mean.value == pytest.approx(table.mean())
    assert point.reward_train is not None
    assert point.reward_train.value == pytest.approx(np.mean([r["metric_train"] for r in rows]))
    assert point.proxy is not None
    assert point.proxy.value == pytest.approx(np.mean([row["proxy"] for row in rows]))


def test_only_roads_that_were_scored_have_a_proxy(grown: Grown):
    with_proxy = {p.road for p in grown.results.points if p.proxy is not None}
    assert with_proxy == {"best-of-n", "online-dpo", "online-dpo-verifier", "rloo"}
    # The verifier is the metric itself: what it was trained on is what it is graded by.
    for p in grown.results.points:
        if p.road == "online-dpo-verifier":
            assert p.proxy is not None
            assert p.proxy.value == pytest.approx(p.reward.value)


def test_the_start_has_not_gone_anywhere(grown: Grown):
    start = only(grown.results, "sft", None)
    assert start.kl.value == pytest.approx(0.0, abs=1e-5)
    assert start.selection == 0.0
    assert all(p.kl.value > 1e-3 for p in grown.results.points if p.road != "sft")


def test_best_of_n_has_its_bound(grown: Grown):
    point = only(grown.results, "best-of-n", 2.0)
    assert point.kl_bound == pytest.approx(math.log(2) - 0.5)
    assert point.kl.value <= point.kl_bound
    assert all(p.kl_bound is None for p in grown.results.points if p.road != "best-of-n")


# Selection ----------------------------------------------------------------------------------------


def test_every_road_has_one_selected_and_one_oracle_point(grown: Grown):
    roads = {p.road for p in grown.results.points}
    for road in roads:
        points = [p for p in grown.results.points if p.road == road]
        (selected,) = [p for p in points if p.selected]
        (oracle,) = [p for p in points if p.oracle]
        assert selected.selection == max(p.selection for p in points if p.selection is not None)
        assert oracle.reward.value == max(p.reward.value for p in points)


def test_selection_scores_are_gains_over_each_seeds_own_start(grown: Grown, plan: Plan):
    gains = []
    for job, start in zip(
        evaluations(plan, "dpo", 0.5), evaluations(plan, "sft", None), strict=True
    ):
        after = record(grown.folder, job)["snapshots"][-1]
        before = record(grown.folder, start)["snapshots"][-1]
        gains.append(after["selection"] - before["selection"])
    assert len(gains) == 2
    assert only(grown.results, "dpo", 0.5).selection == pytest.approx(np.mean(gains))


def test_no_setting_beyond_a_fifth_of_the_start_policys_entropy_is_selected(
    changed: Path, plan: Plan
):
    """Of DPO's settings one is far away, and the selection scorer is all for it."""
    for job in evaluations(plan, "dpo", 0.2):
        path = changed / "evaluations" / f"{job}.json"
        value = files.read_json(path)
        value["snapshots"][1].update(selection=500.0, kl=[99.0] * 20)
        files.write_json(path, value)
    for entropy, selected in ((490.0, False), (500.0, True)):
        for job in evaluations(plan, "sft", None):
            path = changed / "evaluations" / f"{job}.json"
            value = files.read_json(path)
            value["snapshots"][-1]["entropy"] = [entropy] * 20
            files.write_json(path, value)
        assert only(allroads.open_run(changed), "dpo", 0.2, 1.0).selected == selected


def test_where_truth_and_selection_disagree_the_selection_decides(changed: Path, plan: Plan):
    """DPO at 0.2 is made the best in truth, at 0.5 (half-way) the best by the selection scorer."""
    for job in evaluations(plan, "dpo", 0.2):
        path = changed / "evaluations" / f"{job}.json"
        value = files.read_json(path)
        value["snapshots"][1]["metric"] = [0.9] * 20
        value["snapshots"][1]["selection"] = -50.0
        files.write_json(path, value)
    for job in evaluations(plan, "dpo", 0.5):
        path = changed / "evaluations" / f"{job}.json"
        value = files.read_json(path)
        value["snapshots"][0]["metric"] = [0.1 + 0.001 * i for i in range(20)]
        value["snapshots"][0]["selection"] = 50.0
        files.write_json(path, value)
    results = allroads.open_run(changed)
    selected, oracle = only(results, "dpo", 0.5, 0.5), only(results, "dpo", 0.2, 1.0)
    assert (selected.selected, selected.oracle) == (True, False)
    assert (oracle.selected, oracle.oracle) == (False, True)
    # Verdict and ledger stand on the selected one: every road is compared with 0.1095, not 0.9.
    mean = float(np.mean([0.1 + 0.001 * i for i in range(20)]))
    for comparison in results.comparisons:
        assert comparison.baseline == "dpo"
        (own,) = [p for p in results.points if p.road == comparison.road and p.selected]
        assert comparison.difference.value == pytest.approx(own.reward.value - mean)


def test_differences_are_paired_by_seed_and_prompt(grown: Grown, plan: Plan):
    def table(road: str) -> np.ndarray:
        (point,) = [p for p in grown.results.points if p.road == road and p.selected]
        at = 0 if point.fraction == 0.5 else -1
        jobs = evaluations(plan, road, point.value)
        return np.array([record(grown.folder, job)["snapshots"][at]["metric"] for job in jobs])

    for comparison in grown.results.comparisons:
        if comparison.road == "best-of-n":
            continue
        expected = stats.paired_difference(table(comparison.road), table("dpo"))
        assert comparison.difference.value == pytest.approx(expected.estimate.value)
        assert comparison.p_value == pytest.approx(expected.p_value)
    labellers = {c.road: c.labeller for c in grown.results.comparisons}
    assert labellers.pop("online-dpo-verifier") == "outside"
    assert set(labellers.values()) == {"data"}


def test_one_seed_is_no_verdict(straight: Straight):
    results = Results.model_validate(files.read_json(straight.folder / "results.json"))
    assert not results.verdict.decided
    assert results.verdict.headline == (
        "No verdict: one seed shows no difference between roads from luck; give --seeds 3."
    )
    assert {c.conclusion for c in results.comparisons} == {"no verdict"}
    assert all(p.reward.low is None for p in results.points)


# Scorers ------------------------------------------------------------------------------------------


def test_every_scorer_is_judged_on_held_out_pairs(grown: Grown, plan: Plan):
    rows = {row.name: row for row in grown.results.reward_models}
    kinds = {name: row.kind for name, row in rows.items()}
    assert kinds == {
        SELECTION: "selection",
        "reward-model": "global",
        "dpo, beta 0.5": "local",
        "dpo, beta 0.2": "local",
    }
    jobs = [row[4] for row in plan.scorers if row[0] == "reward-model"]
    margins = [np.array(record(grown.folder, job)["test"]) for job in jobs]
    row = rows["reward-model"]
    assert row.accuracy.value == pytest.approx(np.mean([scorers.hits(m).mean() for m in margins]))
    assert row.nll is not None
    assert row.nll.value == pytest.approx(np.mean([scorers.nll(m).mean() for m in margins]))
    assert row.ece is not None
    assert row.ece.value == pytest.approx(np.mean([scorers.calibration(m)[0] for m in margins]))
    assert row.pairs == round(sum(map(len, margins)) / 2)
    assert sum(one.count for one in row.bins) == 2 * sum(map(len, margins))
    assert grown.results.label_noise_nll is not None
    assert 0 < grown.results.label_noise_nll < math.log(2)


# The ledger ---------------------------------------------------------------------------------------

CHAINS = {
    "sft": ["sft"],
    "dpo": ["sft", "dpo"],
    "best-of-n": ["sft", "reward-model"],
    "online-dpo": ["sft", "reward-model", "online-dpo"],
    "online-dpo-verifier": ["sft", "online-dpo"],
    "rloo": ["sft", "reward-model", "rloo"],
}
"""The stages that each road stands on."""


def cost_by_hand(folder: Path, plan: Plan, road: str, value: float | None, seed: int) -> dict:
    """Sums over the jobs that the road's last job leads back to, from their own files."""
    (cell,) = [c for c in plan.cells if (c.road, c.value, c.seed) == (road, value, seed)]
    needed, front = set(), [cell.last]
    if road == "best-of-n":
        front += [row[4] for row in plan.scorers if row[0] == "reward-model" and row[3] == seed]
    while front:
        name = front.pop()
        assert name is not None
        needed.add(name)
        front.extend(set(plan.jobs[name].needs) - needed)
    stages = [name for name in needed if plan.jobs[name].kind == "stage"]
    found = sorted(plan.jobs[name].spec["stage"]["name"] for name in stages)
    assert found == sorted(CHAINS[road])
    costs = [
        files.read_json(folder / "checkpoints" / name / "done.json")["cost"] for name in stages
    ]
    total = {key: sum(cost[key] for cost in costs) for key in costs[0]}
    # Two stages that read the same labels read them once.
    for key in ("labels", "demonstrations", "peak_memory_mb"):
        total[key] = max(cost[key] for cost in costs)
    return total


@pytest.mark.parametrize("road", sorted(CHAINS))
def test_a_road_costs_what_its_stages_cost(road: str, grown: Grown, plan: Plan):
    (row,) = [row for row in grown.results.ledger if row.road == road]
    (point,) = [p for p in grown.results.points if p.road == road and p.selected]
    costs = [cost_by_hand(grown.folder, plan, road, point.value, seed) for seed in SEEDS]
    for key in (
        "labels", "demonstrations", "scorer_queries", "outside_queries", "tokens_trained",
        "tokens_sampled", "flops", "seconds",
    ):  # fmt: skip
        mean = sum(cost[key] for cost in costs) / 2
        rounded = mean if key in ("flops", "seconds") else round(mean)
        assert getattr(row, key) == pytest.approx(rounded), key
    assert row.peak_memory_mb == max(cost["peak_memory_mb"] for cost in costs)
    assert row.answers_per_prompt == (2 if road == "best-of-n" else 1)


def test_labels_that_two_stages_of_a_road_read_are_counted_once(straight: Straight):
    """One road fits a reward model and DPO, both on all pairs."""
    rows = {row["road"]: row for row in files.read_json(straight.folder / "ledger.json")}
    assert rows["online-dpo-from-dpo"]["labels"] == rows["dpo"]["labels"] > 0
    assert rows["online-dpo-from-dpo"]["demonstrations"] == 200


def test_labels_are_counted(grown: Grown, plan: Plan):
    rows = {row.road: row for row in grown.results.ledger}
    counts = []
    for job in plan.jobs.values():
        if job.kind == "pairs":
            pairs = files.read_json(grown.folder / "data" / f"{job.id}.json")["pairs"]
            counts.append((len(pairs["train"]), len(pairs["selection"])))
    train, selection = (round(sum(c) / 2) for c in zip(*counts, strict=True))
    labels = {road: row.labels for road, row in rows.items()}
    assert labels == {
        "sft": 0,
        "dpo": train,
        "best-of-n": train,
        "online-dpo": train,
        "online-dpo-verifier": 0,
        "rloo": train,
        "(selection scorer, shared)": selection,
    }
    assert {row.demonstrations for road, row in rows.items() if road[0] != "("} == {200}
    # Three rounds of 32 prompts, two (four: three per group here) samples each.
    assert rows["online-dpo"].scorer_queries == 3 * 32 * 2
    assert rows["rloo"].scorer_queries == 3 * 32 * 3
    assert rows["online-dpo-verifier"].outside_queries == 3 * 32 * 2
    assert rows["online-dpo"].outside_queries == rows["dpo"].scorer_queries == 0


# Files --------------------------------------------------------------------------------------------


def floats(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from floats(one)
    elif isinstance(value, float):
        yield value


def test_no_number_is_missing(grown: Grown):
    values = list(floats(grown.results.model_dump()))
    assert len(values) > 200
    assert all(map(math.isfinite, values))


def test_results_and_their_summaries_are_written_down(grown: Grown):
    folder = grown.folder
    assert Results.model_validate(files.read_json(folder / "results.json")) == grown.results
    lines = (folder / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == [
        sample.prompt for sample in grown.results.samples
    ]
    for sample in grown.results.samples:
        roads = {answer.road for answer in sample.answers}
        assert roads == {"sft", *GROWN["roads"]}
    ledger = files.read_json(folder / "ledger.json")
    assert [row["road"] for row in ledger] == [row.road for row in grown.results.ledger]
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    per_job: dict[str, list[int]] = {}
    for line in steps:
        per_job.setdefault(line["job"], []).append(line["step"])
    assert all(found == list(range(len(found))) for found in per_job.values())
    assert set(per_job) <= set(tiny.stage_jobs(folder))


def test_the_report_is_rebuilt_from_files_and_needs_no_model(
    changed: Path, grown: Grown, quietly: Callable[[], None]
):
    before = (changed / "report.html").read_bytes()
    for folder in changed.glob("checkpoints/*/model"):
        shutil.rmtree(folder)
    for folder in changed.glob("checkpoints/*/snapshots"):
        shutil.rmtree(folder)
    for name in ("report.html", "results.json", "ledger.json", "samples.jsonl", "metrics.jsonl"):
        (changed / name).unlink()
    quietly()
    results = allroads.open_run(changed)
    assert results == grown.results
    assert (changed / "report.html").read_bytes() == before
    assert (changed / "metrics.jsonl").read_bytes() == (grown.folder / "metrics.jsonl").read_bytes()


def test_the_report_is_one_page_without_a_script(grown: Grown):
    page = (grown.folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    for road in GROWN["roads"]:
        assert road in page


# A folder that already has something --------------------------------------------------------------


def test_a_finished_run_repeated_does_nothing_but_the_report(
    copied: Path, quietly: Callable[[], None]
):
    before = written(copied)
    page = (copied / "report.html").read_bytes()
    (copied / "report.html").unlink()
    heard = tiny.Heard()
    time.sleep(0.01)
    config, prepared = tiny.config(), prepare(tiny.config())
    quietly()
    assert heard.worked == []
    from allroads.lab.compare import compare

    compare(prepared, copied, heard, files.read_json(copied / "manifest.json")["command"])
    assert {kind for kind, *_ in heard.events} == {"done"}
    assert len(heard.events) == len(prepared.plan.jobs)
    assert written(copied) == before
    assert (copied / "report.html").read_bytes() == page
    assert config == prepared.config


def test_more_seeds_and_settings_reuse_what_is_done(grown: Grown, plan: Plan):
    after = written(grown.folder)
    assert {name: after[name] for name in grown.before} == grown.before
    reused = {j.id for j in plan.jobs.values() if (tiny_done(grown, j.id))}
    assert {plan.jobs[name].seed for name in reused} == {0}
    new = set(plan.jobs) - reused
    assert set(grown.heard.worked) <= new
    # Of seed 0, only what belongs to the other price is new.
    for name in new:
        assert plan.jobs[name].seed == 1 or "0.2" in name
    stages = {name for name in new if plan.jobs[name].kind == "stage"}
    assert stages <= set(grown.heard.worked)


def tiny_done(grown: Grown, job: str) -> bool:
    names = (f"checkpoints/{job}/done.json", f"evaluations/{job}.json", f"data/{job}.done.json")
    return any(name in grown.before for name in names)


def test_a_road_added_later_reuses_what_is_done(copied: Path, tmp_path: Path):
    """Backwards: the straight run loses what belongs to one road alone, and gets it back."""
    plan = prepare(tiny.config(roads=["sft"])).plan
    for folder in copied.glob("checkpoints/*"):
        if folder.name not in plan.jobs:
            shutil.rmtree(folder)
    kept = written(copied)
    heard = tiny.Heard()
    api.compare(out=copied, config=tiny.config(roads=["sft", "dpo"]), listener=heard)
    after = written(copied)
    assert {name: after[name] for name in kept} == kept
    worked = {name.split("-s0-")[0] for name in heard.worked}
    assert worked == {"dpo-b0.5"}, "its evaluation was still there"


def test_the_folder_of_another_comparison_is_refused(copied: Path):
    def refused(**changes: Any) -> str:
        with pytest.raises(RunFolderError) as error:
            api.compare(out=copied, config=tiny.config(roads=["sft"], **changes))
        return str(error.value)

    before = {p: p.read_bytes() for p in sorted(copied.iterdir()) if p.is_file()}
    options = tiny.FIELDS["world_options"]
    assert "belongs to another comparison (data_fingerprint was " in refused(
        world_options={**options, "wander": 0.5}
    )
    assert "(data_fingerprint was " in refused(sizes={"pairs": 121})
    # Three more towns are another vocabulary too; what is named is the first that differs.
    assert "(data_fingerprint was " in refused(world_options={**options, "towns": 19})
    after = {p: p.read_bytes() for p in before if p.name != "lock"}
    assert after == {p: data for p, data in before.items() if p.name != "lock"}
    # A manifest of another model, with the same data.
    manifest = files.read_json(copied / "manifest.json")
    manifest["settings"]["model_fingerprint"] = "0" * 32
    files.write_json(copied / "manifest.json", manifest)
    assert "(model_fingerprint was 00000000000000000000000000000000, now " in refused()


def test_a_folder_without_a_manifest_is_no_run(tmp_path: Path):
    with pytest.raises(RunFolderError, match="is no run folder: it has no manifest"):
        allroads.open_run(tmp_path)


def test_what_was_asked_and_by_what_is_written_before_the_first_job(grown: Grown):
    manifest = files.read_json(grown.folder / "manifest.json")
    assert manifest["config"]["roads"] == GROWN["roads"]
    assert manifest["seeds"] == [0, 1]
    assert manifest["versions"]["allroads"] == grown.results.version
    assert manifest["command"] == grown.results.command
    assert "allroads.compare(out=" in manifest["command"]
