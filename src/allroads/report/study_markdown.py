"""The studies' numbers as Markdown: the blocks of docs/findings.md, made from the record alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from allroads.report import blocks, numbers, study_tables
from allroads.report.study import KINDS, headline
from allroads.report.tables import Table
from allroads.studies import Study

_PLAIN = str.maketrans({"\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ",
                        "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "±": "+-", "×": "x",
                        "|": r"\|", "<": "&lt;", "\n": " "})  # fmt: skip


def study_markdown(study: Study) -> str:
    """Every block with its marks, for a page that has none yet."""
    return blocks.marked(_of_study(study))


def fill(page: str, study: Study) -> str:
    """The page with every block written anew.

    Raises:
        ValueError: when a block's name is not one of `BLOCKS`, or the page has none.
    """
    return blocks.fill(page, _of_study(study))


def _of_study(study: Study) -> dict[str, Callable[[], str]]:
    return {name: partial(write, study) for name, write in BLOCKS.items()}


def _verdicts(study: Study) -> str:
    parts = [f"{headline(study)}.\n"]
    for kind, name in KINDS.items():
        rows = [row for row in study.verdicts if row.kind == kind]
        if rows:
            parts.append(f"{name}\n\n{_of(study_tables.of_verdicts(rows))}")
    return "\n".join(parts)


def _reasons(study: Study) -> str:
    lines = []
    for row in study.verdicts:
        paper = f" The paper: {row.paper}" if row.paper else ""
        lines.append(f"- **{row.hypothesis} on {row.variant}: {study_tables.word(row)}.** "
                     f"{row.reason}{paper}".translate(_PLAIN))  # fmt: skip
    return "".join(f"{line}\n" for line in lines) or "None.\n"


def _contrasts(study: Study) -> str:
    return _by_world(study.contrasts, study_tables.of_contrasts)


def _arms(study: Study) -> str:
    return _by_world(study.arms, study_tables.of_arms)


def _paper(study: Study) -> str:
    return _of(study_tables.of_beside(study.paper))


def _by_world(rows: Iterable, write: Callable[[list], Table]) -> str:
    every = list(rows)
    parts = [
        f"{name.translate(_PLAIN)}\n\n{_of(write([row for row in every if row.variant == name]))}"
        for name in study_tables.worlds(every)
    ]
    return "\n".join(parts) or "None.\n"


def _of(table: Table) -> str:
    """A table of the page in Markdown, what qualifies a cell in brackets."""
    rows = [[_cell(cell.text, cell.sub) for cell in row] for row in table.rows]
    return blocks.table(table.columns, rows)


def _cell(text: str, notes: tuple[str, ...]) -> str:
    text = "" if text == numbers.NOTHING else text
    said = f"{text} ({'; '.join(notes)})" if notes else text
    return said.translate(_PLAIN)


BLOCKS: dict[str, Callable[[Study], str]] = {
    "verdicts": _verdicts,
    "reasons": _reasons,
    "contrasts": _contrasts,
    "arms": _arms,
    "paper": _paper,
    "scorers": lambda study: _of(study_tables.of_scorers(study)),
    "leads": lambda study: (
        f"{study_tables.leads_words(study)}\n\n{_of(study_tables.of_leads(study))}"
    ),
    "difficulties": lambda study: _of(study_tables.of_difficulties(study)),
    "equals": lambda study: _of(study_tables.of_equals(study)),
}
"""By name."""
