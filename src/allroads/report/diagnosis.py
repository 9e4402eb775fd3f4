"""`Diagnosis` -> one self-contained HTML page: the advice first, then the evidence for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from allroads.diagnoses import ONLINE, Diagnosis, Prediction
from allroads.report import (
    diagnosis_answers,
    diagnosis_curves,
    diagnosis_figures,
    diagnosis_tables,
    diagnosis_words,
    html,
    numbers,
)

EVIDENCE = ("curves", "code", "headroom", "coverage", "noise", "horizon")
"""What a reason can point at."""


def render(diagnosis: Diagnosis) -> str:
    """The whole page. A pure function: the same diagnosis gives the same bytes."""
    return html.fill("diagnosis.html.j2", _view(diagnosis))


def write(diagnosis: Diagnosis, path: str | os.PathLike[str]) -> Path:
    """Render into `path` at once: a reader, or a kill, finds the old page or the new one."""
    return html.save(render(diagnosis), path)


def _view(diagnosis: Diagnosis) -> dict[str, Any]:
    evidence = _evidence(diagnosis)
    drawn = {section["id"] for section in evidence if section["picture"]}
    reasons = diagnosis.reasons
    return {
        "d": diagnosis,
        "sizes": (numbers.count(diagnosis.pairs), numbers.count(diagnosis.other_labels)),
        "state": "undecided" if diagnosis.advice in diagnosis_words.UNDECIDED else "decided",
        "advice": diagnosis_words.ADVICE,
        "gains": diagnosis_figures.gains(diagnosis),
        "said": diagnosis_words.prediction(diagnosis),
        "reasons": [(reason.words, _target(reason.evidence, drawn)) for reason in reasons],
        "roads": diagnosis_tables.of_roads(diagnosis.roads),
        "evidence": evidence,
        "predictions": [
            (
                road,
                found,
                diagnosis_figures.contributions(found, road),
                diagnosis_tables.of_features(found),
            )
            for road, found in _lead_first(diagnosis)
        ],
        "costs": diagnosis_tables.of_costs(diagnosis),
        "share": _share(diagnosis),
    }


def _lead_first(diagnosis: Diagnosis) -> list[tuple[str, Prediction]]:
    """Predictions by road, that which the advice speaks of first."""
    return sorted(diagnosis.predictions.items(), key=lambda item: item[0] != diagnosis.lead)


def _target(evidence: str, drawn: set[str]) -> str:
    """Where the page shows a piece of evidence: its figure, else its section, else nowhere."""
    if evidence not in EVIDENCE:
        return ""
    return f"#fig-{evidence}" if evidence in drawn else f"#{evidence}"


def _evidence(d: Diagnosis) -> list[dict[str, Any]]:
    """One section a piece of evidence: what it says, and its picture or only its numbers."""
    words, answers, tables = diagnosis_words, diagnosis_answers, diagnosis_tables
    capacities = (
        f"What each learner reaches on the same {numbers.count(d.capacities[0].count)} pairs, by "
        "what of it may be trained."
        if d.capacities
        else "Other capacities were not tried."
    )
    return [
        _section("curves", "Learning curves", words.curves(d), diagnosis_curves.curves(d.curves)),
        _section("capacities", "Capacities", capacities, diagnosis_curves.capacities(d.capacities)),
        _section(
            "code",
            "The gap in bits",
            words.code(d),
            diagnosis_curves.code(d.code),
            tables.of_code(d.code),
        ),
        _section("headroom", "Headroom", words.headroom(d.headroom), answers.headroom(d.headroom)),
        _section("coverage", "Coverage", words.coverage(d.coverage), answers.coverage(d.coverage)),
        _section("noise", "Noise and shortcuts", words.noise(d.noise), answers.noise(d.noise)),
        _section(
            "horizon",
            "Horizon",
            words.horizon(d.horizon),
            answers.horizon(d.horizon),
            tables.of_horizon(d.horizon),
        ),
    ]


def _section(
    name: str, title: str, says: str, picture: object, table: object = None
) -> dict[str, Any]:
    return {"id": name, "title": title, "says": says, "picture": picture, "table": table}


def _share(diagnosis: Diagnosis) -> str:
    """The diagnosis's FLOP beside those of one online training; '' where either is not known."""
    flops = {row.road: row.cost.flops for row in diagnosis.roads}
    road = next((road for road in ONLINE if flops.get(road)), None)
    if road is None or not diagnosis.cost.flops:
        return ""
    ratio = numbers.number(diagnosis.cost.flops / flops[road], 2)
    return f"{ratio} times the FLOP of one training of {road}"
