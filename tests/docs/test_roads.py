"""docs/roads: a page for every road, and each says what the atlas and results.json hold."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from allroads.files import read_json
from allroads.lab.defaults import ROUTES
from allroads.roads.atlas import atlas

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "roads"
HELD = read_json(DOCS / "results.json")
ROADS = atlas(recipe=ROUTES.recipe)
REMEDY = "run benchmarks/roads.py --write and read the pages again"


def script():
    spec = importlib.util.spec_from_file_location("roads_pages", ROOT / "benchmarks" / "roads.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = script()


def test_every_road_has_a_page_and_every_page_a_road():
    assert {page.stem for page in DOCS.glob("*.md")} == {*ROADS, "README"}


@pytest.mark.parametrize("name", [*ROADS, "README"])
def test_a_page_is_what_the_script_writes(name: str):
    page = DOCS / f"{name}.md"
    text = page.read_text(encoding="utf-8")
    assert PAGES.filled(page, text, HELD) == text, REMEDY


def test_a_changed_number_and_a_lost_block_are_noticed():
    page = DOCS / "dpo.md"
    text = page.read_text(encoding="utf-8")
    value = HELD["roads"]["dpo"]["reward"][0]
    other = {**HELD["roads"]["dpo"], "reward": [value + 0.1, None, None]}
    held = {**HELD, "roads": {**HELD["roads"], "dpo": other}}
    assert PAGES.filled(page, text, held) != text
    with pytest.raises(ValueError, match="stages"):
        PAGES.filled(page, text.replace("<!-- stages -->", ""), HELD)


@pytest.mark.parametrize("name", [n for n in HELD["roads"] if HELD["roads"][n]["logged"]])
def test_the_metrics_of_a_page_are_those_that_the_run_logged(name: str):
    table = PAGES.metrics(ROADS[name], HELD)
    assert (
        sorted(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE))
        == (HELD["roads"][name]["logged"])
    )


@pytest.mark.parametrize("name", [*ROADS, "README"])
def test_links_of_a_page_lead_somewhere(name: str):
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", text):
        assert (DOCS / target).exists(), target


def test_every_page_has_the_same_parts():
    for name in ROADS:
        text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        assert re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE) == [
            name,
            "Stages",
            "Loss",
            "The paper, and where we differ",
            "Defaults",
            "What it logs",
            "Result on `routes`",
        ]
        assert re.search(r"## Loss\n\n    \S", text), f"{name} names no loss"


def test_the_results_are_of_the_world_as_it_is():
    assert HELD["run"]["sizes"]["pairs"] == 3000
    assert set(HELD["roads"]) <= set(ROADS)
    assert (DOCS / "results.json").stat().st_size < 100_000
    assert "/tmp" not in (DOCS / "results.json").read_text(encoding="utf-8")
