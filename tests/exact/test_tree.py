"""Trees against strings written out by itertools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allroads.errors import InputError
from allroads.exact import Tree, leaf_logprobs, random_policy, uniform
from tests.exact import brute_force
from tests.exact.brute_force import trees


@given(tree=trees())
def test_the_leaves_are_all_completions_once(tree: Tree):
    assert set(tree.completions) == brute_force.completions(tree)
    assert len(tree.completions) == tree.leaves == len(set(tree.completions))
    assert [tree.leaf(tokens) for tokens in tree.completions] == list(range(tree.leaves))
    assert tree.lengths_L.tolist() == [len(tokens) for tokens in tree.completions]
    ended = [tree.eos is None or tokens[-1] == tree.eos for tokens in tree.completions]
    assert tree.finished_L.tolist() == ended


def test_the_order_of_leaves_by_hand():
    assert Tree(vocabulary=2, horizon=2).completions == ((0, 0), (0, 1), (1, 0), (1, 1))
    ending = Tree(vocabulary=3, horizon=2, eos=1)
    assert ending.completions == ((1,), (0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (2, 2))
    assert ending.finished_L.tolist() == [True, False, True, False, False, True, False]
    assert (ending.leaves, ending.slots, ending.nodes(1)) == (7, 9, 2)


@given(tree=trees(), seed=st.integers(0, 1000))
def test_spread_sums_along_each_path(tree: Tree, seed: int):
    policy = random_policy(tree, np.random.default_rng(seed))
    logprob = leaf_logprobs(tree, policy)
    for prompt in range(tree.prompts):
        expected = [brute_force.path_sum(tree, policy, prompt, t) for t in tree.completions]
        np.testing.assert_allclose(logprob[prompt], expected, atol=1e-12)
    np.testing.assert_allclose(np.exp(logprob).sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(tree.flatten(policy) @ tree.paths_LS.T, logprob, atol=1e-12)
    for level, again in zip(policy, tree.unflatten(tree.flatten(policy)), strict=True):
        np.testing.assert_array_equal(level, again)


@given(tree=trees(), seed=st.integers(0, 1000))
def test_gather_finds_the_best_completion_behind_each_prefix(tree: Tree, seed: int):
    leaf = np.random.default_rng(seed).standard_normal((tree.prompts, tree.leaves))
    after, best = tree.gather(leaf, lambda _, level: level.max(axis=-1))
    np.testing.assert_array_equal(best, leaf.max(axis=1))
    at = brute_force.reader(tree, after)
    for h in range(tree.horizon):
        for prefix in brute_force.prefixes(tree, h):
            for token in range(tree.vocabulary):
                begun = (*prefix, token)
                behind = [leaf[0, i] for i, t in enumerate(tree.completions) if t[: h + 1] == begun]
                assert at(0, prefix, token) == max(behind)


def test_prefix_sums_are_the_reach_of_prefixes():
    tree = Tree(vocabulary=3, horizon=3, eos=0)
    reach = [np.exp(r) for r in tree.prefix_sums(uniform(tree))]
    assert [r.tolist() for r in reach[:2]] == [[[1.0]], [[pytest.approx(1 / 3)] * 2]]
    assert reach[2].shape == (1, 4)
    np.testing.assert_allclose(reach[2], 1 / 9)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vocabulary": 2, "horizon": 0}, "horizon"),
        ({"vocabulary": 1, "horizon": 2, "eos": 0}, "at least 2 tokens"),
        ({"vocabulary": 2, "horizon": 2, "eos": 2}, "eos"),
        ({"vocabulary": 2, "horizon": 2, "rho": (0.5, 0.6)}, "sum to 1"),
        ({"vocabulary": 2, "horizon": 2, "rho": ()}, "rho"),
    ],
)
def test_a_tree_that_cannot_be_is_refused(fields: dict, words: str):
    with pytest.raises(InputError, match=words):
        Tree(**fields)


@pytest.mark.parametrize("tokens", [(), (0,), (1, 1), (0, 3), (0, 0, 0), (-1, 0)])
def test_strings_that_are_no_completion_are_refused(tokens: tuple[int, ...]):
    with pytest.raises(InputError, match="no completion"):
        Tree(vocabulary=3, horizon=2, eos=1).leaf(tokens)


def test_shapes_that_do_not_fit_are_refused():
    tree = Tree(vocabulary=2, horizon=2)
    with pytest.raises(InputError, match="one array for each depth"):
        tree.spread((np.zeros((1, 1, 2)),))
    with pytest.raises(InputError, match="leaf values have shape"):
        tree.gather(np.zeros((1, 3)), lambda _, level: level.max(axis=-1))
