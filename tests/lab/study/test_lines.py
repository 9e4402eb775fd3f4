from __future__ import annotations

from pathlib import Path

import pytest

from allroads.errors import RunFolderError
from allroads.lab.study.lines import Store
from tests.lab.study.making import policy, scorer


def test_what_was_added_is_read_again(tmp_path: Path):
    lines = [
        policy("dpo", 1000, [0.5, 0.25], 0.7),
        policy("dpo", 1001, [], 0.7, failed="diverged", moments=()),
        scorer("reward-model", 1000, [0.5, -1.0]),
    ]
    store = Store(tmp_path)
    for line in lines:
        store.add(line)
    found = list(store.cells("routes"))
    assert sorted(found, key=str) == sorted(lines, key=str)
    assert store.variants() == ["routes"]
    assert list(store.cells("elsewhere")) == []


def test_each_cell_is_one_line(tmp_path: Path):
    store = Store(tmp_path)
    for seed in range(3):
        store.add(policy("dpo", seed, [0.5]))
    assert len((tmp_path / "routes" / "dpo.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_line_that_a_kill_cut_off_is_no_cell_and_spoils_no_other(tmp_path: Path, cut: int):
    store = Store(tmp_path)
    for seed in (0, 1):
        store.add(policy("dpo", seed, [0.5]))
    path = tmp_path / "routes" / "dpo.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [line.seed for line in store.cells("routes")] == ([0] if cut > 1 else [0, 1])
    store.add(policy("dpo", 2, [0.5]))
    assert [line.seed for line in store.cells("routes")] == ([0, 2] if cut > 1 else [0, 1, 2])


def test_a_line_that_is_no_cell_is_named(tmp_path: Path):
    store = Store(tmp_path)
    store.add(policy("dpo", 0, [0.5]))
    path = tmp_path / "routes" / "dpo.jsonl"
    path.write_text(path.read_text() + '{"kind":"policy","arm":"dpo"}\n')
    with pytest.raises(RunFolderError, match=r"dpo\.jsonl, line 2: .*remove the line"):
        list(store.cells("routes"))
