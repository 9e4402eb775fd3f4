"""The calibration study as blocks of docs/diagnosis.md and docs/diagnosis-study.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from allroads.diagnosis.calibration import Held
from allroads.diagnosis.model import Models
from allroads.lab.study.prediction.collecting import READS, Found, Results, regret
from allroads.lab.study.prediction.endings import Ending
from allroads.report.blocks import table

_ORDER = ("truth", "labels")


def blocks(
    found: Results,
    models: Models,
    ended: Mapping[str, Sequence[Ending]],
) -> dict[str, Callable[[], str]]:
    """What writes each block, by name; of the model for whoever has a verifying program first."""
    ordered = {name: found[name] for name in _ORDER if name in found}
    return {
        "calibration": partial(_calibration, ordered),
        "models": partial(_models, models),
        "worst": partial(_worst, ordered),
        "endings": partial(_endings, ended),
        "worlds": partial(_worlds, ordered),
    }


def _calibration(found: Results) -> str:
    parts = [
        f"{name}: {', '.join(READS[name])}\n\n{_of_roads(by_road)}{_of_all(by_road)}"
        for name, by_road in found.items()
    ]
    return "\n".join(parts) or "Too few worlds have been measured.\n"


def _of_roads(by_road: dict[str, Found]) -> str:
    every = [one.calibration for one in by_road.values()]

    def row(what: str, *values: str) -> tuple[str, ...]:
        return (what, *values)

    rows = [
        row("worlds, families", *(f"{c.worlds}, {c.families}" for c in every)),
        row("gain above 0, below 0", *(f"{c.positive:.0%}, {c.negative:.0%}" for c in every)),
        row("reliability of the measured gains", *(f"{c.reliability:.2f}" for c in every)),
        row("rank correlation (aim: 0.8)", *(f"{c.spearman:.2f}" for c in every)),
        row("sign said (aim: 60 %)", *(f"{c.decided:.0%}" for c in every)),
        row("of these right (aim: 90 %)", *(f"{c.signs:.0%}" if c.decided else "" for c in every)),
        row("90 % intervals cover (aim: 85 to 95 %)", *(f"{c.covered:.0%}" for c in every)),
        *(
            row(f"mean regret, {strategy}", *(f"{c.regret[strategy]:.3f}" for c in every))
            for strategy in every[0].regret
        ),
    ]
    return table(("", *by_road), rows)


def _of_all(by_road: dict[str, Found]) -> str:
    said = ", ".join(f"{name} {value:.3f}" for name, value in regret(by_road).items())
    return f"\nMean regret where all roads may be taken: {said}.\n" if said else ""


def _models(models: Models) -> str:
    lines = [
        f"- **{name}, {road}**: {one.words}."
        for name, roads in models.models.items()
        for road, one in roads.items()
    ]
    return "".join(f"{line}\n" for line in lines) or "None yet.\n"


def _worst(found: Results) -> str:
    parts = [
        f"{name}, {road}\n\n{_rows(one.worst)}"
        for name, by_road in found.items()
        for road, one in by_road.items()
    ]
    return "\n".join(parts) or "None yet.\n"


def _endings(ended: Mapping[str, Sequence[Ending]]) -> str:
    rows = []
    for road, every in ended.items():
        if not every:
            continue
        brought = [one.brought.value for one in every]
        least, most = (end(every, key=_brought) for end in (min, max))
        gaining = [one.world for one in every if one.unfinished]
        rows.append(
            (
                road,
                str(len(every)),
                str(sum(one.chosen for one in every)),
                f"{sum(brought) / len(brought):+.3f}",
                f"{_brought(least):+.3f} ({least.world}) to {_brought(most):+.3f} ({most.world})",
                ", ".join(gaining) or "none",
            )
        )
    columns = (
        "Road", "Worlds", "Chosen at the end", "Second half brought, mean", "Least to most",
        "Still gaining, surely",
    )  # fmt: skip
    return table(columns, rows) if rows else "None yet.\n"


def _brought(one: Ending) -> float:
    return one.brought.value


def _worlds(found: Results) -> str:
    parts = [f"{name}\n\n{_every(by_road)}" for name, by_road in found.items()]
    return "\n".join(parts) or "None yet.\n"


def _every(by_road: dict[str, Found]) -> str:
    """A row a world, the largest gain of the first road first."""
    held = {road: {h.world.name: h for h in one.held} for road, one in by_road.items()}
    first = next(iter(held.values()))
    names = [feature.name for feature in next(iter(first.values())).prediction.features]
    columns = ("World", "Family", *names)
    columns += tuple(f"{road}{which}" for road in held for which in ("", ", predicted (90 %)"))
    rows = []
    for name, one in sorted(first.items(), key=lambda item: -item[1].world.gain):
        cells = [cell for rows in held.values() for cell in _cells(rows.get(name))]
        own = (f"{one.world.features[feature][0]:+.3f}" for feature in names)
        rows.append((name, one.world.family, *own, *cells))
    return table(columns, rows)


def _cells(held: Held | None) -> tuple[str, str]:
    if held is None:
        return "", ""
    world, said = held.world, held.prediction
    return (
        f"{world.gain:+.3f} ({world.error:.3f})",
        f"{said.gain:+.3f} ({said.low:+.3f} to {said.high:+.3f})",
    )


def _rows(every: Sequence[Held]) -> str:
    names = [feature.name for feature in every[0].prediction.features]
    columns = ("World", "Family", "Gain (standard error)", "Predicted (90 %)", *names)
    rows = []
    for held in every:
        world = held.world
        own = (f"{world.features[name][0]:+.3f}" for name in names)
        rows.append((world.name, world.family, *_cells(held), *own))
    return table(columns, rows)
