"""The world of routes: its map, its truth, its demonstrators, and the labels made from it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.sparse.csgraph import connected_components, shortest_path

from allroads.data.dataset import Dataset
from allroads.data.worlds import Routes, make_world
from allroads.errors import ConfigError
from allroads.lab import writers
from allroads.lab.prepare import WorldSizes, demonstrations_only, label_entropy, with_pairs
from allroads.models.builtin import small_transformer
from allroads.types import Completion, Pair, Prompt, Tokens

WORLD = Routes()
EOS = WORLD.eos_id


# The map ----------------------------------------------------------------------------------------


def test_forty_towns_with_forty_names():
    assert WORLD.towns == 40
    assert WORLD.vocabulary[EOS] == "<eos>"
    assert len(set(WORLD.vocabulary)) == 41
    assert WORLD.roads.shape == WORLD.hops.shape == (40, 40)


def test_roads_go_both_ways_and_never_to_where_one_is():
    np.testing.assert_array_equal(WORLD.roads, WORLD.roads.T)
    assert not WORLD.roads.diagonal().any()
    assert (WORLD.roads.sum(axis=0) >= WORLD.neighbours).all()


@pytest.mark.parametrize("map_seed", range(20))
def test_every_map_is_connected(map_seed: int):
    """With two neighbours each, islands are common before they are joined."""
    world = Routes(towns=40, neighbours=2, map_seed=map_seed, test_prompts=1, selection_prompts=1)
    assert connected_components(world.roads, directed=False)[0] == 1


@pytest.mark.parametrize("map_seed", range(5))
def test_hops_are_shortest_paths_by_floyd_and_warshall(map_seed: int):
    world = Routes(map_seed=map_seed)
    expected = shortest_path(world.roads.astype(float), method="FW", unweighted=True)
    np.testing.assert_array_equal(world.hops, expected)


def test_the_map_and_its_split_never_change():
    """Golden: numbers of different versions may be compared only on the same world."""

    def fingerprint(value: bytes) -> str:
        return hashlib.blake2b(value, digest_size=8).hexdigest()

    names = ",".join(f"{s}:{p.prompt_id}" for s in SPLITS for p in WORLD.prompts(s))
    assert fingerprint(np.packbits(WORLD.roads).tobytes()) == "6f803cfa6a43fd78"
    assert fingerprint(names.encode()) == "a88f9a09a1c2a236"
    assert fingerprint(repr(WORLD.demonstrations(50, seed=0)).encode()) == "66972b816e5ef47f"
    assert (int(WORLD.roads.sum()) // 2, int(WORLD.hops.max())) == (82, 14)


# The prompts ------------------------------------------------------------------------------------

SPLITS = ("train", "selection", "test")


def test_exactly_the_held_out_prompts_and_everything_else_trains():
    sizes = {split: len(WORLD.prompts(split)) for split in (*SPLITS, "grader")}
    solvable = int(((WORLD.hops > 0) & (WORLD.hops <= 10)).sum())
    assert sizes == {"test": 400, "selection": 160, "grader": 0, "train": solvable - 560}


def test_no_prompt_is_in_two_splits():
    every = [prompt for split in SPLITS for prompt in WORLD.prompts(split)]
    assert len({p.tokens for p in every}) == len({p.prompt_id for p in every}) == len(every)


def test_every_town_is_a_start_and_a_goal_in_training():
    starts, goals = zip(*(prompt.tokens for prompt in WORLD.prompts("train")), strict=True)
    assert set(starts) == set(goals) == set(range(1, 41))


def test_every_prompt_can_be_solved_and_is_named_after_its_towns():
    for split in SPLITS:
        for prompt in WORLD.prompts(split):
            start, goal = prompt.tokens
            assert 1 <= WORLD.hops[start - 1, goal - 1] <= WORLD.max_hops
            assert prompt.prompt_id == WORLD.decode([start]) + ">" + WORLD.decode([goal])


def test_another_map_seed_is_another_world():
    other = Routes(map_seed=1)
    assert (other.roads != WORLD.roads).any()
    assert other.prompts("test") != WORLD.prompts("test")


@pytest.mark.parametrize("towns", [3, 97])
def test_an_impossible_number_of_towns_is_refused(towns: int):
    with pytest.raises(ConfigError, match=f"towns must be 4 to 96, got {towns}"):
        Routes(towns=towns)


def test_a_world_without_training_prompts_is_refused():
    with pytest.raises(ConfigError, match="= 1760 leave no training prompt of the"):
        Routes(test_prompts=1600).prompts("train")


def test_worlds_by_name():
    assert make_world("routes", towns=10).towns == 10
    with pytest.raises(ConfigError, match="world 'route' is unknown: did you mean 'routes'"):
        make_world("route")


# The truth --------------------------------------------------------------------------------------


def a_road() -> tuple[int, int]:
    """Tokens of two towns that a road joins."""
    a, b = np.argwhere(WORLD.roads)[0]
    return int(a) + 1, int(b) + 1


def no_road(*, avoiding: int) -> tuple[int, int]:
    """Tokens of two towns that no road joins."""
    apart = WORLD.hops >= 2
    apart[avoiding - 1] = apart[:, avoiding - 1] = False
    a, b = np.argwhere(apart)[0]
    return int(a) + 1, int(b) + 1


A, B = a_road()
X, Y = no_road(avoiding=A)


@pytest.mark.parametrize(
    ("why", "prompt", "completion", "reward"),
    [
        ("one road, in the goal", (A, B), (B, EOS), 1.0),
        ("there, back and there again", (A, B), (B, A, B, EOS), 1.0),
        ("all roads, but back where it began", (A, B), (B, A, EOS), 0.5),
        ("no road, in the goal", (X, Y), (Y, EOS), 0.5),
        ("one of two hops along a road, goal missed", (A, Y), (B, B, EOS), 0.25),
        ("one of two hops along a road, in the goal", (A, B), (A, B, EOS), 0.75),
        ("staying where one is, goal missed", (A, B), (A, EOS), 0.0),
        ("nothing", (A, B), (EOS,), 0.0),
        ("unfinished in the goal has not ended there", (A, B), (B,), 0.5),
        ("unfinished there and back", (A, B), (B, A), 0.5),
    ],
)
def test_rewards_by_hand(why: str, prompt: Tokens, completion: Tokens, reward: float):
    assert WORLD.verify([prompt], [completion]) == [reward]


def test_rewards_come_in_order_and_need_equal_numbers():
    assert WORLD.verify([(A, B), (A, B)], [(EOS,), (B, EOS)]) == [0.0, 1.0]
    with pytest.raises(ValueError, match="zip"):
        WORLD.verify([(A, B)], [])


def optimal(prompt: Tokens) -> Tokens:
    """A shortest route by walking down SciPy's predecessors, not by the world's own walkers."""
    here, goal = prompt[0] - 1, prompt[1] - 1
    towns = []
    while here != goal:
        here = int(PREDECESSORS[goal, here])
        towns.append(here + 1)
    return (*towns, EOS)


_, PREDECESSORS = shortest_path(
    WORLD.roads.astype(float), unweighted=True, return_predecessors=True
)


def test_an_optimal_route_scores_exactly_one():
    for split in SPLITS:
        prompts = [prompt.tokens for prompt in WORLD.prompts(split)]
        routes = [optimal(prompt) for prompt in prompts]
        assert max(map(len, routes)) <= WORLD.max_new_tokens
        assert set(WORLD.verify(prompts, routes)) == {1.0}


def test_text_of_a_route():
    assert WORLD.decode((1, 2, EOS)) == "Alby Borby"


# The demonstrators ------------------------------------------------------------------------------


def test_demonstrations_are_for_training_prompts_and_deterministic_in_the_seed():
    rows = WORLD.demonstrations(500, seed=3)
    assert rows == WORLD.demonstrations(500, seed=3)
    assert rows != WORLD.demonstrations(500, seed=4)
    train = {(prompt.prompt_id, prompt.tokens) for prompt in WORLD.prompts("train")}
    assert {(row.prompt_id, row.prompt) for row in rows} <= train
    for row in rows:
        assert row.completion[-1] == EOS
        assert 2 <= len(row.completion) <= WORLD.max_new_tokens


def test_a_sober_demonstrator_walks_shortest_routes():
    world = Routes(wander=0.0, trespass=0.0)
    rows = world.demonstrations(300, seed=0)
    assert set(world.verify([r.prompt for r in rows], [r.completion for r in rows])) == {1.0}
    for row in rows:
        start, goal = row.prompt
        assert len(row.completion) - 1 == world.hops[start - 1, goal - 1]


def test_a_wanderer_keeps_to_the_roads_and_a_trespasser_does_not():
    def legal(world: Routes) -> float:
        hops = [
            (a - 1, b - 1)
            for row in world.demonstrations(300, seed=0)
            for a, b in zip(
                (row.prompt[0], *row.completion[:-1]), row.completion[:-1], strict=False
            )
        ]
        assert all(a != b for a, b in hops)
        return float(np.mean([WORLD.roads[a, b] for a, b in hops]))

    assert legal(Routes(wander=1.0, trespass=0.0)) == 1.0
    # A trespasser hops to any of 39 towns: along a road with chance (mean degree 4.1) / 39 = 0.105;
    # over 2,500 hops a deviation of 0.04 is beyond six standard errors.
    assert legal(Routes(wander=0.0, trespass=1.0)) == pytest.approx(4.1 / 39, abs=0.04)


# The labels -------------------------------------------------------------------------------------


def scripted_sample(groups_of: Any) -> Any:
    """In place of the sampler: `groups_of(prompt)` gives the texts, repeated as often as asked."""

    def sample(
        policy: object, prompts: Sequence[Prompt], *, per_prompt: int, **_: object
    ) -> list[list[Completion]]:
        return [
            [
                Completion(
                    prompt=prompt, tokens=tokens, token_logprobs=(-1.0,) * len(tokens), stop="eos"
                )
                for tokens in groups_of(prompt) * (per_prompt // 2)
            ]
            for prompt in prompts
        ]

    return sample


TINY = small_transformer(
    vocabulary=41, context=WORLD.context, eos_id=EOS, width=8, layers=1, seed=0
)
SIZES = WorldSizes(demonstrations=200, pairs=900, selection_pairs=200, test_pairs=500)


def made(*, seed: int = 0, sizes: WorldSizes = SIZES) -> Dataset:
    before = demonstrations_only(WORLD, sizes, seed=seed)
    return with_pairs(WORLD, before, TINY, sizes, seed=seed)


@cache
def real(seed: int = 0) -> Dataset:
    """Pairs that the tiny policy really sampled."""
    return made(seed=seed)


@pytest.mark.parametrize(("temperature", "odds"), [(2 * math.log(3), 3.0), (0.0, 1.0)])
@pytest.mark.parametrize("good_first", [True, False])
def test_labels_follow_bradley_and_terry(
    temperature: float, odds: float, good_first: bool, monkeypatch: pytest.MonkeyPatch
):
    """An optimal route (reward 1) against one cut to nothing but roads (reward 1/2): a lead of 1/2.

    At temperature 2 log 3 that is odds of 3 to 1. Two-sided binomial at p > 1e-5 in four cases:
    a false alarm in 4 of 100,000 seeds; the seed is fixed.
    """
    world = Routes(label_temperature=temperature)

    def texts(prompt: Prompt) -> list[Tokens]:
        good = optimal(prompt.tokens)
        bad = good[:-1]  # never says that it has arrived
        return [good, bad] if good_first else [bad, good]

    monkeypatch.setattr(writers, "sample", scripted_sample(texts))
    sizes = WorldSizes(demonstrations=1, pairs=4000, selection_pairs=1, test_pairs=1)
    pairs = with_pairs(world, demonstrations_only(world, sizes, seed=0), TINY, sizes, seed=0).pairs[
        "train"
    ]
    assert len(pairs) == 4000
    wins = sum(pair.chosen[-1] == EOS for pair in pairs)
    assert stats.binomtest(wins, 4000, odds / (1 + odds)).pvalue > 1e-5


def test_identical_pairs_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch):
    def texts(prompt: Prompt) -> list[Tokens]:
        good = optimal(prompt.tokens)
        return [good, good] if prompt.tokens[0] == 1 else [good, (EOS,)]

    monkeypatch.setattr(writers, "sample", scripted_sample(texts))
    # Whole laps, so that it does not matter in which order the prompts are taken.
    laps = {"train": 1, "selection": 3, "test": 2}
    asked_of = {s: n * len(WORLD.prompts(s)) for s, n in laps.items()}  # type: ignore[arg-type]
    sizes = WorldSizes(
        demonstrations=200,
        pairs=asked_of["train"],
        selection_pairs=asked_of["selection"],
        test_pairs=asked_of["test"],
    )
    data = made(sizes=sizes)
    source = {s.source.split()[-2]: s for s in data.audit.sources}
    for split, asked in asked_of.items():
        prompts = WORLD.prompts(split)  # type: ignore[arg-type]
        same = laps[split] * sum(prompt.tokens[0] == 1 for prompt in prompts)
        assert same > 0
        assert len(data.pairs[split]) == asked - same
        assert source[split].reasons == (("chosen and rejected are the same tokens", same),)
        assert (source[split].read, source[split].used) == (asked, asked - same)
        assert all(pair.chosen != pair.rejected for pair in data.pairs[split])


def test_pairs_of_a_real_policy_stay_in_their_split_and_leak_nothing():
    data = real()
    for split in SPLITS:
        allowed = {(p.prompt_id, p.tokens) for p in WORLD.prompts(split)}  # type: ignore[arg-type]
        assert {(p.prompt_id, p.prompt) for p in data.pairs[split]} <= allowed
        assert data.prompts[split] == WORLD.prompts(split)  # type: ignore[arg-type]
    assert data.pairs["grader"] == ()
    assert (data.audit.leaked_prompts, data.audit.leaked_tokens) == (0, 0)
    assert data.demonstrations == WORLD.demonstrations(200, seed=0)


def test_every_pair_is_a_fresh_draw():
    """More pairs than prompts: the second lap does not repeat the samples of the first."""
    data = real()
    by_prompt: dict[str, list[Pair]] = {}
    for pair in data.pairs["test"]:
        by_prompt.setdefault(pair.prompt_id, []).append(pair)
    twice = [pairs for pairs in by_prompt.values() if len(pairs) == 2]
    assert len(twice) > 50
    assert sum({a.chosen, a.rejected} == {b.chosen, b.rejected} for a, b in twice) == 0


def test_pairs_are_a_function_of_the_seed():
    fewer = made(sizes=SIZES.model_copy(update={"pairs": 850}))
    assert fewer.pairs["test"] == real().pairs["test"]
    assert fewer.pairs["train"] == real().pairs["train"][: len(fewer.pairs["train"])]
    assert real(1).pairs["test"] != real().pairs["test"]


def test_few_pairs_are_spread_over_the_map():
    few = made(sizes=WorldSizes(demonstrations=1, pairs=100, selection_pairs=40, test_pairs=100))
    starts = {pair.prompt[0] for pair in few.pairs["train"]}
    # A hundred pairs at random miss 40 x 0.975^100 = 3 of 40 starts on average.
    assert len(starts) > 25


def test_label_entropy_by_hand():
    """Leads of 1 and -1/2 at temperature 10 cost log(1 + e^-10) and log(1 + e^5) nats."""
    pairs = [((B, EOS), (EOS,)), ((B, A, EOS), (B, EOS))]
    rows = tuple(
        Pair(prompt_id="p", prompt=(A, B), chosen=chosen, rejected=rejected)
        for chosen, rejected in pairs
    )
    data = real()
    data = replace(data, pairs={**data.pairs, "test": rows})
    expected = (math.log1p(math.exp(-10)) + math.log1p(math.exp(5))) / 2
    assert label_entropy(WORLD, data) == pytest.approx(expected)
