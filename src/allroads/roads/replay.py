"""The pairs that a stage was trained on, kept for another stage to be trained on them again.

One line a round, of tokens alone: some four bytes a token, little beside the stage's weights. So
every stage on pairs of samples leaves them, and a road that replays one can join a finished run.
"""

from __future__ import annotations

import json
from pathlib import Path

from allroads.errors import RunFolderError
from allroads.roads.units import Round, Unit

FILE = "pairs.jsonl"


def keep(material: Round, index: int, folder: Path) -> None:
    """Add the pairs of round `index` of the stage whose folder this is.

    A resumed run adds rounds that are there already: they are the same. A line begins with its
    newline, so that one that a kill has cut spoils no other.
    """
    units = [[unit.slot, unit.prompt, *unit.completions] for unit in material.units]
    line = json.dumps({"round": index, "slots": material.slots, "units": units})
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a" if index else "w", encoding="utf-8") as file:
        file.write("\n" + line)


def kept(folder: Path, rounds: int) -> Round:
    """All rounds of a stage as one; slot by slot, so that what it dropped leaves the same gaps.

    Raises:
        RunFolderError: when a round is not there.
    """
    path = folder / FILE
    found = _by_round(path.read_text(encoding="utf-8")) if path.is_file() else {}
    units: list[Unit] = []
    slots = 0
    for index in range(rounds):
        if index not in found:
            raise RunFolderError(
                f"{path}: the pairs of round {index} of {rounds} are not there, and another stage "
                f"is to be trained on them; remove {folder} and run the same command again"
            )
        units += [
            Unit(slots + slot, tuple(prompt), tuple(map(tuple, sides)))
            for slot, prompt, *sides in found[index]["units"]
        ]
        slots += found[index]["slots"]
    return Round(tuple(units), slots, {})


def _by_round(text: str) -> dict[int, dict]:
    out = {}
    for line in text.splitlines():
        try:
            one = json.loads(line)
        except ValueError:  # Empty, or cut by a kill: the round stands below once more.
            continue
        out[one["round"]] = one
    return out
