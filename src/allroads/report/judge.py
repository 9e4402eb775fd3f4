"""The tables of an outside judge: its agreement with the labels, its verdicts, its failures."""

from __future__ import annotations

from allroads.records import Duels, Judgement
from allroads.report import numbers
from allroads.report.tables import Cell, Table, share


def of_verdicts(judge: Judgement) -> Table:
    """People's pairs first, then each road against the start policy."""
    rows = [("agreement with the labels", "held-out pairs; won: the chosen answer", "")]
    duels = [judge.people.duels]
    for road in judge.roads:
        setting = f"{road.knob} {numbers.number(road.value)}" if road.knob else ""
        changed = "judged before the run changed" if road.stale else ""
        rows.append((f"{road.road} against {judge.start}", setting, changed))
        duels.append(road.duels)
    return Table(
        caption="Share: won plus half of the tied, of those judged; its 95 % interval below. "
        + (
            "One seed's answers: the interval is over prompts only."
            if len(judge.seeds) == 1
            else f"Answers of {len(judge.seeds)} seeds; the interval is over seeds and prompts."
        ),
        columns=(
            "Pair",
            "Share",
            "Won",
            "Tied",
            "Lost",
            "Left out",
            "Orders disagree",
            "First place preferred",
        ),
        rows=tuple(
            (Cell(text=name, sub=tuple(filter(None, notes))), *_cells(row))
            for (name, *notes), row in zip(rows, duels, strict=True)
        ),
    )


def _cells(duels: Duels) -> tuple[Cell, ...]:
    same = f"{numbers.count(duels.identical)} the same text" if duels.identical else ""
    failed = sum(failure.count for failure in duels.failures)
    first = None if duels.first is None else 100 * duels.first
    return (
        _share(duels, measured=True),
        Cell(text=numbers.count(duels.wins)),
        Cell(text=numbers.count(duels.ties), sub=(same,) if same else ()),
        Cell(text=numbers.count(duels.losses)),
        Cell(text=numbers.count(failed), sub=(f"of {numbers.count(duels.asked)}",)),
        _share(duels, measured=False),
        Cell(text=numbers.NOTHING if first is None else f"{numbers.number(first, 2)} %"),
    )


def _share(duels: Duels, *, measured: bool) -> Cell:
    mean = duels.share if measured else duels.disagreement
    return share(mean, "" if mean is None else numbers.size_of(mean))


def of_failures(judge: Judgement) -> Table:
    """Every kind of failure, wherever it happened."""
    rows = [("agreement with the labels", judge.people.duels)]
    rows += [(road.road, road.duels) for road in judge.roads]
    return Table(
        caption="Failures are left out of every share; none counts as a tie.",
        columns=("Where", "Failure", "How many", "The first one"),
        rows=tuple(
            (
                Cell(text=where),
                Cell(text=failure.reason),
                Cell(text=numbers.count(failure.count)),
                Cell(text=failure.example),
            )
            for where, duels in rows
            for failure in duels.failures
        ),
        words=(1, 3),
    )
