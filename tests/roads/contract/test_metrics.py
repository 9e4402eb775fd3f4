"""Every road: what is declared is what is logged."""

from __future__ import annotations

import pytest

from allroads.roads.losses import COMMON_METRICS, LOSSES, declared
from allroads.roads.sources import planned_slots
from allroads.roads.stage import Stage
from tests.roads.problem import (
    CONTROLS,
    STAGES,
    Straight,
    dataset,
)

NAMES = sorted(STAGES)


OF_AN_UPDATE = {"loss", "gradient_norm"}
ALWAYS = {"step", "round", "learning_rate", "units"}
OF_SAMPLES = {"unfinished", "length", "dropped"}
OF_SCORES = {"score", "failed"}


def of_the_round(stage: Stage) -> set[str]:
    """The common metrics that say something here: of samples, of their scores, of their writer."""
    out = set()
    if stage.source.sampled:
        out |= OF_SAMPLES | (OF_SCORES if stage.labeller != "data" else set())
    elif stage.pick == "two":
        out |= {"turned", "dropped"}
    if stage.source.replayed:
        out |= {"dropped"}
    if stage.pick == "margin-matched":
        out |= {"target_lead", "picked_lead"}
    if stage.yields == "group" and not stage.on_policy:
        out |= {"mismatch"}
    return out


@pytest.mark.parametrize("name", NAMES)
def test_the_declared_metrics_are_the_logged_ones(name: str, straight: Straight):
    stage, lines = STAGES[name], straight(name).lines
    assert any(line["units"] for line in lines)
    for line in lines:
        expected = ALWAYS | of_the_round(stage)
        if line["units"]:  # a step without units updates nothing
            expected |= OF_AN_UPDATE | set(declared(stage.objective))
        elif line["dropped"] == planned_slots(stage, dataset()):
            expected -= {"mismatch", "target_lead", "picked_lead"}  # nothing was picked
        assert set(line) == expected


def test_every_common_metric_is_logged_somewhere():
    logged = (
        OF_AN_UPDATE
        | ALWAYS
        | set().union(*map(of_the_round, [*STAGES.values(), *CONTROLS.values()]))
    )
    assert logged - {"step", "round"} == set(COMMON_METRICS)


def test_every_metric_says_what_it_means():
    for row in LOSSES.values():
        assert row.source
        assert all(row.metrics.values())
    assert all(COMMON_METRICS.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_negative_is_not(name: str, straight: Straight):
    """Entropy, k3 and the critic's error hold for every batch, not only on average."""
    for line in straight(name).lines:
        for metric in ("entropy", "k3", "value_loss", "clipped", "kl_baseline", "gradient_norm"):
            assert line.get(metric, 0.0) >= 0.0
        assert 0.0 <= line.get("accuracy", 0.5) <= 1.0


@pytest.mark.parametrize("name", [n for n in NAMES if STAGES[n].yields == "group"])
def test_the_first_ratio_of_every_round_is_one(name: str, straight: Straight):
    """Exactly where the round serves one update; else up to the batches' rounding.

    The trainer's own log-probabilities are the anchor, never those of the sampler.
    """
    per_round: dict[float, float] = {}
    for line in straight(name).lines:
        per_round.setdefault(line["round"], line["ratio"])
    assert len(per_round) == STAGES[name].schedule.rounds
    tolerance = 0.0 if STAGES[name].on_policy else 1e-5
    assert list(per_round.values()) == pytest.approx([1.0] * len(per_round), abs=tolerance)


@pytest.mark.parametrize("name", [n for n in NAMES if not STAGES[n].on_policy])
def test_rounds_that_serve_several_updates_leave_their_writer(name: str, straight: Straight):
    """What is checked above says something: later in a round the ratio has moved."""
    lines = straight(name).lines
    if "ratio" in lines[0]:
        assert max(abs(line["ratio"] - 1) for line in lines) > 1e-3
