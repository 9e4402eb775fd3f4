"""What all synthetic worlds share: prompts and their split, faulty demonstrators, dials by name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import stats

from allroads.data.worlds import TASKS, Draws, Synthetic, dials, make_world
from allroads.data.worlds.synthetic import Problem, spoken
from allroads.errors import ConfigError
from allroads.types import Tokens

SMALL = {"train_prompts": 60, "test_prompts": 20, "selection_prompts": 10}
SPLITS = ("train", "selection", "test")


@dataclass(frozen=True)
class Echo:
    """A task as small as can be: write the prompt's number of a's."""

    most: int = 9
    name = identity = "echo"
    usual: ClassVar[Draws] = Draws()
    words = ("a", "b", "c", "d")
    longest_prompt = longest_answer = 9
    truth, unit = "whether the prompt comes back", "reward, 0 to 1"

    def problems(self, rng: np.random.Generator) -> Iterator[Problem]:
        for length in rng.permutation(self.most + 1).tolist():  # a length of 0 is no problem
            yield Problem((1,) * length, length)
            yield Problem((1,) * length, length)

    def demonstrate(self, problem: Problem, rng: np.random.Generator) -> Tokens:
        return problem.prompt

    def score(self, problems: Any, answers: Any) -> list[float]:
        return [float(p.prompt == a) for p, a in zip(problems, answers, strict=True)]

    def text(self, tokens: Any) -> str:
        return spoken(self.words, tokens)


def echo(**changes: Any) -> Synthetic:
    few = {"train_prompts": 5, "test_prompts": 2, "selection_prompts": 2}
    return Synthetic(Echo(), Draws(**{**few, **changes}))


# Prompts and their split --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["preimage", "secret"])
def test_no_prompt_is_in_two_splits_and_all_have_answers_that_score_one(name: str):
    world: Any = make_world(name, **SMALL)
    counts = {split: len(world.prompts(split)) for split in (*SPLITS, "grader")}
    assert counts == {"train": 60, "test": 20, "selection": 10, "grader": 0}
    every = [prompt for split in SPLITS for prompt in world.prompts(split)]
    assert len({p.tokens for p in every}) == len({p.prompt_id for p in every}) == 90
    sober = replace(world, draws=replace(world.draws, slip=0.0))
    rows = sober.demonstrations(200, seed=0)
    assert set(world.verify([r.prompt for r in rows], [r.completion for r in rows])) == {1.0}
    assert {r.prompt for r in rows} <= {p.tokens for p in world.prompts("train")}
    assert {t for r in rows for t in (*r.prompt, *r.completion)} == set(
        range(len(world.vocabulary))
    )
    longest = max(len(r.prompt) + len(r.completion) for r in rows)
    assert (max(len(r.completion) for r in rows), longest) == (world.max_new_tokens, world.context)


def test_repeated_and_empty_prompts_are_passed_over():
    world = echo()
    sizes = sorted(len(p.tokens) for split in SPLITS for p in world.prompts(split))  # type: ignore[arg-type]
    assert sizes == [*range(1, 10)]
    assert world.prompts("test")[0].prompt_id == " ".join(
        "a" * len(world.prompts("test")[0].tokens)
    )


def test_a_task_with_too_few_prompts_says_so():
    with pytest.raises(ConfigError, match="= 9 leave no training prompt of the 9 different ones"):
        echo(test_prompts=7).prompts("train")


def test_a_task_that_only_repeats_itself_ends():
    """Two symbols in strings of two are four prompts, though they are drawn for ever."""
    world = make_world(
        "preimage", steps=0, symbols=2, length=2, test_prompts=1, selection_prompts=1
    )
    assert len(world.prompts("train")) == 2


def test_another_split_seed_draws_other_prompts_and_the_seed_of_training_does_not():
    first, other = (make_world("secret", split_seed=seed, **SMALL) for seed in (0, 1))
    assert first.prompts("test") != other.prompts("test")
    assert first.prompts("test") == make_world("secret", **SMALL).prompts("test")
    assert first.demonstrations(9, seed=3) == first.demonstrations(9, seed=3)
    assert first.demonstrations(9, seed=3) != first.demonstrations(9, seed=4)


# Demonstrators with faults ------------------------------------------------------------------------


def faults(world: Synthetic, count: int = 2000) -> tuple[int, int]:
    """Wrong words of demonstrations, and all their words."""
    rows = world.demonstrations(count, seed=0)
    words = [token for row in rows for token in row.completion[:-1]]
    return sum(token != 1 for token in words), len(words)


def test_a_slip_puts_any_other_word_in_place():
    """Two-sided binomial at p > 1e-5, three other words alike at p > 1e-5: the seed is fixed."""
    world = echo(slip=0.3)
    wrong, words = faults(world)
    assert stats.binomtest(wrong, words, 0.3).pvalue > 1e-5
    rows = world.demonstrations(2000, seed=0)
    others = np.bincount([t for r in rows for t in r.completion[:-1]], minlength=5)[2:]
    assert stats.chisquare(others).pvalue > 1e-5
    assert faults(echo(slip=1.0))[0] == faults(echo(slip=1.0))[1]
    assert faults(echo())[0] == 0


def test_a_stray_demonstration_answers_another_training_prompt():
    """Of 5 training prompts, so that a stray one is right by chance in 1 of 5."""
    world = echo(stray=0.5)
    rows = world.demonstrations(2000, seed=0)
    rewards = world.verify([r.prompt for r in rows], [r.completion for r in rows])
    assert stats.binomtest(int(sum(rewards)), 2000, 0.5 + 0.5 / 5).pvalue > 1e-5
    lengths = {len(prompt.tokens) for prompt in world.prompts("train")}
    assert {len(r.completion) - 1 for r in rows} == lengths


# The truth ----------------------------------------------------------------------------------------


def test_only_what_stands_before_the_end_is_scored():
    world = echo()
    prompt = (1, 1)
    ends = [(1, 1, 0), (1, 1), (1, 1, 0, 1, 0), (0,), (1, 0)]
    assert world.verify([prompt] * 5, ends) == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert world.decode((1, 2, 0)) == "a b"


def test_a_prompt_of_another_world_and_lists_of_different_lengths_are_refused():
    with pytest.raises(ConfigError, match="--world echo: no truth is known for the prompt 'b a'"):
        echo().verify([(2, 1)], [(1,)])
    with pytest.raises(ValueError, match="1 prompts, but 2 completions"):
        echo().verify([(1,)], [(1,), (1,)])


# Dials --------------------------------------------------------------------------------------------

OTHER: dict[str, Any] = {
    **{"steps": 2, "symbols": 7, "length": 6, "one_way": 0.5, "hint": 1, "map_seed": 1},
    **{"prompt_length": 5, "reads": 2, "similarity": "rouge-l"},
    **{"train_prompts": 61, "test_prompts": 21, "selection_prompts": 11},
    **{"slip": 0.1, "stray": 0.1, "label_temperature": 1.0, "split_seed": 1},
}


@pytest.mark.parametrize("name", ["preimage", "secret"])
def test_every_dial_makes_another_world(name: str):
    before = make_world(name).identity
    assert make_world(name).identity == before
    changed = [make_world(name, **{dial: OTHER[dial]}).identity for dial in dials(name)]
    assert before not in changed
    assert len({str(one) for one in changed}) == len(dials(name)) > 7


def test_common_dials_belong_to_every_task():
    common = {field.name for field in dataclasses.fields(Draws)}
    for name in TASKS:
        assert common < set(dials(name))
    assert make_world("secret", label_temperature=3.0).label_temperature == 3.0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("preimage", {"stps": 1}, "unknown key 'world_options.stps': did you mean 'steps'?"),
        ("preimage", {"steps": "two"}, "world_options.steps: expected a whole number, got 'two'"),
        ("preimage", {"steps": 1.5}, "world_options.steps: expected a whole number, got 1.5"),
        ("preimage", {"steps": -1}, "preimage: steps must be 0 to 64, got -1"),
        ("preimage", {"symbols": 27}, "preimage: symbols must be 2 to 26, got 27"),
        ("preimage", {"length": 1}, "preimage: length must be 2 to 64, got 1"),
        ("preimage", {"hint": 9}, "preimage: hint must be 0 to 8, got 9"),
        ("preimage", {"one_way": 1.1}, "preimage: one_way must be 0 to 1, got 1.1"),
        ("preimage", {"slip": -0.1}, "slip is a chance, 0 to 1, got -0.1"),
        ("preimage", {"stray": 2}, "stray is a chance, 0 to 1, got 2"),
        ("secret", {"test_prompts": 0}, "test_prompts must be at least 1, got 0"),
        ("secret", {"label_temperature": -1}, "label_temperature must be finite and not negative"),
        ("secret", {"reads": 7}, "secret: reads must be 1 to 6, got 7"),
        (
            "secret",
            {"symbols": 20, "reads": 4},
            "secret: symbols ** reads = 160000 entries a table",
        ),
        (
            "secret",
            {"similarity": "bleu"},
            "similarity must be 'positions' or 'rouge-l', got 'bleu'",
        ),
        ("secret", {"similarity": 3}, "world_options.similarity: expected a text, got 3"),
        ("routes", {"towns": "many"}, "world_options.towns: expected a whole number, got 'many'"),
        ("preimag", {}, "world 'preimag' is unknown: did you mean 'preimage'?, or a file of yours"),
    ],
)
def test_a_dial_that_cannot_stand_there(name: str, options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_world(name, **options)
