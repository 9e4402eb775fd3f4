"""docs/regret.md says what docs/regret.json holds, and the code still gives those numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from allroads.exact.regret.cell import run_seed
from allroads.exact.regret.curves import Results
from allroads.exact.regret.settings import CELLS
from allroads.exact.regret.tables import BLOCK, BLOCKS, fill
from allroads.files import read_json
from allroads.seeding import child

DOCS = Path(__file__).resolve().parents[2] / "docs"
CELLS_IN_FILE = Results(read_json(DOCS / "regret.json"))
PAGE = (DOCS / "regret.md").read_text(encoding="utf-8")


def picks() -> list[tuple[str, int]]:
    """Three cells and a seed of each, at random, but the same as long as the file is the same."""
    rng = child(0, "regret", *(cell["fingerprint"] for cell in CELLS_IN_FILE.values()))
    names = rng.choice(list(CELLS_IN_FILE), size=3, replace=False)
    return [(str(name), int(rng.integers(50))) for name in names]


def test_every_cell_has_the_fingerprint_of_its_setting():
    found = {name: cell["fingerprint"] for name, cell in CELLS_IN_FILE.items()}
    assert found == {name: CELLS[name].fingerprint for name in found}
    assert min(len(cell["code"]) for cell in CELLS_IN_FILE.values()) >= 50
    assert (DOCS / "regret.json").stat().st_size < 300_000


@pytest.mark.parametrize(("name", "seed"), picks())
def test_a_cell_comes_out_again(name: str, seed: int):
    cell, again = CELLS_IN_FILE[name], run_seed(CELLS[name], seed)
    for learner, rows in cell["regret"].items():
        # Units are 1e-6; another processor may round the last one differently.
        np.testing.assert_allclose(again["regret"][learner], rows[seed], atol=1)
    assert sum(again["code"]) == pytest.approx(cell["code"][seed], abs=4)
    for learner, rows in cell["predicted"].items():
        assert again["predicted"][learner] == pytest.approx(rows[seed], abs=2e-4)


def test_the_page_says_what_the_file_holds():
    assert fill(PAGE, CELLS_IN_FILE) == PAGE
    assert {found[2] for found in BLOCK.finditer(PAGE)} == BLOCKS.keys()


def test_a_changed_number_is_noticed():
    cells = Results(CELLS_IN_FILE)
    rows = np.array(cells["centre"]["regret"]["simple"]) * 2
    cells["centre"] = {**cells["centre"], "regret": {**cells["centre"]["regret"], "simple": rows}}
    assert fill(PAGE, cells) != PAGE


def test_measured_numbers_stand_in_blocks_only():
    """Outside of them a decimal number may only be one that the settings or the rules state."""
    prose = BLOCK.sub("", PAGE)
    stated = {"1.5", "0.25", "0.5"}
    sources = {"2503.01067", "2403.01857", "2505.19770"}
    assert set(re.findall(r"\d+\.\d+", prose)) == stated | sources
