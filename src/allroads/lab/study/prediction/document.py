"""The calibration study as blocks of docs/diagnosis.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from allroads.diagnosis.calibration import Held
from allroads.diagnosis.model import Models
from allroads.lab.study.prediction.collecting import READS, Found
from allroads.report.blocks import table


def blocks(found: Mapping[str, Found], models: Models) -> dict[str, Callable[[], str]]:
    """What writes each block, by name; of the model for whoever has a verifying program first."""
    names = sorted(found, key=list(READS).index, reverse=True)
    ordered = {name: found[name] for name in names}
    return {
        "calibration": partial(_calibration, ordered),
        "models": partial(_models, models),
        "worst": partial(_worst, ordered),
        "worlds": partial(_worlds, ordered),
    }


def _calibration(found: Mapping[str, Found]) -> str:
    columns = ("", *(f"{name}: {', '.join(READS[name])}" for name in found))
    every = [one.calibration for one in found.values()]

    def row(what: str, *values: str) -> tuple[str, ...]:
        return (what, *values)

    rows = [
        row("worlds, families", *(f"{c.worlds}, {c.families}" for c in every)),
        row("gain above 0, below 0", *(f"{c.positive:.0%}, {c.negative:.0%}" for c in every)),
        row("reliability of the measured gains", *(f"{c.reliability:.2f}" for c in every)),
        row("rank correlation (aim: 0.8)", *(f"{c.spearman:.2f}" for c in every)),
        row("sign said (aim: 60 %)", *(f"{c.decided:.0%}" for c in every)),
        row("of these right (aim: 90 %)", *(f"{c.signs:.0%}" for c in every)),
        row("90 % intervals cover (aim: 85 to 95 %)", *(f"{c.covered:.0%}" for c in every)),
        *(
            row(f"mean regret, {strategy}", *(f"{c.regret[strategy]:.3f}" for c in every))
            for strategy in (every[0].regret if every else ())
        ),
    ]
    return table(columns, rows) if every else "Too few worlds have been measured.\n"


def _models(models: Models) -> str:
    lines = [f"- **{name}**: {one.words}." for name, one in models.models.items()]
    return "".join(f"{line}\n" for line in lines) or "None yet.\n"


def _worst(found: Mapping[str, Found]) -> str:
    parts = [f"{name}\n\n{_rows(one.worst)}" for name, one in found.items()]
    return "\n".join(parts) or "None yet.\n"


def _worlds(found: Mapping[str, Found]) -> str:
    parts = [
        f"{name}\n\n{_rows(sorted(one.held, key=lambda held: -held.world.gain))}"
        for name, one in found.items()
    ]
    return "\n".join(parts) or "None yet.\n"


def _rows(every: Sequence[Held]) -> str:
    names = [feature.name for feature in every[0].prediction.features]
    columns = ("World", "Family", "Gain (standard error)", "Predicted (90 %)", *names)
    rows = []
    for held in every:
        world, said = held.world, held.prediction
        rows.append(
            (
                world.name,
                world.family,
                f"{world.gain:+.3f} ({world.error:.3f})",
                f"{said.gain:+.3f} ({said.low:+.3f} to {said.high:+.3f})",
                *(f"{world.features[name][0]:+.3f}" for name in names),
            )
        )
    return table(columns, rows)
