"""The table of claims: everything holds, every broken premise shows, and no check is empty."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from allroads.exact import claim as claim_module
from allroads.exact import soft as soft_module
from allroads.exact.claim import at_most, equal, exceeds, unequal
from allroads.exact.claims import (
    CLAIMS,
    best_of_n,
    information,
    isomorphism,
    projection,
    same_optima,
    soft_values,
    spin,
    tokens,
    two_stage,
    unified,
)
from allroads.findings import CLEARLY, Check

BREAKAGES = {
    "same-optima": (
        "classes differ: simpler rewards",
        "classes differ: simpler policies",
        "another beta in stage two",
        "another reference in stage two",
        "early stopping",
        "weight decay on one side",
    ),
    "two-stage": ("lossy projection",),
    "spin": ("SPIN after one step",),
    "data-processing": ("outside labeller: verifier", "outside labeller: judge"),
}
"""What the theory's readers asked to see broken; each must be a variant of its own."""


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_and_breaks_where_it_should(name: str):
    finding = CLAIMS[name].examine()
    assert finding.name == name
    for check in finding.checks:
        assert check.expected, check
        assert check.says
        assert check.premise or check.gap >= CLEARLY * check.tolerance
    variants = [check.variant for check in finding.checks]
    assert len(variants) == len(set(variants))
    assert {check.premise for check in finding.checks} == {True, False}
    broken = {check.variant for check in finding.checks if not check.premise}
    assert broken >= set(BREAKAGES.get(name, ()))


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_has_a_picture(name: str):
    drawing = CLAIMS[name].draw()
    assert len({line.name for line in drawing.lines}) == len(drawing.lines) >= 2
    for line in drawing.lines:
        assert len(line.x) == len(line.y) >= 2
        assert all(map(math.isfinite, (*line.x, *line.y)))


def test_equal_shows_the_worst_entry_and_never_passes_over_a_nan():
    check = equal("v", "s", [1.0, 2.0, 3.0], [1.0, 2.5, 3.1], tolerance=0.1)
    assert (check.left, check.right, check.gap) == (2.0, 2.5, 0.5)
    assert not check.expected
    agreeing = equal("v", "s", [1.0, -3.0], [1.1, -3.0], tolerance=0.2)
    assert (agreeing.left, agreeing.right) == (-3.0, -3.0)
    assert equal("v", "s", [1.0, 2.0], [1.0, 2.05], tolerance=0.1).expected
    assert not equal("v", "s", [1.0, math.nan], 1.0).expected
    assert not unequal("v", "s", [1.0, math.nan], 1.0).expected


def test_a_broken_premise_must_show_clearly():
    assert unequal("v", "s", 1.0, 1.5, tolerance=1e-9).expected
    assert not unequal("v", "s", 1.0, 1.0 + 1e-10, tolerance=1e-12).expected


def test_bounds_are_one_sided():
    assert at_most("v", "s", [1.0, 5.0], [2.0, 5.0]).expected
    assert not at_most("v", "s", [1.0, 5.1], [2.0, 5.0]).expected
    assert not at_most("v", "s", math.nan, 1.0).expected
    assert exceeds("v", "s", [1.0, 5.1], [2.0, 5.0]).expected
    assert not exceeds("v", "s", [1.0, 4.0], [2.0, 5.0]).expected
    assert not exceeds("v", "s", math.nan, 1.0).expected


def _other_way(function: Callable) -> Callable:
    return lambda a, b: function(b, a)


def _without(function: Callable, *names: str) -> Callable:
    """`function` with these arguments forgotten."""

    def forgetful(*args: Any, **fields: Any) -> Any:
        return function(*args, **{k: v for k, v in fields.items() if k not in names})

    return forgetful


def _stops_early(function: Callable) -> Callable:
    """A fit that ends a little before its optimum."""

    def early(*args: Any, **fields: Any) -> Any:
        fit = function(*args, **fields)
        near = 0.999 * fit.parameters
        return type(fit)(parameters=near, reward_PL=args[0](near)[0], nll=fit.nll, slope=fit.slope)

    return early


WRONG: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "unified: KL the wrong way round": (unified, "kl", _other_way),
    "unified: a DPO without reference": (unified, "_dpo_loss", lambda f: lambda e, p: f(e, p) + 1),
    "projection: KL the wrong way round": (projection, "kl", _other_way),
    "projection: no partition function": (
        projection,
        "log_partition",
        lambda _: lambda r, **_k: np.zeros(len(r)),
    ),
    "soft-values: sum instead of logsumexp": (
        soft_module,
        "logsumexp",
        lambda _: lambda x: x.sum(axis=-1),
    ),
    "soft-values: reference forgotten": (
        soft_values,
        "soft_value_iteration",
        lambda f: _without(f, "reference"),
    ),
    "isomorphism: reference forgotten": (
        isomorphism,
        "implicit_reward",
        lambda f: _without(f, "reference_PL"),
    ),
    "isomorphism: beta forgotten": (isomorphism, "implicit_reward", lambda f: _without(f, "beta")),
    "same-optima: beta forgotten in stage two": (
        same_optima,
        "soft_value_iteration",
        lambda f: _without(f, "beta"),
    ),
    "same-optima: a fit that stops early": (same_optima, "maximum_likelihood", _stops_early),
    "two-stage: reference forgotten": (
        two_stage,
        "implied_by_soft_optima",
        lambda f: _without(f, "reference"),
    ),
    "two-stage: a fit that stops early": (two_stage, "maximum_likelihood", _stops_early),
    "spin: no logistic": (spin, "sigmoid", lambda _: np.ones_like),
    "spin: scores without their normaliser": (
        spin,
        "implied_by_policies",
        lambda f: lambda tree: lambda theta: (f(tree)(theta)[0], abs(f(tree)(theta)[1])),
    ),
    "data-processing: entropy for information": (
        information,
        "_of",
        lambda _: lambda x: float(-(x[x > 0] * np.log(x[x > 0])).sum()),
    ),
    "token-level: sum instead of logsumexp": (
        soft_module,
        "logsumexp",
        lambda _: lambda x: x.sum(axis=-1),
    ),
    "token-level: value of the wrong reward": (
        tokens,
        "log_partition",
        lambda f: lambda r, **k: f(-r, **k),
    ),
    "best-of-n: ties forgotten": (
        best_of_n,
        "best_of",
        lambda f: lambda n, p, r: f(n, p, r + 1e-9 * np.arange(r.shape[1])),
    ),
    "best-of-n: the bound with log(N - 1)": (
        best_of_n,
        "bound",
        lambda _: lambda n: math.log(n - 1) - (n - 1) / n,
    ),
}
"""Mistakes that a claim must notice: the module and name to spoil, and how."""


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_caught(mistake: str, monkeypatch: pytest.MonkeyPatch):
    module, name, spoil = WRONG[mistake]
    monkeypatch.setattr(module, name, spoil(getattr(module, name)))
    finding = CLAIMS[mistake.partition(":")[0]].examine()
    assert any(check.premise and not check.expected for check in finding.checks), mistake


def test_every_claim_has_a_mistake_that_it_must_notice():
    assert {mistake.partition(":")[0] for mistake in WRONG} == set(CLAIMS)


def test_a_claim_whose_premise_is_not_really_broken_is_caught(monkeypatch: pytest.MonkeyPatch):
    """Were the broken variants quietly the kept ones, the finding would say so."""
    monkeypatch.setattr(projection, "SLIP", 0.0)
    finding = CLAIMS["projection"].examine()
    wrong = [check.variant for check in finding.checks if not check.expected]
    assert wrong == ["dynamics that are not a tree"]
    assert not finding.expected


def test_records_refuse_unknown_fields():
    assert claim_module.Check is Check
    with pytest.raises(ValueError, match="extra"):
        Check(variant="v", premise=True, says="s", left=0, right=0, gap=0, tolerance=0, extra=1)  # type: ignore[call-arg]
