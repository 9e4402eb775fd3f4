"""docs/theory.md says what the code computes: each row of its tables, the numbers of its text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from allroads.exact import kl
from allroads.exact.claims import CLAIMS, best_of_n, information, tokens
from allroads.findings import Check

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "theory.md").read_text(encoding="utf-8")
REMEDY = "the code has changed: run benchmarks/theory.py --write and read the text again"


def table(name: str) -> dict[str, list[str]]:
    """The cells of one claim's table by variant."""
    found = re.search(rf"<!-- checks: {name} -->\n(.*?)<!-- end -->", TEXT, flags=re.DOTALL)
    assert found, f"docs/theory.md has no table of {name}"
    rows = [line.strip("|").split("|") for line in found[1].splitlines()[2:]]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def same(printed: str, value: float) -> bool:
    return abs(float(printed) - value) <= 2e-3 * abs(value) + 1e-9


def agrees(row: list[str], check: Check) -> bool:
    premise, sides = row
    left, sign, right = sides.split()
    said = premise == ("holds" if check.premise else "broken")
    said = said and sign == {"=": "=", "<=": "≤", "!=": "≠", ">": ">"}[check.sign]
    return said and check.expected and same(left, check.left) and same(right, check.right)


@pytest.mark.parametrize("name", CLAIMS)
def test_the_tables_are_what_the_code_computes(name: str):
    shown, checks = table(name), CLAIMS[name].examine().checks
    assert list(shown) == [check.variant for check in checks], REMEDY
    wrong = [c.variant for c in checks if not agrees(shown[c.variant], c)]
    assert not wrong, REMEDY


def test_a_wrong_number_would_be_noticed():
    check = CLAIMS["best-of-n"].examine().checks[1]
    row = table("best-of-n")[check.variant]
    assert agrees(row, check)
    assert row == ["holds", "0.3009 = 0.3009"]
    assert not agrees(["holds", "0.3009 = 0.302"], check)
    assert not agrees(["holds", "0.3009 ≠ 0.3009"], check)
    assert not agrees(["broken", "0.3009 = 0.3009"], check)


def test_the_numbers_in_the_text():
    c = information.chain()
    data, model, samples = information.kept(c)
    outside = [
        information._of(c.labels_RD[:, :, None] * c.judged_RDX[name])
        for name in ("verifier", "judge")
    ]
    policy = np.log([[1 - best_of_n.SUCCESS, best_of_n.SUCCESS]])
    best = best_of_n.best_of(best_of_n.N, policy, np.array([[0.0, 1.0]]))
    words = " ".join(TEXT.split())
    for sentence in (
        f"({np.log(len(information.TRUTHS)):.3f} nats to be known), five pairs",
        f"hold {data:.3f} nats about the truth, the reward model {model:.3f}, two on-policy pairs "
        f"with its labels {samples:.3f}.",
        f"on two on-policy pairs {outside[0]:.3f} nats are known, with those of a judge who "
        f"answers like the people {outside[1]:.3f}.",
        f"move in {tokens.directions(3)[0]} at every length. The token log-ratios move in "
        f"{tokens.directions(1)[1]} at one token, {tokens.directions(2)[1]} at two, and "
        f"{tokens.directions(6)[1]} at six.",
        f"yes to {100 * best_of_n.SUCCESS:.0f} % of the draws, best of {best_of_n.N} spends "
        f"{kl(best, policy)[0]:.3f} nats, and the formula says {best_of_n.bound(best_of_n.N):.3f}.",
    ):
        assert sentence in words, f"{sentence!r}: {REMEDY}"
    assert (len(information.PAIRS), information.SAMPLED) == (5, 2)


def test_the_figures_are_there():
    for name in re.findall(r"\]\((\S+\.png)\)", TEXT):
        assert (DOCS / name).stat().st_size > 10_000


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]):
    [code] = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    exec(compile(code, "theory.md", "exec"), {})
    assert capsys.readouterr().out.startswith("((0,), (1, 0), (2, 0))")
