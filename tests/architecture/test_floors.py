"""The building stands: every module imports from lower floors and its own room only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PACKAGE = "allroads"

FLOORS = (
    ("errors", "seeding", "stats", "files", "usercode"),
    ("types", "records", "findings", "studies", "evidence", "diagnoses"),
    ("objectives", "exact", "diagnosis", "report"),
    ("data", "models"),
    ("rollouts", "judges"),
    ("evaluation",),
    ("roads",),
    ("lab",),
    ("cli", "console", "__main__", "api", "__init__"),
)
"""Rooms by floor: a package or a single module of `allroads`."""

OPEN_FLOORS = (0, 1, 8)
"""Floors of single modules are one room: they may use each other, but never in a circle."""

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

WITHOUT_TORCH = ("errors", "seeding", "stats", "files", "types", "records", "findings",
                 "studies", "evidence", "diagnoses", "report", "exact", "diagnosis")  # fmt: skip
"""Theory, prediction and report are rebuilt on a laptop, from files."""

HEAVY = ("torch", "transformers", "jaxtyping", "safetensors", "tokenizers")


def sources() -> dict[str, str]:
    """Text of every module by dotted name."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted((SOURCE / PACKAGE).rglob("*.py"))
    }


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(module: str, texts: Mapping[str, str]) -> Iterator[str]:
    """Dotted names of what a module imports, at its top or inside functions."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(texts[module])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module if module.endswith("__init__") else package + ".x"
                parts = above.split(".")[: -node.level]
                base = ".".join([*parts, *([base] if base else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                known = whole in texts or f"{whole}.__init__" in texts
                yield whole if known else base


def violations(texts: Mapping[str, str]) -> list[str]:
    """A sentence for every import that points upwards or sideways."""
    out = []
    for module in texts:
        room = room_of(module)
        if room not in FLOOR_OF:
            out.append(f"{module}: room {room!r} is on no floor")
            continue
        for target in imported(module, texts):
            if target.split(".")[0] != PACKAGE:
                continue
            other = room_of(target)
            if other == room:
                continue
            if other not in FLOOR_OF:
                out.append(f"{module} imports {target}: room {other!r} is on no floor")
            elif FLOOR_OF[other] > FLOOR_OF[room] or (
                FLOOR_OF[other] == FLOOR_OF[room] and FLOOR_OF[room] not in OPEN_FLOORS
            ):
                out.append(
                    f"{module} (floor {FLOOR_OF[room]}) imports {target} (floor {FLOOR_OF[other]})"
                )
    return out


def circles(texts: Mapping[str, str]) -> list[str]:
    """Modules that cannot be read before everything that they import."""
    graph = {
        name: {
            target if target in texts else f"{target}.__init__"
            for target in imported(name, texts)
            if target.split(".")[0] == PACKAGE
        }
        & texts.keys()
        for name in texts
    }
    while leaves := {name for name, needs in graph.items() if not needs}:
        graph = {name: needs - leaves for name, needs in graph.items() if name not in leaves}
    return sorted(graph)


def reaches(module: str, texts: Mapping[str, str]) -> set[str]:
    """Everything outside `allroads` that a module imports, directly or through other modules."""
    seen, todo, outside = set(), [module], set()
    while todo:
        name = todo.pop()
        name = name if name in texts else f"{name}.__init__"
        if name in seen or name not in texts:
            continue
        seen.add(name)
        for target in imported(name, texts):
            if target.split(".")[0] == PACKAGE:
                todo.append(target)
            else:
                outside.add(target.split(".")[0])
    return outside


def test_imports_point_down():
    assert violations(sources()) == []


def test_no_module_imports_itself_in_a_circle():
    """Inside a room too: the modules of a package can be read one after the other."""
    assert circles(sources()) == []
    circle = {"allroads.stats": "import allroads.files", "allroads.files": "import allroads.stats"}
    assert circles(circle) == ["allroads.files", "allroads.stats"]


def test_light_rooms_never_reach_torch():
    texts = sources()
    for module in texts:
        if room_of(module) in WITHOUT_TORCH:
            assert reaches(module, texts).isdisjoint(HEAVY), module


def test_light_rooms_import_where_torch_is_not_installed():
    modules = [
        module.removesuffix(".__init__") for module in sources() if room_of(module) in WITHOUT_TORCH
    ]
    assert "allroads.report.page" in modules
    script = (
        "import importlib, sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {HEAVY!r}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.path.insert(0, {str(SOURCE)!r})\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


CLEAN = {
    "allroads.errors": "import math",
    "allroads.records": "from pydantic import BaseModel",
    "allroads.models.__init__": "",
    "allroads.models.policy": "import torch\nfrom allroads.errors import ModelError",
    "allroads.models.reward": "from allroads.models.policy import Policy\nfrom . import policy",
    "allroads.roads.__init__": "",
    "allroads.roads.loop": "from allroads import files\nfrom allroads.models import policy",
    "allroads.files": "",
}


def test_a_clean_building_has_no_violation():
    assert violations(CLEAN) == []


@pytest.mark.parametrize(
    ("module", "text", "found"),
    [
        ("allroads.models.bad", "from allroads.roads.loop import train", "allroads.roads.loop"),
        ("allroads.models.bad", "import allroads.roads.loop", "allroads.roads.loop"),
        ("allroads.models.bad", "from allroads import roads", "allroads.roads"),
        ("allroads.models.bad", "from ..roads import loop", "allroads.roads.loop"),
        ("allroads.models.bad", "def f():\n    from allroads.roads import loop", "loop"),
        ("allroads.judges.bad", "from allroads.rollouts.sampler import sample", "sampler"),
        ("allroads.report.bad", "from allroads.exact import tree", "allroads.exact"),
        ("allroads.errors", "from allroads.records import Cost", "allroads.records"),
        ("allroads.utils", "import math", "'utils' is on no floor"),
    ],
)
def test_a_planted_violation_is_caught(module: str, text: str, found: str):
    (sentence,) = violations({**CLEAN, module: text})
    assert sentence.startswith(module)
    assert found in sentence


def test_a_planted_road_to_torch_is_caught():
    texts = {**CLEAN, "allroads.stats": "from allroads.models.policy import Policy"}
    assert "torch" in reaches("allroads.stats", texts)
    texts["allroads.report.page"] = "def f():\n    from allroads import stats"
    assert "torch" in reaches("allroads.report.page", texts)
    assert "torch" not in reaches("allroads.records", texts)


def undocumented(module: str, text: str) -> list[str]:
    """Public names without a docstring; methods and functions inside public classes too."""
    out = []

    def visit(name: str, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
        if ast.get_docstring(node) is None:
            out.append(name)
        if isinstance(node, ast.FunctionDef):
            return
        for inner in node.body:
            if isinstance(inner, ast.ClassDef | ast.FunctionDef) and inner.name[0] != "_":
                visit(f"{name}.{inner.name}", inner)

    visit(module, ast.parse(text))
    return out


def test_every_public_name_says_what_it_is():
    assert [name for module, text in sources().items() for name in undocumented(module, text)] == []


def test_an_undocumented_name_is_caught():
    text = '"""Module."""\nclass A:\n    """A."""\n    def f(self): ...\n    def _g(self): ...\n'
    assert undocumented("m", text) == ["m.A.f"]
    assert undocumented("m", "x = 1") == ["m"]
