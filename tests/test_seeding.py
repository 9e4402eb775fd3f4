"""Addresses name the same numbers for ever, and different addresses are independent."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from allroads.seeding import address, child, uniforms


def test_golden_addresses():
    # Written down once. A change here changes every split, sample and run of every user.
    assert address(0) == 4761921975702974394
    assert address(7, "rollout", 3) == 323251813575952427
    assert address(2**40, "split", "größe") == 7298843439332186843


def test_golden_draws():
    rng = child(7, "rollout", 3)
    assert rng.integers(1_000_000, size=3).tolist() == [631411, 107411, 564009]
    assert child(7, "rollout", 3).random() == 0.1074113165101529


def test_the_address_is_the_first_63_bits_of_a_blake2b_digest():
    digest = hashlib.blake2b(b"7/rollout/3", digest_size=8).hexdigest()
    assert f"{address(7, 'rollout', 3):063b}" == f"{int(digest, 16):064b}"[:63]


def test_asking_again_gives_the_same_and_shifts_nobody():
    first = child(1, "a").random(5)
    child(1, "b").random(1000)
    np.testing.assert_array_equal(child(1, "a").random(5), first)


@pytest.mark.parametrize(
    "other", [(2, "a", 1), (1, "b", 1), (1, "a", 2), (1, "a"), (1, "a", 1, 0), (1, "a1")]
)
def test_every_part_of_the_path_matters(other):
    assert address(*other) != address(1, "a", 1)
    assert child(*other).random() != child(1, "a", 1).random()


def test_neighbouring_addresses_are_uniform_and_independent():
    # Each test at p > 1e-4 on fixed seeds: together a false alarm in 3 of 10,000 rewrites.
    draws = np.array([child(seed, "x").random(2) for seed in range(4000)])
    flat = [address(0, "x", i) / 2**63 for i in range(4000)]
    assert stats.kstest(draws[:, 0], "uniform").pvalue > 1e-4
    assert stats.kstest(flat, "uniform").pvalue > 1e-4
    assert stats.spearmanr(draws[:-1, 0], draws[1:, 0]).pvalue > 1e-4


def test_addresses_fit_a_signed_64_bit_integer():
    assert all(0 <= address(0, i) < 2**63 for i in range(1000))


@pytest.mark.parametrize("length", [1, 4, 11])
def test_uniforms_are_the_first_draws_of_each_child(length):
    names = [(f"town {i}", copy) for i in range(20) for copy in range(3)]
    one_by_one = [child(3, "round", *name).random(length) for name in names]
    np.testing.assert_array_equal(uniforms(3, "round", names, length), one_by_one)
