from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from allroads.errors import StudyError
from allroads.lab.study.registration import Registration, registered
from allroads.lab.study.registration import register as register_text


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file in a repository, committed."""
    folder = tmp_path / "repository"
    folder.mkdir()
    _git(folder, "init", "-q")
    path = folder / "h1.py"
    path.write_text("prediction = 'rises'\n")
    _commit(path)
    return path


def register(name: str, source: Path, results: Path) -> Registration:
    return register_text(name, source.read_text(), [source], results)


def _git(folder: Path, *command: str) -> None:
    names = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", str(folder), *names, *command], check=True, capture_output=True)


def _commit(path: Path) -> None:
    _git(path.parent, "add", path.name)
    _git(path.parent, "commit", "-q", "-m", "text")


def test_a_committed_text_is_registered_once(source: Path, tmp_path: Path):
    results = tmp_path / "results"
    first = register("H1", source, results)
    assert register("H1", source, results) == first
    assert registered(results) == {"H1": first}
    assert len((results / "registrations.jsonl").read_text().splitlines()) == 1


def test_a_text_that_is_not_committed_is_refused(source: Path, tmp_path: Path):
    source.write_text("prediction = 'falls'\n")
    with pytest.raises(StudyError, match="not committed"):
        register("H1", source, tmp_path / "results")
    new = source.with_name("h2.py")
    new.write_text("")
    with pytest.raises(StudyError, match="no git repository knows"):
        register("H2", new, tmp_path / "results")
    assert registered(tmp_path / "results") == {}


def test_a_text_that_changed_since_its_first_confirmation_is_refused(source: Path, tmp_path: Path):
    register("H1", source, tmp_path / "results")
    source.write_text("prediction = 'falls'\n")
    _commit(source)
    with pytest.raises(StudyError, match="changed since its first confirmatory cell"):
        register("H1", source, tmp_path / "results")


def test_outside_a_repository_nothing_is_confirmed(tmp_path: Path):
    path = tmp_path / "h1.py"
    path.write_text("")
    with pytest.raises(StudyError, match="exploration"):
        register("H1", path, tmp_path / "results")
