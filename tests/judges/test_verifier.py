"""A user's verifier file: what is called, what may come back, and what each mistake is told as."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from allroads.errors import ConfigError, VerifierError
from allroads.judges import load_verifier
from allroads.judges.verifier import UserVerifier

PROMPTS, COMPLETIONS = ["p", "p", "q"], ["a b", "b", ""]


def write(folder: Path, body: str, name: str = "checks.py") -> Path:
    path = folder / name
    path.write_text(body, encoding="utf-8")
    return path


def returning(folder: Path, value: str) -> UserVerifier:
    """A verifier that returns an expression."""
    body = f"import numpy as np\ndef verify(prompts, completions):\n    return {value}\n"
    return load_verifier(str(write(folder, body)))


def test_it_sees_every_text_in_order(tmp_path: Path):
    path = write(
        tmp_path,
        "seen = []\n"
        "def verify(prompts, completions):\n"
        "    assert type(prompts) is type(completions) is list\n"
        "    seen.append(list(zip(prompts, completions)))\n"
        "    return [len(c) for c in completions]\n",
    )
    verifier = load_verifier(str(path))
    assert verifier(tuple(PROMPTS), tuple(COMPLETIONS)) == [3.0, 1.0, 0.0]
    assert verifier.function.__globals__["seen"] == [list(zip(PROMPTS, COMPLETIONS, strict=True))]


def test_another_function_of_the_file_is_named_behind_a_colon(tmp_path: Path):
    body = "def verify(p, c): return [0] * len(c)\ndef other(p, c): return [1] * len(c)\n"
    path = write(tmp_path, body)
    assert load_verifier(f"{path}:other")(PROMPTS, COMPLETIONS) == [1.0, 1.0, 1.0]
    assert load_verifier(f"{path}:verify")(PROMPTS, COMPLETIONS) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("value", "scores"),
    [
        ("[1, 2.5, -3]", [1.0, 2.5, -3.0]),
        ("(True, False, True)", [1.0, 0.0, 1.0]),
        ("np.array([1, 2, 3], dtype=np.float32)", [1.0, 2.0, 3.0]),
        ("(len(c) for c in completions)", [3.0, 1.0, 0.0]),
    ],
)
def test_numbers_of_any_kind_are_scores(tmp_path: Path, value: str, scores: list[float]):
    found = returning(tmp_path, value)(PROMPTS, COMPLETIONS)
    assert found == scores
    assert all(type(score) is float for score in found)


def test_none_and_nan_are_failures_not_zeros(tmp_path: Path):
    found = returning(tmp_path, "[None, float('nan'), 0]")(PROMPTS, COMPLETIONS)
    assert [math.isnan(score) for score in found] == [True, True, False]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("None", "returned None; expected a list of 3, one number (or None) a completion"),
        ("0.5", "returned 0.5; expected a list of 3"),
        ("[1, 2]", "returned 2 scores; expected a list of 3, one number (or None) a completion"),
        ("['1', '2', '3']", "returned the score '1'; expected a number, or None"),
        ("[1, [2], 3]", "returned the score [2]; expected a number, or None"),
        ("np.ones((3, 2))", "returned the score array([1., 1.]); expected a number, or None"),
        ("[1, float('inf'), 2]", "returned the score inf; expected a finite number, or None"),
        ("[1 / 0]", "raised ZeroDivisionError: division by zero (line 3)"),
    ],
)
def test_anything_else_is_told_with_the_file_and_the_function(
    tmp_path: Path, value: str, message: str
):
    with pytest.raises(VerifierError) as error:
        returning(tmp_path, value)(PROMPTS, COMPLETIONS)
    said = f"--verifier {tmp_path / 'checks.py'}: verify() {message}"
    assert str(error.value).startswith(said)


def test_a_long_answer_is_not_told_whole(tmp_path: Path):
    with pytest.raises(VerifierError, match=r"returned the score 'x{79}\.\.\. \(str\); expected"):
        returning(tmp_path, "['x' * 1000] * 3")(PROMPTS, COMPLETIONS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.py", "--verifier {0}/missing.py: No such file or directory; expected a Python "
         "file with a function verify(prompts, completions)"),
        ("checks.txt", "--verifier '{0}/checks.txt': expected FILE.py or FILE.py:FUNCTION"),
        ("checks.py:not a name", "expected FILE.py or FILE.py:FUNCTION"),
        ("empty.py", "--verifier {0}/empty.py: expected a function verify(prompts, completions) "
         "in it, found no function; define it, or name one: {0}/empty.py:FUNCTION"),
        ("other.py", "expected a function verify(prompts, completions) in it, found score, Kind;"),
        ("other.py:scor", "expected a function scor(prompts, completions) in it, found score"),
        ("number.py", "expected a function verify(prompts, completions) in it, found no function"),
        ("broken.py", "it cannot be imported: SyntaxError: "),
        ("needs.py", "it cannot be imported: ModuleNotFoundError: No module named 'nobody_has_it' "
         "(line 2). It is one file by itself: what it imports must be installed"),
        ("leaves.py", "it cannot be imported: SystemExit: 3 (line 2)"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_told_before_anything(
    tmp_path: Path, given: str, message: str
):
    write(tmp_path, "import math\n", "empty.py")
    other = "from math import sqrt\ndef score(p, c): ...\nclass Kind: ...\n"
    write(tmp_path, other, "other.py")
    write(tmp_path, "verify = 3\n", "number.py")
    write(tmp_path, "def verify(:\n", "broken.py")
    write(tmp_path, "import math\nimport nobody_has_it\n", "needs.py")
    write(tmp_path, "import sys\nsys.exit(3)\n", "leaves.py")
    with pytest.raises(ConfigError, match=re.escape(message.format(tmp_path))):
        load_verifier(str(tmp_path / given))


def test_the_fingerprint_is_of_the_content_and_the_function(tmp_path: Path):
    body = "def verify(p, c): return [0] * len(c)\nother = verify\n"
    first = load_verifier(str(write(tmp_path, body))).fingerprint
    moved = load_verifier(str(write(tmp_path, body, "moved.py"))).fingerprint
    assert first == moved, "content, not names"
    assert load_verifier(f"{tmp_path / 'checks.py'}:other").fingerprint != first
    assert load_verifier(str(write(tmp_path, body + "#\n"))).fingerprint != first


def test_dataclasses_find_their_module(tmp_path: Path):
    body = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Kind:\n    word: str\n"
        "def verify(p, c): return [Kind('a').word in one for one in c]\n"
    )
    assert load_verifier(str(write(tmp_path, body)))(PROMPTS, COMPLETIONS) == [1.0, 0.0, 0.0]
