"""Scorers on held-out pairs in other words: from the margins to the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from allroads import api, files
from allroads.data.worlds import Routes
from allroads.evaluation import scorers
from allroads.judges import CallableLabeller
from allroads.lab.execute import PARAPHRASED, execute, result_path
from allroads.lab.jobs import Job
from allroads.report import tables
from allroads.types import Pair, Tokens
from tests.lab import tiny

PAIRS = (
    Pair(prompt_id="a", prompt=(1, 2), chosen=(5, 5, 0), rejected=(6, 0)),
    Pair(prompt_id="b", prompt=(3, 4), chosen=(6, 0), rejected=(5, 0)),
)


def by_tokens(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
    """How often town 5 is called by its first name: a cue, not a meaning."""
    return [float(sum(token == 5 for token in c)) for c in completions]


def by_meaning(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
    """How often town 5 is passed, whatever it is called."""
    return [float(sum(token in (5, 45) for token in c)) for c in completions]


@pytest.mark.parametrize(
    ("score", "reworded"), [(by_tokens, [0.0, 0.0]), (by_meaning, [2.0, -1.0])]
)
@pytest.mark.parametrize("dialects", [1, 2])
def test_margins_in_other_words_by_hand(
    score: Any, reworded: list[float], dialects: int, tmp_path: Path
):
    shop: Any = SimpleNamespace(
        folder=tmp_path,
        world=Routes(dialects=dialects),
        dataset=lambda needs, seed: SimpleNamespace(pairs={"test": PAIRS, "train": PAIRS[:1]}),
        scorer=lambda target, seed: CallableLabeller(score, origin="data"),
    )
    job = Job("judge", "scorer", 0, (), {"target": "x", "beta": None})
    execute(shop, job, lambda done, total: None)
    expected = {"test": [2.0, -1.0], "train": [2.0]}
    if dialects == 2:
        expected[PARAPHRASED] = reworded
    assert files.read_json(result_path(tmp_path, job)) == expected


def test_a_comparison_in_two_dialects_reports_both(tmp_path: Path):
    options = {**tiny.FIELDS["world_options"], "dialects": 2}
    chosen = tiny.config(world_options=options, roads=["sft", "local-rm"], eval_prompts=4)
    results = api.compare(out=tmp_path / "run", config=chosen)
    judged = {
        path.name.removeprefix("judge-").rsplit("-s0-", 1)[0]: files.read_json(path)
        for path in tmp_path.glob("run/evaluations/judge-*.json")
    }
    rows = {row.name.replace(", beta ", "-beta"): row for row in results.reward_models}
    assert rows.keys() == judged.keys()
    for name, row in rows.items():
        margins = np.array(judged[name][PARAPHRASED])
        assert len(margins) == len(judged[name]["test"]) == row.pairs
        assert row.paraphrased_accuracy is not None
        assert row.paraphrased_nll is not None
        assert row.paraphrased_accuracy.value == pytest.approx(scorers.hits(margins).mean())
        assert row.paraphrased_nll.value == pytest.approx(scorers.nll(margins).mean())
    assert any("every town has two names" in row.note for row in results.audit)

    shown = tables.of_reward_models(results)
    at = shown.columns.index("Accuracy, paraphrased")
    first = results.reward_models[0]
    assert first.paraphrased_accuracy is not None
    assert shown.rows[0][at] == tables.share(first.paraphrased_accuracy, "1 seed")
    without = [
        row.model_copy(update={"paraphrased_accuracy": None, "paraphrased_nll": None})
        for row in results.reward_models
    ]
    plain = tables.of_reward_models(results.model_copy(update={"reward_models": tuple(without)}))
    assert [c for c in shown.columns if "paraphrased" not in c] == list(plain.columns)
    assert len(shown.columns) == len(plain.columns) + 2
    assert {len(row) for row in shown.rows} == {len(shown.columns)}
    assert {len(row) for row in plain.rows} == {len(plain.columns)}
