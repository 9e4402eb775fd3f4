"""A model card: what a checkpoint is, as the page that the Hugging Face Hub shows beside it."""

from __future__ import annotations

import re
from typing import Any, Literal

import yaml

from allroads.records import Record

Rows = tuple[tuple[str, str], ...]
"""(label, value) pairs in the order shown; values are plain text, not markdown."""


class ModelCard(Record):
    """Everything that a card says; texts may hold anything a user typed."""

    name: str
    makes: Literal["policy", "reward model", "best-of-n"]
    roads: tuple[str, ...]
    """Roads that use it."""
    base_model: str
    """The model that its road started from; '' where that was made here."""
    dataset: str
    """Name of the preference data; '' where they were made here."""
    stage: Rows
    data: Rows
    figures: Rows
    """Empty: not evaluated."""
    graded_by: str
    """One sentence on what the figures are worth; '' without figures."""
    loading: str = ""
    """How the folder is loaded; '' where `makes` says it."""
    seed: int
    command: str
    versions: Rows


def render(card: ModelCard) -> str:
    """The card as markdown behind the YAML header that the Hub reads."""
    stage = "best-of-N" if card.makes == "best-of-n" else f"a {card.makes}"
    used = ", ".join(card.roads) or "no road of the table"
    parts = [
        _header(card),
        f"# {_text(card.name)}",
        f"This is {stage} made by allroads, for: {_text(used)}.",
        "## What it is",
        _list(card.stage),
        "## Data",
        _list(card.data),
        "## Figures",
        _list(card.figures) if card.figures else "Not evaluated.",
        "## How to load it",
        card.loading or {"policy": _POLICY, "reward model": _REWARD}[card.makes],
        "## How it was made",
        _block(card.command, "sh"),
        _list(card.versions),
        "## Limitations",
        _limitations(card),
    ]
    return "\n\n".join(parts) + "\n"


def _header(card: ModelCard) -> str:
    fields: dict[str, Any] = {}
    if card.base_model:
        fields["base_model"] = _line(card.base_model)
    fields["library_name"] = "transformers"
    task = "text-classification" if card.makes == "reward model" else "text-generation"
    fields["pipeline_tag"] = task
    fields["tags"] = ["allroads", *map(_line, card.roads)]
    if card.dataset:
        fields["datasets"] = [_line(card.dataset)]
    dumped = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{dumped}---"


def _limitations(card: ModelCard) -> str:
    on = dict(card.data).get("data", "the data above")
    sentences = [
        f"It was trained here on {_text(on)}, with seed {card.seed}, as one cell of a "
        "comparison of training methods; nobody tuned it to be used.",
        _text(card.graded_by) if card.graded_by else "No figure says yet how good it is.",
        "Safety, truthfulness and bias were not examined, nor prompts unlike those of the data.",
    ]
    if card.makes != "policy":
        sentences.append(
            "A reward model is right about most pairs, not all: whatever is optimised against it "
            "finds its mistakes."
        )
    return " ".join(sentences)


def _line(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """Plain text in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>#|~&!$])", r"\\\1", _line(text))


def _list(rows: Rows) -> str:
    return "\n".join(f"- {_text(label)}: {_text(value)}" for label, value in rows)


def _block(text: str, language: str) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


_POLICY = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
prompt = tokenizer("...", return_tensors="pt", add_special_tokens=False)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=64)[0]))
```

A prompt must look as in training: where the tokenizer has a chat template, write it with
`tokenizer.apply_chat_template`."""

_REWARD = """\
It loads with `AutoModelForSequenceClassification` and one label, but that class reads the score at
the last token only. `allroads.json` says where this head reads ("last", or the "mean" or "sum"
over the completion's tokens) and which offset is subtracted, so score as follows:

```python
import json
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

folder = "."  # this folder
model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
side = json.loads(Path(folder, "allroads.json").read_text())

@torch.no_grad()
def reward(prompt: list[int], completion: list[int]) -> float:
    \"\"\"Reward of a completion, its end-of-sequence token included; both are token ids.\"\"\"
    ids = torch.tensor([[*prompt, *completion]])
    states = model.base_model(input_ids=ids).last_hidden_state[0, len(prompt) :]
    score = model.score(states)[:, 0]
    read = {"last": score[-1], "mean": score.mean(), "sum": score.sum()}[side["reading"]]
    return float(read) - side["offset"]
```

Only differences between completions of the same prompt mean anything."""

BEST_OF_N = """\
Two folders: `policy` (a causal language model) and `reward-model` (see its own card for how it is
read). Serve it so: draw N completions of a prompt from the policy at temperature {temperature:g}
with no top-k or top-p, score each with the reward model, answer with the best. N here: {n:g}."""
