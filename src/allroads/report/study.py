"""`Study` -> one self-contained HTML page: the verdicts first, then what they rest on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from allroads.report import html, study_figures, study_tables
from allroads.studies import Study, VerdictRow

CONCLUSIONS = ("supported", "refuted", "undecided", "no test")
KINDS = {
    "hypothesis": "The paper's hypotheses",
    "rival": "Rival explanations",
    "control": "Controls",
}
STATUSES = (study_tables.CONFIRMED, study_tables.EXPLORED, study_tables.NOT_RUN)
START = "sft"
"""The arm that all others start from."""


def render(study: Study) -> str:
    """The whole page. A pure function: the same study gives the same bytes."""
    return html.fill("study.html.j2", _view(study))


def write(study: Study, path: str | os.PathLike[str]) -> Path:
    """Render into `path` at once: a reader, or a kill, finds the old page or the new one."""
    return html.save(render(study), path)


def headline(study: Study) -> str:
    """What became of the paper's hypotheses; what is explored counts for nothing."""
    rows = [row for row in study.verdicts if row.kind == "hypothesis"]
    by_status = {name: [r for r in rows if study_tables.status(r) == name] for name in STATUSES}
    confirmed = by_status[study_tables.CONFIRMED]
    if not confirmed:
        return (
            "No hypothesis of the paper is confirmed or refuted: exploratory cells decide nothing"
        )
    said = f"The paper's hypotheses, world by world: {counts(confirmed)}"
    if explored := len(by_status[study_tables.EXPLORED]):
        said += f"; {explored} only explored, which decides nothing"
    if lacking := len(by_status[study_tables.NOT_RUN]):
        said += f"; {lacking} {study_tables.NOT_RUN}"
    return said


def counts(rows: Iterable[VerdictRow]) -> str:
    """How many of each conclusion, for example '3 supported, 1 refuted'."""
    found = Counter(row.conclusion for row in rows)
    return ", ".join(f"{found[word]} {word}" for word in CONCLUSIONS if found[word])


def _view(study: Study) -> dict[str, Any]:
    decided = any(
        study_tables.status(row) == study_tables.CONFIRMED and row.conclusion in CONCLUSIONS[:2]
        for row in study.verdicts
    )
    return {
        "s": study,
        "headline": headline(study),
        "state": "decided" if decided else "undecided",
        "lists": _lists(study),
        "kinds": [_kind(kind, study) for kind in KINDS],
        "beside": study_figures.beside(study.paper),
        "beside_table": study_tables.of_beside(study.paper),
        "contrasts": [
            {
                "variant": variant,
                "picture": study_figures.contrasts(f"contrasts-{k}", variant, rows),
                "table": study_tables.of_contrasts(rows),
            }
            for k, variant in enumerate(study_tables.worlds(study.contrasts))
            if (rows := [row for row in study.contrasts if row.variant == variant])
        ],
        "worlds": [
            {
                "variant": variant,
                "panels": study_figures.frontiers(f"frontier-{k}", variant, arms, START),
                "table": study_tables.of_arms(arms),
            }
            for k, variant in enumerate(study_tables.worlds(study.arms))
            if (arms := [row for row in study.arms if row.variant == variant])
        ],
        "scorers": study_tables.of_scorers(study),
        "leads": study_tables.of_leads(study),
        "leads_words": study_tables.leads_words(study),
        "difficulty": study_figures.difficulty(study),
        "difficulties": study_tables.of_difficulties(study),
        "equals": study_tables.of_equals(study),
    }


def _lists(study: Study) -> list[tuple[str, str]]:
    """Each kind with its verdicts, in words."""
    out = []
    for kind, name in KINDS.items():
        rows = [row for row in study.verdicts if row.kind == kind]
        for status in STATUSES:
            some = [row for row in rows if study_tables.status(row) == status]
            if some:
                suffix = "" if status == study_tables.CONFIRMED else f", {status}"
                out.append((f"{name}{suffix}", _by_conclusion(some)))
    return out


def _by_conclusion(rows: Sequence[VerdictRow]) -> str:
    """For example 'supported: gap on routes; undecided: H2 on routes'."""
    parts = []
    for word in CONCLUSIONS:
        names = [f"{r.hypothesis} on {r.variant}" for r in rows if r.conclusion == word]
        if names:
            parts.append(f"{word}: {', '.join(names)}")
    return "; ".join(parts)


def _kind(kind: str, study: Study) -> dict[str, Any]:
    """Hypotheses and rivals one by one; controls, of one test each, in one figure."""
    rows = [row for row in study.verdicts if row.kind == kind]
    names = list(dict.fromkeys(row.hypothesis for row in rows))
    groups = [_group(kind, k, [r for r in rows if r.hypothesis == n]) for k, n in enumerate(names)]
    picture = None
    if kind == "control":
        picture = study_figures.tests(
            "controls", "Every control against its claim", rows, "hypothesis"
        )
    return {
        "id": kind,
        "name": KINDS[kind],
        "table": study_tables.of_verdicts(rows),
        "how": study_figures.how(rows),
        "picture": picture,
        "groups": groups,
    }


def _group(kind: str, index: int, rows: Sequence[VerdictRow]) -> dict[str, Any]:
    first = rows[0]
    title = f"{first.hypothesis}: {first.title}"
    name, picture = f"{kind}-{index}", None
    if kind != "control":
        picture = study_figures.tests(f"{name}-tests", title, rows, "variant")
    return {
        "id": name,
        "first": first,
        "title": title,
        "rows": [(row, study_tables.verdict_cell(row)) for row in rows],
        "picture": picture,
    }
