"""A world in a user's file: what is read from it, and what each mistake is told as."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from allroads.data.worlds import dials, make_world
from allroads.errors import AllroadsError, ConfigError, VerifierError

GOOD = """
VOCABULARY = "up down left".split()
MAX_NEW_TOKENS = 4

def prompts():
    return ["up", "down  up", "left", "down up"]

def demonstrate(prompt, rng):
    return " ".join(reversed(prompt.split())) if rng.random() < 2 else ""

def verify(prompts, completions):
    return [float(c.split() == p.split()[::-1]) for p, c in zip(prompts, completions)]
"""
FEW: dict[str, Any] = {"test_prompts": 1, "selection_prompts": 1}


def write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_a_world(tmp_path: Path):
    path = write(tmp_path, GOOD)
    world: Any = make_world(path, **FEW)
    assert (world.name, world.vocabulary) == (path, ("<eos>", "up", "down", "left"))
    assert (world.max_new_tokens, world.context, world.needs_model) == (4, 2 + 4, False)
    every = [p for split in ("train", "selection", "test") for p in world.prompts(split)]
    assert sorted(p.tokens for p in every) == [(1,), (2, 1), (3,)]  # two spaces are one
    assert world.verify([(2, 1)] * 4, [(1, 2, 0), (1, 2), (2, 1, 0), (0,)]) == [1.0, 1.0, 0.0, 0.0]
    rows = world.demonstrations(30, seed=0)
    assert set(world.verify([r.prompt for r in rows], [r.completion for r in rows])) == {1.0}
    assert f"verify() of {path}" in world.metric.meaning


def test_common_dials_work_on_it(tmp_path: Path):
    path = write(tmp_path, GOOD)
    assert "slip" in dials(path)
    assert "steps" not in dials(path)
    world: Any = make_world(path, slip=1.0, **FEW)
    rows = world.demonstrations(30, seed=0)
    assert set(world.verify([r.prompt for r in rows], [r.completion for r in rows])) == {0.0}


def test_an_edited_file_is_another_world_and_a_moved_one_is_not(tmp_path: Path):
    path = write(tmp_path, GOOD)
    before = make_world(path).identity
    assert make_world(path, slip=0.5).identity != before
    (tmp_path / "there").mkdir()
    assert make_world(write(tmp_path / "there", GOOD)).identity == before
    assert make_world(write(tmp_path, GOOD + "\n# edited\n")).identity != before


def test_making_one_reads_nothing():
    """So that a finished run's report needs no file but its own."""
    assert make_world("gone.py").metric.meaning.startswith("what verify() of gone.py gives")
    with pytest.raises(
        ConfigError, match=r"--world gone\.py: No such file or directory; expected a"
    ):
        _ = make_world("gone.py").identity


def used(path: str) -> None:
    """What a comparison asks a world for before it trains anything."""
    world = make_world(path, **FEW)
    world.prompts("train")
    _ = world.vocabulary, world.max_new_tokens


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


VOCABULARY = '"up down left".split()'


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("import nowhere", ConfigError, "it cannot be imported: ModuleNotFoundError: No module"),
        (changed("def verify", "def check"), ConfigError, "expected a function verify(prompts, co"),
        (changed("def prompts", "def p"), ConfigError, "expected a function prompts() in it; a "),
        (changed("VOCABULARY", "WORDS"), ConfigError, "expected VOCABULARY in it; a world defines"),
        (changed(VOCABULARY, '"up down"'), ConfigError, "VOCABULARY must be a list of words, got"),
        (changed(VOCABULARY, '["u p"]'), ConfigError, "a word is a text without white space"),
        (changed(VOCABULARY, "['up', 'up']"), ConfigError, "the word 'up' stands in it twice"),
        (changed("= 4", "= 1"), ConfigError, "MAX_NEW_TOKENS must be a whole number, at least 2"),
        (
            changed('"left",', '"right",'),
            VerifierError,
            "prompts() wrote the word 'right', which is not in VOCABULARY",
        ),
        (changed('"left",', '"",'), VerifierError, "prompts() gave ''; expected a text of words"),
        (changed('"left",', "3,"), VerifierError, "prompts() gave 3; expected a text of words"),
        (
            changed('["up", "down  up", "left", "down up"]', "[]"),
            VerifierError,
            "prompts() returned []; expected a list of texts",
        ),
        (changed("rng.random() < 2", "rng.random() > 2"), VerifierError, "demonstrate() gave ''"),
        (
            changed("rng.random() < 2", "1 / 0"),
            VerifierError,
            "demonstrate() raised ZeroDivisionError: division by zero (line 9)",
        ),
        (
            changed("prompt.split()))", "prompt.split() * 4))"),
            VerifierError,
            "demonstrate() wrote 4 words; with MAX_NEW_TOKENS = 4 an answer has 3 at most",
        ),
        (
            changed("[float(", "[str("),
            VerifierError,
            "verify() returned the score 'True'; expected a",
        ),
        (
            changed("[float(", "[None and ("),
            VerifierError,
            "verify() gave no score; a world's truth",
        ),
        (
            changed("    return [float", "    [float"),
            VerifierError,
            "verify() returned None; expected",
        ),
        (
            changed("return [float", "return [0.0] + [float"),
            VerifierError,
            "verify() returned 2 scores; expected a list of 1",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(
    tmp_path: Path, text: str, error: type[AllroadsError], message: str
):
    path = write(tmp_path, text)
    with pytest.raises(error, match=re.escape(message)) as told:
        used(path)
    assert str(told.value).startswith(f"--world {path}: ")
    assert "\n" not in str(told.value)


def test_too_few_prompts_say_what_to_lower(tmp_path: Path):
    with pytest.raises(ConfigError, match="560 leave no training prompt of the 3 different ones"):
        make_world(write(tmp_path, GOOD)).prompts("train")


def test_an_unknown_dial_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"unknown key 'world_options\.slp': did you mean 'slip'"):
        make_world(write(tmp_path, GOOD), slp=0.1)
