"""The A/A test passes for a rule that is right and fails for one that leaves the seeds out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allroads import stats
from allroads.errors import InputError
from allroads.lab.study import aa
from tests.lab.study import known


def pools(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two runs of 40 seeds that share the prompts."""
    rng = np.random.default_rng(seed)
    prompts = rng.normal(size=30)
    a, b = (
        prompts + known.draw(rng, mean=0, seed=1, prompt=0, residual=1, seeds=40, prompts=30)
        for _ in range(2)
    )
    return a, b


def test_the_bound_by_hand():
    # .05 + 1.645 sqrt(.05 .95 / 200) = .05 + 1.645 * .01541.
    found = aa.halves(pools(0)[0], rng=np.random.default_rng(0))
    assert found.bound == pytest.approx(0.07535, abs=1e-5)
    assert [found.pool, found.seeds, found.draws] == [40, 5, 200]


def test_a_right_rule_claims_as_seldom_as_it_says():
    # One pool passes with about 95 %; the mean share of 8 pools has a standard deviation of .006
    # about its .05: .08 is 5 of them.
    shares = []
    for k in range(4):
        rng = np.random.default_rng(k)
        a, b = pools(k)
        shares += [aa.replicates(a, b, rng=rng).share, aa.halves(a, rng=rng).share]
    assert 0.02 < np.mean(shares) < 0.08


def test_a_rule_that_forgets_the_seeds_fails(monkeypatch: pytest.MonkeyPatch):
    def over_prompts(values: np.ndarray, *, level: float) -> stats.Estimate:
        return stats.seed_mean(values.mean(axis=0), level=level)

    monkeypatch.setattr(stats, "two_way_mean", over_prompts)
    a, b = pools(1)
    for found in (
        aa.replicates(a, b, rng=np.random.default_rng(1)),
        aa.halves(a, rng=np.random.default_rng(1)),
    ):
        assert not found.passes
        assert found.share > 0.3
        assert "FAILED" in found.words


def test_pools_that_test_nothing_are_refused():
    a, b = pools(2)
    rng = np.random.default_rng(2)
    with pytest.raises(InputError, match="at least 40 seeds"):
        aa.halves(a[:39], rng=rng)
    with pytest.raises(InputError, match="pool_a and pool_b are equal"):
        aa.replicates(a, a.copy(), rng=rng)
    with pytest.raises(InputError, match="one shape"):
        aa.replicates(a, b[:, :-1], rng=rng)
    with pytest.raises(InputError, match=r"seeds must lie in \[2, 20\], got 21"):
        aa.halves(a, rng=rng, seeds=21)
    assert not math.isnan(aa.halves(a, rng=rng, seeds=20, draws=1).share)
