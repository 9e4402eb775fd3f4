"""What `allroads exact --oracle` says, and when it fails."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from allroads import cli
from allroads.errors import ConfigError
from allroads.lab import oracle
from allroads.lab.oracle import Row, road_lines
from allroads.lab.oracle import text as told

RIGHT = Row(road="dpo", stage="dpo", objective="words", difference=1e-15, followed=None)
WRONG = Row(road="rloo", stage="rloo", objective="words", difference=0.5, followed=0.25)


def test_a_wrong_gradient_is_called_one():
    _, _, right, wrong, *_ = road_lines([RIGHT, WRONG])
    assert "NOT" not in right
    assert wrong.endswith("NOT ITS GRADIENT")
    assert "5e-01" in wrong
    assert "0.25" in wrong


@pytest.mark.parametrize("rows", [[RIGHT], [RIGHT, WRONG]])
def test_the_command_fails_where_a_road_is_wrong(monkeypatch: pytest.MonkeyPatch, rows: list[Row]):
    monkeypatch.setattr(told, "table", lambda: iter(rows))
    monkeypatch.setattr(told, "biases", lambda: iter(()))
    done = CliRunner().invoke(cli.app, ["exact", "--oracle"])
    assert done.exit_code == (1 if WRONG in rows else 0)
    for row in rows:
        assert row.road in done.output
    # The KL table is there too.
    assert "prefixes given" in done.output


def test_it_prints_no_single_claim():
    done = CliRunner().invoke(cli.app, ["exact", "--oracle", "--claim", "spin"])
    assert isinstance(done.exception, ConfigError)


def test_public_names_are_there():
    assert all(hasattr(oracle, name) for name in oracle.__all__)
