"""Pre-registration: what a hypothesis said before its first confirmatory cell, as git knows it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from allroads import files
from allroads.errors import StudyError
from allroads.lab.folder import revision
from allroads.lab.jobs import fingerprint
from allroads.records import Record

_LEDGER = "registrations.jsonl"


class Registration(Record):
    """One hypothesis as it stood when its confirmation began."""

    hypothesis: str
    says: str
    """Fingerprint of all that it says: prediction, cells, statistics, rules and margins."""
    revision: str
    """Commit that was checked out."""
    created: str


def registered(folder: Path) -> dict[str, Registration]:
    """The first registration of each hypothesis in a results folder."""
    path = folder / _LEDGER
    out: dict[str, Registration] = {}
    if path.is_file():
        for text in path.read_text("utf-8").splitlines():
            one = Registration.model_validate_json(text)
            out.setdefault(one.hypothesis, one)
    return out


def register(hypothesis: str, says: str, sources: Sequence[Path], folder: Path) -> Registration:
    """Let a hypothesis be confirmed, or refuse; writes the ledger the first time.

    Args:
        hypothesis: its name.
        says: a text that changes whenever what is predicted does.
        sources: the files that it is made of.
        folder: of results.

    Raises:
        StudyError: when a file is not committed as it stands, when git cannot tell, or when the
            hypothesis has changed since its first confirmatory cell.
    """
    for source in sources:
        check_committed(source)
    says = fingerprint(says)
    before = registered(folder).get(hypothesis)
    if before is not None:
        if before.says != says:
            raise StudyError(
                f"{hypothesis} ({sources[0].name}) has changed since its first confirmatory cell "
                f"({before.created}, commit {before.revision}); what was seen cannot confirm what "
                "was written after it. Give the new text a name of its own, and fresh seeds"
            )
        return before
    new = Registration(
        hypothesis=hypothesis,
        says=says,
        revision=revision(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    path = folder / _LEDGER
    old = path.read_text("utf-8") if path.is_file() else ""
    files.write_text(path, old + new.model_dump_json() + "\n")
    return new


def check_committed(source: Path) -> None:
    """Refuse a file that is not committed as it stands, or that no repository knows.

    Raises:
        StudyError: with what to do.
    """
    if not _git(source, "ls-files", "--error-unmatch", source.name)[0]:
        raise StudyError(
            f"{source.name}: no git repository knows this file, so nobody could tell what it said "
            "before the run. Run confirmations from a checkout; exploration (without --confirm) "
            "works anywhere"
        )
    clean, changes = _git(source, "status", "--porcelain", "--", source.name)
    if not clean or changes:
        raise StudyError(
            f"{source.name} has changes that are not committed; commit what is predicted before "
            "it is tested"
        )


def _git(source: Path, *command: str) -> tuple[bool, str]:
    try:
        answer = subprocess.run(
            ["git", "-C", str(source.resolve().parent), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False, ""
    return answer.returncode == 0, answer.stdout.strip()
