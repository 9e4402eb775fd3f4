"""Biases have the sizes that theory gives them; docs/oracle.md prints what the code computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from allroads.exact import conditionals, kl, token_kl
from allroads.lab.oracle import biases, kl_table
from allroads.lab.oracle.ground import GROUNDS, policy
from allroads.lab.oracle.leaves import logprobs
from allroads.lab.oracle.text import bias_lines

DOC = (Path(__file__).parents[2] / "docs" / "oracle.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows():
    return list(biases())


@pytest.fixture(scope="module")
def kl_rows():
    return {(row.estimator, row.place): row for row in kl_table(GROUNDS["own ends"])}


def printed(name: str) -> list[list[str]]:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", DOC, flags=re.DOTALL)
    assert found
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()[2:]
    ]


def test_groups_less_their_own_mean_shrink_and_do_not_turn(rows):
    for k in (2, 3, 4):
        right, shrunk, turned = (row for row in rows if row.name == f"groups of {k}")
        assert (right.length, right.cosine) == pytest.approx((1, 1), abs=1e-12)
        assert (shrunk.length, shrunk.cosine) == pytest.approx(((k - 1) / k, 1), abs=1e-12)
        assert turned.cosine < 0.999


def test_every_other_row_is_a_bias(rows):
    exact = [r.name for r in rows if r.length == pytest.approx(1) and r.cosine == pytest.approx(1)]
    assert exact == ["groups of 2", "groups of 3", "groups of 4"]


def test_the_page_shows_the_biases(rows):
    shown = printed("biases")
    assert [cells[0] for cells in shown] == [row.name for row in rows]
    assert [cells[3] for cells in shown] == [row.found for row in rows]
    numbers = np.array([[float(c) for c in cells[1:3]] for cells in shown])
    computed = np.array([[row.length, row.cosine] for row in rows])
    np.testing.assert_allclose(numbers, computed, atol=1e-3)


def test_the_page_shows_the_kl_estimators(kl_rows):
    shown = printed("kl")
    assert [(cells[0], cells[1]) for cells in shown] == list(kl_rows)
    assert [cells[6] for cells in shown] == [row.gradient_of for row in kl_rows.values()]
    numbers = np.array([[float(c) for c in cells[2:6]] for cells in shown])
    computed = np.array([[r.value, r.bias, r.length, r.cosine] for r in kl_rows.values()])
    np.testing.assert_allclose(numbers, computed, atol=1e-3)


def test_values_of_the_kl_estimators(kl_rows):
    """The exact room's KL, of whole completions and by the chain rule over tokens."""
    ground = GROUNDS["own ends"]
    log_pi, log_ref = (
        logprobs(ground, policy(ground, role)).detach().numpy() for role in ("trainee", "reference")
    )
    wanted = np.dot(ground.tree.rho, kl(log_pi, log_ref))
    by_token = [conditionals(ground.tree, table) for table in (log_pi, log_ref)]
    assert np.dot(ground.tree.rho, token_kl(ground.tree, *by_token)) == pytest.approx(wanted)
    for (estimator, _), row in kl_rows.items():
        assert row.value - row.bias == pytest.approx(wanted, rel=1e-12)
        assert (abs(row.bias) < 1e-12) == (estimator != "k2")


def test_gradients_of_the_kl_estimators_are_those_that_theory_says(kl_rows):
    for row in kl_rows.values():
        assert row.difference < 1e-12
    assert kl_rows["k1", "completion"].length == 0
    right = {key for key, row in kl_rows.items() if row.cosine == pytest.approx(1)}
    assert right == {("k2", "completion"), ("k1", "in the reward")}


def test_lines_say_every_bias(rows):
    text = "\n".join(bias_lines(rows))
    for row in rows:
        assert row.found in text
