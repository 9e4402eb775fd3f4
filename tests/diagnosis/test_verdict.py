"""Which of five pieces of advice follows; the rules are those of docs/diagnosis.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from allroads.diagnosis.model import Model
from allroads.diagnosis.verdict import diagnose
from allroads.evidence import Evidence, Pool
from allroads.seeding import child
from tests.diagnosis import made

PROMPTS, SAMPLES = 40, 16


def pools(better: float) -> tuple[Pool, Pool]:
    """The truth is what the verifier says; the offline policy is `better` than the start policy."""
    rng = child(0, "verdict", "pools")
    scores = rng.normal(size=(PROMPTS, SAMPLES))
    rows = tuple(map(tuple, scores.tolist()))
    grades = {"verifier": rows, "generator": rows, "truth": rows}
    theirs = tuple(map(tuple, (scores + better).tolist()))
    start = made.pool(PROMPTS, SAMPLES, grades=grades)
    offline = made.pool(PROMPTS, SAMPLES, grades={**grades, "truth": theirs})
    return start, offline


EASY, HARD, NONE = [1.5, -1.0, *[0.0] * 22], [0.4] * 24, [0.0] * 24
"""Weights of the truth: of two features, of all 24, of none."""


def evidence(
    *,
    truth: Sequence[float] = EASY,
    better: float = 0.0,
    counts: tuple[int, ...] = (64, 128, 256),
) -> Evidence:
    """A verifier that sees the truth's features alone, and a generator that sees all."""
    found = made.log_linear(
        np.array(truth),
        seen_by={"verifier": slice(0, 2 if truth is EASY else 24), "generator": slice(0, 24)},
        counts=counts,
        orders=3,
        test=400,
        rng=child(1, "verdict", "labels"),
        fresh=False,
    )
    start, offline = pools(better)
    return found.model_copy(update={"start": start, "offline": offline})


def model(gain: float, scatter: float, coefficient: float = 0.0, high: float = 1.0) -> Model:
    """Says this gain of everybody whose accuracies are equal."""
    return Model(
        names=("accuracy",),
        intercept=gain,
        coefficients=(coefficient,),
        scatter=scatter,
        uncertainty=((0.0, 0.0), (0.0, 0.0)),
        ranges=((-1.0, high),),
        worlds=40,
        families=7,
    )


LOSS = model(-0.2, 0.01)


def says(search: Model = LOSS, rloo: Model = LOSS, online: Model = LOSS) -> dict[str, Any]:
    roads = {"best-of-n": search, "rloo": rloo, "online-dpo": online}
    return {"labels": roads, "truth": roads}


def advice(found: Evidence, **roads: Model) -> str:
    return diagnose(found, says(**roads)).advice


def test_without_a_model_or_anything_learned_nothing_is_told():
    found = diagnose(evidence(), {})
    assert found.advice == "cannot tell"
    assert "no model" in found.unpredicted
    found = diagnose(evidence(truth=NONE), says(model(0.2, 0.01)))
    assert found.advice == "cannot tell"
    assert "neither learner has learned" in found.headline
    assert "label more pairs" in found.next_step


def test_losses_or_too_small_gains_of_all_roads_are_offline():
    assert advice(evidence()) == "offline"
    # Above 0 almost surely, and all of the interval below what counts.
    assert advice(evidence(), rloo=model(0.01, 0.004)) == "offline"


def test_one_road_in_doubt_is_no_offline():
    for road in ("search", "rloo", "online"):
        assert advice(evidence(), **{road: model(0.05, 0.2)}) != "offline"


def test_a_sure_gain_is_online_unless_search_wins_it_too():
    for road, name in (("rloo", "rloo"), ("online", "online-dpo")):
        found = diagnose(evidence(), says(**{road: model(0.2, 0.05)}))
        assert (found.advice, found.lead) == ("online", name)
        assert f"dpo,best-of-n,{name}." in found.next_step
    # Within 0.03 of online training search is enough, and it is served, not trained.
    both = says(model(0.18, 0.05), model(0.2, 0.05))
    assert (diagnose(evidence(), both).advice, diagnose(evidence(), both).lead) == (
        "best-of-n",
        "best-of-n",
    )
    assert advice(evidence(), search=model(0.16, 0.05), rloo=model(0.2, 0.05)) == "online"
    # The better of two online roads decides.
    one = diagnose(evidence(), says(model(0.1, 0.02), model(0.05, 0.02), model(0.2, 0.02)))
    assert (one.advice, one.lead) == ("online", "online-dpo")


def test_search_alone_may_pay():
    assert advice(evidence(), search=model(0.1, 0.02)) == "best-of-n"
    assert advice(evidence(), search=model(0.1, 0.02), rloo=model(0.1, 0.3)) == "best-of-n"


def test_an_open_sign_asks_for_pairs_where_the_verifier_still_learns():
    found = diagnose(evidence(truth=HARD, counts=(32, 64, 128, 256)), says(rloo=model(0.0, 0.2)))
    assert found.advice == "collect"
    assert found.more_pairs == 260  # Twice the pairs; nobody needs more than two digits.
    assert "about 260 more pairs" in found.headline
    # With 8,192 pairs two weights are known as well as they ever will be.
    assert advice(evidence(counts=(2048, 4096, 8192)), rloo=model(0.0, 0.2)) == "cannot tell"


def test_reasons_are_of_what_predicts():
    # Both policies' answers are alike.
    seen = [reason.words for reason in diagnose(evidence(), says()).reasons]
    assert "Offline DPO against the start policy: +0.00" in seen[1]
    assert "against the offline policy" in seen[2]
    found = evidence()
    blind = {name: rows for name, rows in found.start.grades.items() if name != "truth"}
    start = found.start.model_copy(update={"grades": blind})
    unseeing = found.model_copy(update={"start": start, "offline": None})
    unseen = [reason.words for reason in diagnose(unseeing, says()).reasons]
    assert "Describing the labels costs the generator" in unseen[1]
    assert len(unseen) == 2


def test_what_would_change_it_is_within_what_the_worlds_had():
    found = diagnose(evidence(), says(rloo=model(-0.1, 0.03, coefficient=1.0)))
    assert found.lead == "rloo"  # The most promising of them.
    (feature,) = found.predictions["rloo"].features
    needed = feature.value + 0.03 - found.predictions["rloo"].gain
    assert f"accuracy at {needed:+.3f}" in found.changes[0]
    far = diagnose(evidence(), says(rloo=model(-0.1, 0.03, coefficient=0.01)))
    assert far.changes[0].startswith("None of these numbers")


def test_the_better_model_needs_its_grader():
    found = evidence()
    blind = {name: rows for name, rows in found.start.grades.items() if name != "truth"}
    unseeing = found.model_copy(
        update={"start": found.start.model_copy(update={"grades": blind}), "offline": None}
    )
    models = {"labels": {"rloo": model(-0.3, 0.01)}, "truth": {"rloo": model(0.3, 0.01)}}
    seen, unseen = (diagnose(one, models).predictions["rloo"] for one in (found, unseeing))
    assert (seen.gain, unseen.gain) == (pytest.approx(0.3), pytest.approx(-0.3))
