"""Routes with two names for every town: the same task in other words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from allroads.data.worlds import Routes
from allroads.data.worlds.world import Multilingual
from allroads.errors import ConfigError
from allroads.seeding import child
from allroads.types import Prompt, Tokens

ONE, TWO = Routes(), Routes(dialects=2)
EOS = TWO.eos_id


def completions(count: int) -> list[Tokens]:
    """Anything that a policy with two names may write: mixed, unfinished, ended twice, empty."""
    rng = np.random.default_rng(0)
    return [
        tuple(rng.integers(len(TWO.vocabulary), size=int(rng.integers(1, 12))).tolist())
        for _ in range(count)
    ]


def test_the_vocabulary_grows_behind_what_was_there():
    assert TWO.vocabulary[:41] == ONE.vocabulary
    assert len(TWO.vocabulary) == len(set(TWO.vocabulary)) == 81
    assert TWO.decode((1, 41, EOS)) == "Alby Byal"
    # All 96 names, should somebody want them: still all different, and one word each.
    most = Routes(towns=96, dialects=2).vocabulary
    assert len(set(most)) == 193
    assert not any(set(word) & set(" \t\n") for word in most)


def test_prompts_and_walks_are_those_of_one_dialect():
    for split in ("train", "selection", "test"):
        assert TWO.prompts(split) == ONE.prompts(split)
    rows = TWO.demonstrations(500, seed=3)
    translated = [(row.prompt, TWO.in_dialect(row.completion, 0)) for row in rows]
    assert translated == [(row.prompt, row.completion) for row in ONE.demonstrations(500, seed=3)]


def test_a_demonstration_keeps_to_one_dialect_by_the_fall_of_a_fair_coin():
    """Two-sided binomial at p > 1e-5; the seed is fixed."""
    second = 0
    for row in TWO.demonstrations(3000, seed=0):
        in_second = {token > 40 for token in row.completion if token != EOS}
        assert len(in_second) == 1
        second += in_second == {True}
    assert stats.binomtest(second, 3000, 0.5).pvalue > 1e-5


def test_a_demonstrator_asked_again_walks_as_it_always_did_in_either_dialect():
    sober = Routes(wander=0.0, trespass=0.0, dialects=2)
    prompt = sober.prompts("train")[17]
    walks = [sober.demonstrate(prompt, child(0, "walk", i)) for i in range(400)]
    assert sober.verify([prompt.tokens] * 400, walks) == [1.0] * 400
    assert {len(walk) - 1 for walk in walks} == {
        sober.hops[prompt.tokens[0] - 1, prompt.tokens[1] - 1]
    }
    # Two-sided binomial at p > 1e-5; the seeds are fixed.
    assert stats.binomtest(sum(walk[0] > 40 for walk in walks), 400, 0.5).pvalue > 1e-5


def test_rewording_and_back_is_nothing():
    for tokens in completions(500):
        plain, other = TWO.in_dialect(tokens, 0), TWO.in_dialect(tokens, 1)
        assert TWO.in_dialect(other, 0) == plain == TWO.in_dialect(plain, 0)
        assert TWO.in_dialect(plain, 1) == other
        assert [t == EOS for t in plain] == [t == EOS for t in other] == [t == EOS for t in tokens]
        assert all(b - a == 40 for a, b in zip(plain, other, strict=True) if a != EOS)


def test_the_truth_hears_no_accent():
    """Whatever is written, in either dialect or a mixture, is worth what it says."""
    for split, said in zip(itertools.cycle(("train", "test")), completions(500), strict=False):
        prompts = TWO.prompts(split)  # type: ignore[arg-type]
        prompt: Prompt = prompts[len(said) * 7]
        versions = [said, TWO.in_dialect(said, 0), TWO.in_dialect(said, 1)]
        rewards = set(TWO.verify([prompt.tokens] * 3, versions))
        assert rewards == set(ONE.verify([prompt.tokens], [versions[1]]))


def test_one_dialect_is_the_world_that_was():
    """What names a world in a run folder is the text that it was before there were dialects."""
    assert isinstance(ONE, Multilingual)
    assert ONE.identity == (
        "Routes(towns=40, neighbours=3, max_hops=10, test_prompts=400, selection_prompts=160, "
        "wander=0.6, trespass=0.1, label_temperature=10.0, map_seed=0, name='routes')"
    )
    assert TWO.identity != ONE.identity
    assert (ONE.notes(), len(TWO.notes())) == ((), 1)


def test_impossible_dialects_are_refused():
    with pytest.raises(ConfigError, match="routes: dialects must be 1 or 2, got 3"):
        Routes(dialects=3)
    with pytest.raises(ValueError, match="dialect must be 0 to 0, got 1"):
        ONE.in_dialect((1,), 1)
