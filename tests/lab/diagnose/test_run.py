"""A whole diagnosis on a tiny world: what is measured, what is kept, what a budget leaves out."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest

from allroads import files
from allroads.errors import ConfigError, RunFolderError
from allroads.evidence import Evidence
from allroads.lab.diagnose import pools
from allroads.lab.diagnose.design import Design, evidence_plan
from allroads.lab.diagnose.run import EVIDENCE, Measuring, left, measure, ready
from allroads.lab.execute import result_path
from tests.lab import tiny

DESIGN = Design(
    orders=2,
    smallest=30,
    prompts=8,
    samples=4,
    offline_samples=2,
    tried_samples=2,
    capacities=("head",),
    truth=True,
)


@pytest.fixture(scope="module")
def planned() -> Measuring:
    return ready(tiny.config(betas=(0.2, 0.7), checkpoint_seconds=30), DESIGN)


@pytest.fixture(scope="module")
def folder(planned: Measuring, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("diagnosis")
    measure(planned, out, tiny.Heard(), "again")
    return out


@pytest.fixture(scope="module")
def evidence(folder: Path) -> Evidence:
    return Evidence.model_validate_json((folder / EVIDENCE).read_text("utf-8"))


def test_every_part_of_every_order_is_fitted_by_both_learners(evidence: Evidence):
    parts = {(f.learner, f.capacity, f.order, f.count >= evidence.pairs) for f in evidence.fits}
    assert parts == {
        *((who, "full", order, False) for who in ("verifier", "generator") for order in (0, 1)),
        ("verifier", "full", 0, True),
        ("generator", "full", 0, True),
        ("verifier", "head", 0, False),
    }
    for fit in evidence.fits:
        assert len(fit.test) == len(evidence.held_out.prompts)
        assert len(fit.following) == len(fit.following_prompts)
        if fit.capacity == "full" and fit.count < evidence.pairs:
            after = [g.count for g in evidence.fits if g.order == 0 and g.learner == fit.learner]
            # Cut at whole prompts, so that orders may differ by some pairs.
            assert min(abs(fit.count + len(fit.following) - count) for count in after) <= 4


def test_pools_are_prompts_times_samples_and_graded_by_all(evidence: Evidence):
    assert evidence.offline is not None
    for pool, samples in ((evidence.start, 4), (evidence.offline, 2)):
        assert set(pool.grades) == {"verifier", "generator", "independent", "truth"}
        for table in (pool.tokens, pool.finished, pool.logprob, *pool.grades.values()):
            assert [len(row) for row in table] == [samples] * 8
        assert all(0 <= grade <= 1 for row in pool.grades["truth"] for grade in row)
    # The start policy is its own reference; a whole sample's score is its grade.
    assert evidence.start.own_logprob == evidence.start.logprob
    for prefix, whole in zip(
        evidence.start.prefixes["1"], evidence.start.grades["verifier"], strict=True
    ):
        assert prefix == pytest.approx(whole, abs=1e-5)


def test_the_offline_policy_is_chosen_as_a_comparison_chooses(evidence: Evidence):
    trials, start, offline = evidence.trials, evidence.start, evidence.offline
    assert offline is not None
    # A fast one that stays near and a slow one that may go far, at the comparison's two moments.
    assert [(one.rate, one.beta, one.fraction) for one in trials] == [
        (1.0, 1.0, 0.5), (1.0, 1.0, 1.0), (0.3, 0.3, 0.5), (0.3, 0.3, 1.0)
    ]  # fmt: skip
    assert len({one.kl for one in trials}) == 4
    # Within a fifth of the entropy (nats a completion) by the independent score, else the nearest.
    reach = -0.2 * np.mean(start.own_logprob)
    near = [one for one in trials if one.kl <= reach]
    best = max(near, key=lambda one: one.score) if near else min(trials, key=lambda one: one.kl)
    assert [one for one in trials if one.chosen] == [best]
    # Samples of the chosen one: as many as it was tried on, so the same ones.
    assert best.kl == pytest.approx(np.mean(np.subtract(offline.own_logprob, offline.logprob)))
    gain = np.mean(offline.grades["independent"]) - np.mean(start.grades["independent"])
    assert best.score == pytest.approx(gain)


def test_a_moment_half_way_is_sampled_where_it_is_chosen(
    planned: Measuring, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    path = result_path(folder, planned.plan.jobs[planned.plan.offline])
    kept = path.read_bytes()
    path.unlink()
    worth = iter([1.0, 0.0, 0.0, 0.0])
    monkeypatch.setattr(pools, "preference", lambda *_: (True, next(worth)))
    found = measure(planned, folder, tiny.Heard(), "again")
    path.write_bytes(kept)
    chosen, offline = found.trials[0], found.offline
    assert offline is not None
    assert (chosen.fraction, chosen.chosen) == (0.5, True)
    assert chosen.kl == pytest.approx(np.mean(np.subtract(offline.own_logprob, offline.logprob)))


def test_offline_policies_are_trained_at_the_rates_and_betas_that_are_said(folder: Path):
    stages = [files.read_json(path) for path in folder.glob("checkpoints/*/stage.json")]
    found = {
        one["beta"]: one["stage"]["schedule"]["learning_rate"]
        for one in stages
        if one["stage"]["name"] == "dpo"
    }
    usual = tiny.config().recipe
    assert usual is not None
    rate = usual.policy.learning_rate
    assert found == {1.0: pytest.approx(rate), 0.3: pytest.approx(0.3 * rate)}


def test_costs_are_all_there_is_apart_from_the_start_policy(
    evidence: Evidence, planned: Measuring, folder: Path
):
    total = 0.0
    for name, job in planned.plan.jobs.items():
        found = files.read_json(result_path(folder, job))
        if name != planned.plan.start:
            total += found.get("cost", {}).get("flops", 0.0)
    assert evidence.cost.flops == pytest.approx(total)
    assert evidence.start_cost.flops > 0
    assert set(evidence.roads) == {"dpo", "best-of-n", "online-dpo", "rloo"}
    assert evidence.roads["online-dpo"].flops > evidence.roads["best-of-n"].flops > 0


def test_nothing_is_measured_twice(planned: Measuring, folder: Path, evidence: Evidence):
    heard = tiny.Heard()
    again = measure(planned, folder, heard, "again")
    assert heard.worked == []
    assert left(planned, folder) == 0
    same = {"created": ""}
    assert again.model_copy(update=same) == evidence.model_copy(update=same)


def test_a_lost_result_is_made_again_as_it_was(
    planned: Measuring, folder: Path, evidence: Evidence
):
    for name in (next(iter(planned.plan.blocks)), planned.plan.pool):
        result_path(folder, planned.plan.jobs[name]).unlink()
    again = measure(planned, folder, tiny.Heard(), "again")
    free = {"created": "", "cost": evidence.cost, "fits": ()}
    assert again.model_copy(update=free) == evidence.model_copy(update=free)
    assert [f.test for f in again.fits] == [f.test for f in evidence.fits]


def test_what_the_time_did_not_reach_is_listed(planned: Measuring, folder: Path, tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"too little was measured.*larger --budget"):
        measure(planned, tmp_path, tiny.Heard(), "again", until=time.monotonic() - 1)
    # All but one order is there already: what is left of it is no longer begun.
    lost = [name for name, (_, _, order, _) in planned.plan.blocks.items() if order == 1]
    kept = {}
    for name in lost:
        path = result_path(folder, planned.plan.jobs[name])
        kept[path] = path.read_bytes()
        path.unlink()
    found = measure(planned, folder, tiny.Heard(), "again", until=time.monotonic() - 1)
    assert found.left_out == (
        f"{len(lost)} x a fit to a part of the data: not reached within the budget",
    )
    assert {fit.order for fit in found.fits} == {0}
    for path, content in kept.items():
        path.write_bytes(content)


def test_an_order_ends_at_its_first_gap(planned: Measuring, folder: Path):
    chain = [
        name
        for name, (who, capacity, order, _) in planned.plan.blocks.items()
        if (who, capacity, order) == ("generator", "full", 0)
    ]
    path = result_path(folder, planned.plan.jobs[chain[0]])
    kept = path.read_bytes()
    path.unlink()
    found = measure(planned, folder, tiny.Heard(), "again", until=time.monotonic() - 1)
    orders = {(fit.learner, fit.order) for fit in found.fits}
    assert orders == {("verifier", 0), ("verifier", 1), ("generator", 1)}
    path.write_bytes(kept)


def test_a_diagnosis_has_one_seed_one_beta_and_a_truth_only_where_there_is_one():
    planned = ready(tiny.config(seeds=(3, 4)), DESIGN)
    assert planned.prepared.config.seeds == (3,)
    assert planned.plan.beta == 0.5
    several = planned.prepared.config.model_copy(update={"betas": (0.1, 0.2)})
    wrong = planned.prepared.__class__(**{**planned.prepared.__dict__, "config": several})
    with pytest.raises(ConfigError, match="one seed and one beta"):
        evidence_plan(wrong, {1.0: planned.prepared}, DESIGN)


def test_every_job_comes_after_what_it_needs(planned: Measuring):
    seen: set[str] = set()
    for name, job in planned.plan.jobs.items():
        assert seen >= set(job.needs)
        seen.add(name)
    assert all(math.isfinite(planned.seconds[name]) for name in planned.plan.jobs)
