"""The run folder: what it was asked, what was resolved, and by which versions.

`manifest.json` is written before the first job; `metrics.jsonl`, `samples.jsonl`, `ledger.json`,
`results.json` and `report.html` after the last. The report can be rebuilt from these files alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from allroads import files
from allroads.errors import RunFolderError
from allroads.lab.config import CompareConfig
from allroads.lab.jobs import Plan
from allroads.lab.settings import Settings
from allroads.records import Results

_PACKAGES = ("allroads", "torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn")


def write_manifest(
    folder: Path, config: CompareConfig, settings: Settings, device: str, command: str
) -> dict[str, Any]:
    """Write the manifest, or check that the one there is of the same data, model and settings.

    Raises:
        RunFolderError: naming the first thing that differs.
    """
    path = folder / "manifest.json"
    manifest: dict[str, Any] = {
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "seeds": list(config.seeds),
        "device": device,
        "threads": config.threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in _PACKAGES},
        "revision": revision(),
    }
    if path.is_file():
        before = files.read_json(path)
        for name in ("data_fingerprint", "model_fingerprint", "max_new_tokens", "max_length"):
            old, new = before["settings"].get(name), manifest["settings"][name]
            if old != new:
                raise RunFolderError(
                    f"{folder} belongs to another comparison ({name} was {old}, now {new}); give "
                    "the same data, model and lengths, or choose another --out"
                )
        manifest["created"] = before["created"]
    files.write_indented_json(path, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run folder.

    Raises:
        RunFolderError: when there is none.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise RunFolderError(f"{folder} is no run folder: it has no manifest.json")
    return files.read_json(path)


def write_summaries(folder: Path, plan: Plan, results: Results) -> None:
    """Everything that a reader wants in one place, besides the page."""
    metrics: list[str] = []
    for job in plan.jobs.values():
        path = folder / "checkpoints" / job.id / "metrics.jsonl"
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                metrics.append(json.dumps({"job": job.id, **json.loads(line)}))
    files.write_text(folder / "metrics.jsonl", "".join(line + "\n" for line in metrics))
    samples = [sample.model_dump_json() + "\n" for sample in results.samples]
    files.write_text(folder / "samples.jsonl", "".join(samples))
    files.write_indented_json(folder / "ledger.json", [row.model_dump() for row in results.ledger])
    files.write_text(folder / "results.json", results.model_dump_json(indent=1) + "\n")


def version_of(name: str) -> str:
    """The version of an installed package, or that it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@cache
def revision() -> str:
    """The git revision of this library's own checkout, '' when it is installed from a wheel.

    As it was when this process first asked: what is checked out later is not what runs here.
    """
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        tracked = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", Path(__file__).name],
            capture_output=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if answer.returncode or tracked.returncode:
        return ""
    return answer.stdout.strip()
