from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from allroads.cli.lab import app
from allroads.errors import ConfigError, StudyError
from allroads.lab.study import registration
from allroads.lab.study.lines import Store
from tests.lab.study.making import policy

runner = CliRunner()


def asked(*words: object) -> str:
    result = runner.invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_has_every_hypothesis_and_which_worlds_have_cells(tmp_path: Path):
    Store(tmp_path).add(policy("dpo", 0, [0.5]))
    lines = asked("list", "--results", tmp_path).splitlines()
    assert any(line.startswith("H6 ") and "secret" in line for line in lines)
    assert [line.split()[0] for line in lines if "has cells" in line] == ["routes"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gab"], "did you mean 'gap'"),
        (["gap", "--world", "secret"], "no case of gap"),
        (["gap", "--budget", "soon"], "30m"),
        (["gap", "--confirm", "--first-seed", 5], "from 1000 on"),
        (["gap", "--first-seed", 898, "--seeds", 3], "900 and 901 tune"),
        (["gap", "--first-seed", 1000], "add --confirm"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(words: list, message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        asked("run", *words, "--results", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_confirmed_from_text_that_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(source: Path) -> None:
        raise StudyError(f"{source.name} has changes that are not committed")

    monkeypatch.setattr(registration, "check_committed", refused)
    with pytest.raises(StudyError, match=r"gap\.py has changes"):
        asked("run", "gap", "--confirm", "--results", tmp_path, "--work", tmp_path / "work")
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_few_cells_is_a_page(tmp_path: Path):
    Store(tmp_path / "results").add(policy("dpo", 0, [0.5]))
    page = tmp_path / "findings.html"
    document = tmp_path / "findings.md"
    document.write_text(
        "# Findings\n\n<!-- study: verdicts -->\nwhat stood here before\n<!-- end -->\n"
    )
    words = ("report", "--results", tmp_path / "results", "--out", page, "--write", document)
    asked(*words)
    assert "no test" in page.read_text("utf-8")
    assert "what stood here" not in document.read_text("utf-8")
