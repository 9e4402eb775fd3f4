"""The adapter of reasoning-gym: with a stand-in for the package, and with the package itself."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from types import ModuleType
from typing import Any

import pytest

from allroads.data.worlds import Reasoning, make_world
from allroads.data.worlds.reasoning import PRESETS
from allroads.errors import ConfigError

SMALL = {"train_prompts": 60, "test_prompts": 20, "selection_prompts": 10, "slip": 0.0}


class Doubling:
    """A dataset: what is twice a number? One in seven is a letter too long."""

    def __init__(self, seed: int, size: int, high: int = 90) -> None:
        assert high < 100, "high must be below 100"
        self.seed, self.high = seed, high
        self.asked: list[str] = []

    def __getitem__(self, i: int) -> dict[str, Any]:
        number = (self.seed + 31 * i) % self.high + 5
        if self.seed and i % 7 == 0:
            number *= 1000
        return {"question": f"What is {number} + {number}?\nJust say.", "answer": str(2 * number)}

    def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
        self.asked.append(answer)
        return 1.0 if int(answer) == int(entry["answer"]) else 0.05 if int(answer) > 99 else 0.5


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of one dataset in place of the real one, whether that is installed or not."""
    made, factory = ModuleType("reasoning_gym"), ModuleType("reasoning_gym.factory")
    factory.DATASETS = {"doubling": Doubling}  # type: ignore[attr-defined]
    made.create_dataset = lambda name, **fields: factory.DATASETS[name](**fields)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reasoning_gym", made)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", factory)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.3")


def doubling(**options: Any) -> Any:
    return make_world("reasoning", **{"task": "doubling", **SMALL, **options})


def test_questions_are_reduced_to_what_differs_and_written_in_characters(package: None):
    world = doubling()
    assert world.task.content("What is 12 + 12?\nJust say.") == "12 + 12"
    assert world.task.content("How much is 12 + 12?") is None
    assert world.vocabulary == ("<eos>", "␣", "+", *"0123456789")
    assert {len(p.tokens) for p in world.prompts("train")} == {len("5 + 5"), len("12 + 12")}
    row = next(row for row in world.demonstrations(50, seed=0) if len(row.prompt) == 7)
    number, plus, again = world.decode(row.prompt).split("␣")
    assert (plus, number) == ("+", again)
    assert world.decode(row.completion) == str(2 * int(number))


def test_questions_beyond_the_probe_are_left_out(package: None):
    assert all(len(p.tokens) <= 7 for p in doubling().prompts("train"))
    assert doubling().context == 7 + 3 + 1


def test_scores_are_the_packages_but_for_small_cut_empty_and_unreadable_ones(package: None):
    world = doubling()
    prompt = next(
        prompt.tokens
        for split in ("train", "selection", "test")
        for prompt in world.prompts(split)
        if world.decode(prompt.tokens) == "12␣+␣12"
    )
    answers = ["24", "25", "100", "2+", "", "1000"]
    token = {word: i for i, word in enumerate(world.vocabulary)}
    written = [(*(token[c] for c in text), 0) for text in answers]
    written[-1] = written[-1][:-1]
    # Right; half; 0.05, which is below 0.1; raises; empty; longer than any answer, so cut.
    assert world.verify([prompt] * 6, written) == [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    everything = doubling(least=0.0)
    assert everything.verify([prompt], [written[2]]) == [0.05]


def test_an_answer_is_scored_once_for_a_prompt(package: None):
    world = doubling()
    a, b = (prompt.tokens for prompt in world.prompts("test")[:2])
    for _ in range(3):
        world.verify([a, b, a], [(3, 0), (3, 0), (3, 4, 0)])
    assert world.task._scorer.asked == ["0", "0", "01"]


def test_every_dial_and_the_version_make_another_world(
    package: None, monkeypatch: pytest.MonkeyPatch
):
    worlds = [doubling(), doubling(config="high=80"), doubling(least=0.2), doubling(slip=0.1)]
    assert len({str(world.identity) for world in worlds}) == 4
    before = doubling().identity
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.4")
    assert doubling().identity != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "doublin"}, "task 'doublin' is unknown: did you mean 'doubling'?"),
        ({"config": "high"}, "config must be 'name=value, name=value', got 'high'"),
        (
            {"config": "high=100"},
            "refuses the settings {'high': 100} of task 'doubling': high must",
        ),
        ({"config": "low=1"}, "refuses the settings {'low': 1} of task 'doubling'"),
        ({"task": "countdown"}, "the scorer of task 'countdown' evaluates answers as code"),
        ({"least": 2}, "least must be 0 to 1, got 2"),
        ({"test_prompts": 200}, "leave no training prompt of the 90 different ones"),
    ],
)
def test_what_cannot_be(package: None, options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        doubling(**options).prompts("train")


def test_settings_are_read_as_what_they_look_like():
    task = Reasoning(task="spell_backward", config="max_word_len=5, p=0.5, quiet=true, file=a.txt")
    assert task.settings() == {
        **{"min_word_len": 3, "max_word_len": 5, "p": 0.5, "quiet": True, "file": "a.txt"}
    }


def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ConfigError, match="pip install 'allroads") as refused:
        _ = make_world("reasoning").identity
    assert "\n" not in str(refused.value)


# The package itself -------------------------------------------------------------------------------

real = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None,
    reason="reasoning-gym is not installed (extra 'reasoning'; a part of it needs a C compiler)",
)


@real
@pytest.mark.parametrize("task", sorted(PRESETS))
def test_the_packages_own_answers_score_one(task: str):
    world: Any = make_world("reasoning", task=task, **SMALL)
    rows = world.demonstrations(100, seed=0)
    assert set(world.verify([r.prompt for r in rows], [r.completion for r in rows])) == {1.0}


@real
@pytest.mark.parametrize(
    ("task", "reward"),
    [
        # Four letters of five in place.
        ("spell_backward", 0.8),
        # A palindrome of other letters gets 0.05, and no palindrome 0.02: both are below 0.1.
        ("palindrome_generation", 0.0),
    ],
)
def test_one_wrong_letter(task: str, reward: float):
    config = "min_word_len=5, max_word_len=5" if task == "spell_backward" else ""
    world: Any = make_world("reasoning", task=task, config=config, **SMALL)
    row = world.demonstrations(1, seed=0)[0]
    wrong = (row.completion[0] % 5 + 6, *row.completion[1:])
    assert world.verify([row.prompt], [wrong]) == [pytest.approx(reward)]
