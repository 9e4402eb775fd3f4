"""A policy on held-out prompts: against brute force, against itself, and with common luck."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from allroads.errors import TrainingError
from allroads.evaluation.policies import Bench, measure_best_of_n, measure_policy
from allroads.judges import CallableLabeller
from allroads.models.states import Rows
from allroads.types import Completion, Prompt
from tests.conftest import EOS, tiny_policy

PROMPTS = [Prompt(prompt_id=f"p{i}", tokens=(3 + i, 4)) for i in range(6)]


def grade(answers: Sequence[Completion]) -> list[float]:
    """A made-up truth, in (0, 1)."""
    return [(sum(a.tokens) % 17) / 17 + 0.01 * a.prompt.tokens[0] / 10 for a in answers]


def label(prompts, completions) -> list[float]:
    """A made-up reward model: not the truth."""
    return [math.sin(3.0 * sum(c) + p[0]) for p, c in zip(prompts, completions, strict=True)]


def bench(**changes: object) -> Bench:
    made = Bench(
        test=PROMPTS[:3],
        train=PROMPTS[3:5],
        selection=PROMPTS[5:],
        metric=grade,
        start=tiny_policy(),
        selection_scorer=CallableLabeller(lambda p, c: [float(len(one)) for one in c]),
        samples=2,
        temperature=1.0,
        max_new_tokens=12,
        seed=7,
        token_budget=10**6,
        sample_batch=64,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


# One policy ---------------------------------------------------------------------------------------


def test_the_start_policy_has_not_left_itself():
    """k1 is the same log-probability twice, once summed while sampling, once in one forward."""
    record, _ = measure_policy(bench(), tiny_policy(), None)
    assert record["kl"] == pytest.approx([0.0] * 3, abs=1e-4)


def test_kl_is_the_log_ratio_under_the_writer_and_the_start():
    other = tiny_policy(seed=5)
    record, _ = measure_policy(bench(samples=3), other, None)
    groups = bench().answers(other, PROMPTS[:3], "test", 3)
    expected = []
    for group in groups:
        rows = Rows([one.prompt.tokens for one in group], [one.tokens for one in group])
        with torch.no_grad():
            ratio = other.sequence_logprobs(rows) - tiny_policy().sequence_logprobs(rows)
        expected.append(float(ratio.mean()))
    assert record["kl"] == pytest.approx(expected, abs=1e-3)
    assert np.mean(record["kl"]) > 0.1


def test_a_record_is_per_prompt_over_its_samples():
    given, policy = bench(samples=4), tiny_policy(seed=5)
    record, first = measure_policy(given, policy, CallableLabeller(label))
    groups = given.answers(policy, PROMPTS[:3], "test")
    assert [len(group) for group in groups] == [4, 4, 4]
    assert record["metric"] == pytest.approx([np.mean(grade(group)) for group in groups])
    assert record["length"] == [np.mean([len(one.tokens) for one in group]) for group in groups]
    assert record["no_eos"] == [
        np.mean([one.tokens[-1] != EOS for one in group]) for group in groups
    ]
    assert first == [group[0] for group in groups]
    flat = [one for group in groups for one in group]
    scores = label([one.prompt.tokens for one in flat], [one.tokens for one in flat])
    assert record["proxy"] == pytest.approx(np.mean(scores))
    train = [one for group in given.answers(policy, PROMPTS[3:5], "train") for one in group]
    assert record["metric_train"] == pytest.approx(np.mean(grade(train)))
    selection = given.answers(policy, PROMPTS[5:], "selection")[0]
    assert record["selection"] == pytest.approx(np.mean([len(one.tokens) for one in selection]))


def test_a_failed_score_is_no_zero():
    """Two of six completions get no score: the mean is over the other four."""

    def some(prompts, completions):
        return [None if i < 2 else 1.0 for i, _ in enumerate(completions)]

    record, _ = measure_policy(bench(), tiny_policy(), CallableLabeller(some))
    assert record["proxy"] == 1.0


def test_identical_policies_give_identical_records():
    """Common random numbers: only a difference of weights can make a difference of records."""
    one, again = (measure_policy(bench(), tiny_policy(seed=3), None) for _ in range(2))
    assert one == again
    alone = measure_policy(bench(sample_batch=1), tiny_policy(seed=3), None)[1]
    assert [a.tokens for a in alone] == [a.tokens for a in one[1]]
    assert measure_policy(bench(seed=8), tiny_policy(seed=3), None)[1] != one[1]


def test_a_small_step_changes_few_answers():
    """With luck of its own, nearly every answer of the second policy would be another."""
    many = [Prompt(prompt_id=f"m{i}", tokens=(2 + i % 20, 1)) for i in range(60)]
    near = tiny_policy()
    with torch.no_grad():
        for parameter in near.model.parameters():
            parameter.mul_(1.0 + 1e-4)
    given = bench(test=many, samples=1)
    pairs = zip(
        measure_policy(given, tiny_policy(), None)[1],
        measure_policy(given, near, None)[1],
        strict=True,
    )
    assert sum(a.tokens == b.tokens for a, b in pairs) > 50


def test_test_train_and_selection_answers_are_separate_draws():
    given = bench(test=PROMPTS, train=PROMPTS, selection=PROMPTS)
    drawn = [
        [one.tokens for group in given.answers(tiny_policy(), PROMPTS, place) for one in group]
        for place in ("test", "train", "selection", "test-pool")
    ]
    assert len({str(tokens) for tokens in drawn}) == 4


# Best of N ----------------------------------------------------------------------------------------


def pools(size: int, *, finished: bool) -> dict[str, list[Completion]]:
    """Toy completions for every prompt, some cut, some with the same text and so the same score."""
    rng = np.random.default_rng(0)
    out = {}
    for prompt in PROMPTS:
        out[prompt.prompt_id] = [
            Completion(
                prompt=prompt,
                tokens=(int(rng.integers(1, 6)), EOS if whole else 9),
                token_logprobs=(-0.5, -0.5),
                stop="eos" if whole else "length",
            )
            for whole in (rng.random(size) > 0.4) | finished
        ]
    return out


def brute_force(group: Sequence[Completion], values: Sequence[float], n: int) -> float:
    """The best of every subset of n, mean over subsets; equally good ones share."""
    scores = label([one.prompt.tokens for one in group], [one.tokens for one in group])
    rank = [
        (one.finished, score if one.finished else 0.0)
        for one, score in zip(group, scores, strict=True)
    ]
    total, subsets = 0.0, list(itertools.combinations(range(len(group)), n))
    for subset in subsets:
        top = max(rank[i] for i in subset)
        best = [values[i] for i in subset if rank[i] == top]
        total += sum(best) / len(best)
    return total / len(subsets)


@pytest.mark.parametrize("finished", [True, False])
def test_best_of_n_against_brute_force(finished: bool):
    made = pools(7, finished=finished)
    assert finished or any(not one.finished for one in made["p0"])

    def scripted(policy, prompts, *, per_prompt, **_):
        return [made[p.prompt_id][:per_prompt] for p in prompts]

    given = bench(engine=scripted)
    ns = (1, 2, 3, 4)
    measured = measure_best_of_n(given, tiny_policy(), CallableLabeller(label), ns, 7)
    for n in ns:
        record, best = measured[n]
        for name, value in (
            ("metric", grade),
            ("length", lambda group: [float(len(one.tokens)) for one in group]),
            ("no_eos", lambda group: [float(not one.finished) for one in group]),
        ):
            expected = [
                brute_force(made[p.prompt_id], value(made[p.prompt_id]), n) for p in PROMPTS[:3]
            ]
            assert record[name] == pytest.approx(expected), (name, n)
        # Training and selection prompts have pools of max(ns).
        train = [made[p.prompt_id][:4] for p in PROMPTS[3:5]]
        assert record["metric_train"] == pytest.approx(
            np.mean([brute_force(group, grade(group), n) for group in train])
        )
        (chosen,) = [made[p.prompt_id][:4] for p in PROMPTS[5:]]
        lengths = [float(len(one.tokens)) for one in chosen]
        assert record["selection"] == pytest.approx(brute_force(chosen, lengths, n))
        for one, prompt in zip(best, PROMPTS[:3], strict=True):
            group = made[prompt.prompt_id][:n]
            scores = label([prompt.tokens] * n, [a.tokens for a in group])
            ranks = [
                (a.finished, s if a.finished else 0) for a, s in zip(group, scores, strict=True)
            ]
            assert (one.finished, one.tokens[-1] == EOS) == (max(ranks)[0],) * 2
            if one.finished:
                assert label([prompt.tokens], [one.tokens])[0] == max(ranks)[1]


def test_an_unfinished_completion_never_beats_a_finished_one():
    """The reward model loves what was cut off; it is chosen only where there is nothing else."""
    prompt = PROMPTS[0]
    half = (-0.5, -0.5)
    cut = [
        Completion(prompt=prompt, tokens=(9, 9), token_logprobs=half, stop="length")
        for _ in range(3)
    ]
    whole = Completion(prompt=prompt, tokens=(1, EOS), token_logprobs=half, stop="eos")

    def love_the_cut(prompts, completions):
        return [0.0 if c[-1] == EOS else 100.0 for c in completions]

    given = bench(
        test=[prompt],
        train=[prompt],
        selection=[prompt],
        engine=lambda *_, per_prompt, **__: [[*cut, whole][:per_prompt]],
    )
    measured = measure_best_of_n(given, tiny_policy(), CallableLabeller(love_the_cut), (1, 2, 4), 4)
    # With one of four whole: it is among n drawn with chance n / 4.
    assert [measured[n][0]["no_eos"] for n in (1, 2, 4)] == [[0.75], [0.5], [0.0]]
    assert measured[4][1] == [whole]


def test_best_of_one_is_the_policy_itself():
    measured = measure_best_of_n(bench(), tiny_policy(), CallableLabeller(label), (1, 3), 9)
    records = {n: record for n, (record, _) in measured.items()}
    pool = bench().answers(tiny_policy(), PROMPTS[:3], "test-pool", 9)
    assert records[1]["metric"] == pytest.approx([np.mean(grade(group)) for group in pool])
    assert records[1]["kl"] == pytest.approx([0.0] * 3)
    assert records[3]["proxy"] > records[1]["proxy"]  # type: ignore[operator]
    for n in (1, 3):
        assert all(0 <= kl <= math.log(n) - (n - 1) / n + 0.1 for kl in records[n]["kl"])  # type: ignore[union-attr]


def test_best_of_n_needs_every_score():
    labeller = CallableLabeller(lambda p, c: [None, *([1.0] * (len(c) - 1))])
    with pytest.raises(TrainingError, match="gave no score for 1 of 12 completions"):
        measure_best_of_n(bench(), tiny_policy(), labeller, (2,), 4)


def love_the_long(prompts, completions) -> list[float]:
    """A scorer of length, ties broken by the text."""
    return [len(c) + 0.01 * (sum(c) % 7) for c in completions]


def test_where_the_task_ends_at_a_length_the_score_alone_ranks():
    """The tiny policy fills twelve tokens now and then: cut, or whole, by what the task is."""
    scorer = CallableLabeller(love_the_long)
    for fixed in (True, False):
        given = bench(fixed_length=fixed)
        pool = given.answers(tiny_policy(), PROMPTS[:3], "test-pool", 30)
        assert any(len(one.tokens) == 12 for group in pool for one in group)
        record, best = measure_best_of_n(given, tiny_policy(), scorer, (30,), 30)[30]
        for group, one, no_eos in zip(pool, best, record["no_eos"], strict=True):  # type: ignore[arg-type]
            allowed = [a for a in group if fixed or a.tokens[-1] == EOS]
            top = max(love_the_long([()] * len(allowed), [a.tokens for a in allowed]))
            assert love_the_long([()], [one.tokens]) == [top]
            assert no_eos == 0


def test_a_second_opinion_is_recorded_beside_the_metric_and_changes_nothing():
    plain = measure_policy(bench(samples=3), tiny_policy(seed=5), None)[0]
    asked = bench(samples=3, check=lambda answers: [2.0 * g for g in grade(answers)])
    record = measure_policy(asked, tiny_policy(seed=5), None)[0]
    check = record.pop("check")
    assert record == plain
    assert check == pytest.approx([2 * value for value in plain["metric"]])  # type: ignore[union-attr]
    measured = measure_best_of_n(asked, tiny_policy(), CallableLabeller(label), (2,), 6)[2][0]
    assert measured["check"] == pytest.approx([2 * v for v in measured["metric"]])  # type: ignore[union-attr]
