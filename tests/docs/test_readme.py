"""The README's Python example runs, and its YAML road is a legal one that trains."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import yaml

from allroads.judges import load_verifier
from allroads.lab.compare import prepare
from allroads.lab.config import build_config

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_example(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys):
    [code] = blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "best-of-n" in printed
    assert (tmp_path / "runs/example/report.html").is_file()


def test_the_verifier_is_one(tmp_path):
    [code] = blocks("py")
    path = tmp_path / "checks.py"
    path.write_text(code)
    scores = load_verifier(str(path))(["why"] * 3, ["because", "so", " "])
    assert scores[:2] == [1.0, 0.0]
    assert math.isnan(scores[2])


def test_yaml_example_plans_a_road_of_its_own():
    [text] = blocks("yaml")
    prepared = prepare(build_config(yaml.safe_load(text)))
    betas = {c.value for c in prepared.plan.cells if c.road == "best-worst"}
    assert betas == {0.2, 0.7, 2.0}
    starts = [
        job.id
        for job in prepared.plan.jobs.values()
        if job.kind == "stage" and job.stage.name == "sft" and job.seed == 0
    ]
    # The road's own sft is the start policy's to the letter, so it is trained once.
    assert len(starts) == 1
