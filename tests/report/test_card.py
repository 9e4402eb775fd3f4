"""The card is valid YAML and plain markdown whatever a user calls things."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from allroads.report.card import ModelCard, render

PLAIN: dict[str, Any] = {
    "name": "dpo-b0.5-s0-34ae8939",
    "makes": "policy",
    "roads": ("dpo",),
    "base_model": "SmolLM2-135M",
    "dataset": "owner/pairs",
    "stage": (("objective", "bradley-terry on implicit"), ("beta", "0.5")),
    "data": (("data", "pairs.jsonl"), ("preference pairs", "119")),
    "figures": (("dpo, win rate", "0.612"),),
    "graded_by": "The grader can be wrong.",
    "seed": 7,
    "command": "allroads compare --out runs/mine",
    "versions": (("torch", "2.13.0"),),
}
HOSTILE = "a: [b]\n---\n# h `c` | <script>x</script> *d* _e_ \\ $f$ 'g' \"h\" & ~ !"


def card(**changes: Any) -> ModelCard:
    return ModelCard.model_validate({**PLAIN, **changes})


def parts(text: str) -> tuple[dict[str, Any], str]:
    """The header as the Hub reads it, and the body."""
    found = re.match(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL)
    assert found
    return yaml.safe_load(found[1]), found[2]


def test_the_header_is_what_the_hub_reads():
    header, _ = parts(render(card()))
    assert header == {
        "base_model": "SmolLM2-135M",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["allroads", "dpo"],
        "datasets": ["owner/pairs"],
    }
    assert "license" not in header, "nobody knows it"


def test_what_is_not_known_is_left_out():
    header, body = parts(render(card(base_model="", dataset="", figures=(), graded_by="")))
    assert header.keys() == {"library_name", "pipeline_tag", "tags"}
    assert "## Figures\n\nNot evaluated.\n" in body
    assert "No figure says yet how good it is." in body


def test_every_fact_is_on_the_page():
    _, body = parts(render(card()))
    for label, value in [*PLAIN["stage"], *PLAIN["data"], *PLAIN["figures"], *PLAIN["versions"]]:
        assert f"- {label}: {value}" in body
    assert "```sh\nallroads compare --out runs/mine\n```" in body
    assert "with seed 7" in body
    assert "The grader can be wrong." in body


@pytest.mark.parametrize("field", ["name", "base_model", "dataset", "roads", "stage", "data"])
def test_a_hostile_name_is_only_text(field: str):
    value: Any = HOSTILE
    if field == "roads":
        value = (HOSTILE,)
    elif field in ("stage", "data"):
        value = (("data", HOSTILE),)
    header, body = parts(render(card(**{field: value})))
    clean, plain = parts(render(card()))
    assert header.keys() == clean.keys()
    shown = " ".join(HOSTILE.split())
    if field in ("base_model", "dataset", "roads"):
        assert shown in str(header.values()).replace("\\\\", "\\").replace("\\'", "'")
    # No heading, rule or tag (but escaped, so text) that the plain card does not have.
    for mark in (r"^#+ ", r"^---$", r"(?<!\\)<script"):
        assert len(re.findall(mark, body, re.MULTILINE)) == len(re.findall(mark, plain, re.M))
    if field not in ("base_model", "dataset"):
        unescaped = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", body)
        assert shown in unescaped


def test_a_command_cannot_leave_its_block():
    command = "allroads compare --out 'x\n```\n# not a heading\n````'"
    text = render(card(command=command))
    assert f"`````sh\n{command}\n`````" in text


def test_a_reward_model_says_that_plain_loading_reads_the_last_token_only():
    header, body = parts(render(card(makes="reward model")))
    assert header["pipeline_tag"] == "text-classification"
    assert "AutoModelForSequenceClassification" in body
    assert "allroads.json" in body
    assert "finds its mistakes" in body
