"""The worlds of the documentation are ones; the example runs from end to end."""

from __future__ import annotations

import itertools
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allroads import api
from allroads.data.worlds import dials, make_world, names
from allroads.errors import RunFolderError
from allroads.lab.compare import prepare
from allroads.lab.config import build_config
from allroads.lab.workshop import Workshop

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "worlds.md").read_text(encoding="utf-8")
EXAMPLE = DOCS / "worlds" / "change.py"
SHORT = {"epochs": 1, "learning_rate": 3e-3, "batch_size": 32}
TINY: dict[str, Any] = {
    "world_options": {"test_prompts": 20, "selection_prompts": 20},
    "sizes": {"demonstrations": 64, "pairs": 48, "selection_pairs": 32, "test_pairs": 32},
    "roads": ["sft", "dpo", "best-of-n@verifier"],
    "seeds": [0],
    "betas": [0.5],
    "ns": [2],
    "pool": 4,
    "eval_prompts": 10,
    "snapshots": 1,
    "processes": 1,
    "recipe": {"sft": SHORT, "reward": SHORT, "policy": SHORT, "online": {**SHORT, "rounds": 2}},
}


def test_coins_by_hand():
    world: Any = make_world(str(EXAMPLE))
    token = {word: i for i, word in enumerate(world.vocabulary)}
    prompt = next(
        p.tokens
        for split in ("train", "selection", "test")
        for p in world.prompts(split)
        if world.decode(p.tokens) == "2 5 0"
    )
    paid = ["200c 50c", "50c 200c", "200c 20c 5c", "500c", "200c 5", ""]
    answers = [(*(token[word] for word in text.split()), world.eos_id) for text in paid]
    assert world.verify([prompt] * 6, answers) == [1.0, 1.0, 225 / 250, 0.0, 0.0, 0.0]
    rows = world.demonstrations(300, seed=0)
    rewards = world.verify([r.prompt for r in rows], [r.completion for r in rows])
    assert 0.4 < np.mean(rewards) < 0.9


def test_letters_in_order_by_hand():
    world = runpy.run_path(str(DOCS / "worlds" / "sort.py"))
    answers = {
        "a c d f k l": 1.0,
        "a c d f l k": 4 / 5,  # one neighbour of five
        "a c d f k": 5 / 6,  # a letter is missing, the rest in order
        "a c d f k l l": 6 / 7 * 5 / 6,  # one too many, which is not behind its neighbour
        "a": 0.0,
        "": 0.0,
    }
    assert world["verify"](["k a f l c d"] * 6, [*answers]) == pytest.approx([*answers.values()])
    assert all(len(set(prompt.split())) == 6 for prompt in world["prompts"]())
    assert world["demonstrate"]("k a f l c d", None) == "a c d f k l"


def test_colours_by_hand():
    world = runpy.run_path(str(DOCS / "worlds" / "colour.py"))
    prompt = "a b a c a d b c b d c e e f"
    answers = {
        "red green blue blue red green": 1.0,
        "red red blue blue red green": 6 / 7,  # a and b
        "red red red red red red": 0.0,
        "red green blue blue red": 0.0,  # too short
        "red green blue blue red f": 0.0,  # a node is no colour
    }
    assert world["verify"]([prompt] * 5, [*answers]) == pytest.approx([*answers.values()])
    rng, prompts = np.random.default_rng(0), world["prompts"]()
    several = [prompt for prompt in prompts[::40] for _ in range(3)]
    written = [world["demonstrate"](prompt, rng) for prompt in several]
    assert world["verify"](several, written) == [1.0] * len(several)
    assert len(set(written)) > len(prompts[::40])  # in more than one way
    assert not world["colouring"]([*itertools.combinations("abcd", 2)], ("red", "green", "blue"))


def test_the_page_names_every_world_and_every_dial():
    for name in names():
        assert f"| `{name}` |" in PAGE
    for name in ("preimage", "secret", "reasoning"):
        for dial in dials(name):
            assert f"`{dial}`" in PAGE, dial


def test_the_pages_world_is_one(tmp_path: Path):
    [code] = re.findall(r"```py\n(.*?)```", PAGE, flags=re.DOTALL)
    path = tmp_path / "my_world.py"
    path.write_text(code, encoding="utf-8")
    prepared = prepare(build_config({"world": str(path)}))
    assert prepared.settings.data_label == f"the world in {path}"
    assert prepared.settings.max_new_tokens == 11


def test_the_example_runs_and_its_report_needs_the_file_no_more(tmp_path: Path):
    path = tmp_path / "change.py"
    path.write_bytes(EXAMPLE.read_bytes())
    config = build_config({"world": str(path), **TINY})
    results = api.compare(out=tmp_path / "run", config=config)
    assert {p.road for p in results.points} == {"sft", "dpo", "best-of-n@verifier"}
    assert results.metric.meaning.startswith(f"what verify() of {path} gives")
    assert results.data == f"the world in {path}"

    settings = prepare(config).settings
    path.write_text(EXAMPLE.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    with pytest.raises(RunFolderError, match="the file has changed while the run was going on"):
        _ = Workshop(tmp_path / "run", config, settings).world
    path.unlink()
    assert api.open_run(tmp_path / "run") == results
