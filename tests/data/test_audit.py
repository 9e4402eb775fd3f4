from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allroads.data.audit import Audit, SourceCount, audit_of
from allroads.data.rows import Dropped
from allroads.types import Demonstration, Pair, Split

EOS = 0


def pair(name: str, chosen: tuple[int, ...], rejected: tuple[int, ...], *prompt: int) -> Pair:
    return Pair(prompt_id=name, prompt=prompt or (9,), chosen=chosen, rejected=rejected)


def audit(
    demonstrations: tuple[Demonstration, ...] = (),
    sources: tuple[SourceCount, ...] = (),
    repeated_prompts: int = 0,
    **pairs: list[Pair],
) -> Audit:
    splits: tuple[Split, ...] = ("train", "selection", "grader", "test")
    return audit_of(
        pairs={split: pairs.get(split, []) for split in splits},
        demonstrations=demonstrations,
        sources=sources,
        max_length=16,
        over_long="drop",
        eos_id=EOS,
        repeated_prompts=repeated_prompts,
    )


def test_duplicates_and_contradictions_are_counted_within_a_prompt() -> None:
    a, b = (1, EOS), (2, EOS)
    found = audit(train=[
        pair("p", a, b),
        pair("p", a, b),  # repeats
        pair("p", a, b),  # repeats
        pair("p", b, a),  # contradicts
        pair("q", b, a, 8),  # another prompt
    ])  # fmt: skip
    assert (found.duplicate_prompts, found.duplicate_pairs, found.contradictions) == (3, 2, 1)
    assert any("1 pairs contradict" in line for line in found.warnings())


def test_leakage_is_computed_and_not_assumed() -> None:
    a, b, c = (1, EOS), (2, EOS), (3, EOS)
    clean = audit(train=[pair("p", a, b, 5)], test=[pair("q", a, c, 6)])
    assert (clean.leaked_prompts, clean.leaked_tokens, clean.leaked_completions) == (0, 0, 1)
    same_id = audit(train=[pair("p", a, b, 5)], test=[pair("p", a, b, 6)])
    assert (same_id.leaked_prompts, same_id.leaked_tokens, same_id.leaked_completions) == (1, 0, 2)
    same_tokens = audit(selection=[pair("p", a, b, 5)], grader=[pair("q", a, b, 5)])
    assert (same_tokens.leaked_prompts, same_tokens.leaked_tokens) == (0, 1)
    assert any("not held out" in line for line in same_tokens.warnings())
    demonstration = Demonstration(prompt_id="q", prompt=(6,), completion=c)
    shown = audit(demonstrations=(demonstration,), test=[pair("q", a, c, 6)])
    assert (shown.leaked_prompts, shown.leaked_tokens, shown.leaked_completions) == (1, 1, 1)


def test_test_prompts_that_go_on_from_a_training_prompt_are_counted() -> None:
    a, b = (1, EOS), (2, EOS)
    train = [pair("1", a, b, 5, 6), pair("2", a, b, 5, 6, 7, 7), pair("3", a, b, 9)]
    test = [
        pair("4", a, b, 5, 6, 7),  # continues prompt 1
        pair("5", a, b, 5, 6, 7, 7, 1),  # continues 1 and 2: counted once
        pair("6", a, b, 5),  # is the beginning of one, not a continuation
        pair("7", a, b, 5, 7, 6),
        pair("8", a, b, 9),  # the same: that is leakage, counted elsewhere
    ]
    assert audit(train=train, test=test).continued_prompts == 2


@given(
    train=st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=5), max_size=6),
    test=st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=5), min_size=1, max_size=6),
)
def test_continued_prompts_by_brute_force(train: list[list[int]], test: list[list[int]]) -> None:
    expected = sum(
        any(len(short) < len(long) and long[: len(short)] == short for short in train)
        for long in test
    )
    found = audit(
        train=[pair("t", (1, EOS), (2, EOS), *tokens) for tokens in train],
        test=[pair("s", (1, EOS), (2, EOS), *tokens) for tokens in test],
    )
    assert found.continued_prompts == expected


def test_length_bias_leaves_ties_out_and_warns_only_when_sure() -> None:
    long, short, other = (1, 1, EOS), (1, EOS), (2, EOS)
    biased = audit(
        train=[pair(str(i), long, short, i) for i in range(9)] + [pair("t", short, other)]
    )
    assert (biased.longer_chosen, biased.unequal_pairs) == (9, 9)
    assert any("longer answer is chosen in 100 %" in line for line in biased.warnings())
    terse = audit(train=[pair(str(i), short, long, i) for i in range(9)])
    assert any("longer answer is chosen in 0 %" in line for line in terse.warnings())
    even = audit(train=[pair("a", long, short), pair("b", short, long)])
    assert (even.longer_chosen, even.unequal_pairs) == (1, 2)
    assert not any("longer answer" in line for line in even.warnings())


def test_lengths_and_cut_completions() -> None:
    rows = [pair(str(i), (1,) * i + (EOS,), (1, 1 if i <= 4 else EOS)) for i in range(1, 11)]
    found = audit(train=rows)
    chosen = dict(found.lengths)["chosen"]
    # Chosen lengths 2..11: the middle is 6.5; 90 % of the way from the 1st to the 10th is 10.1.
    assert (chosen.median, chosen.p90, chosen.longest) == (6.5, pytest.approx(10.1), 11)
    assert found.cut_completions == 4
    assert any("20 % of the completions were cut" in line for line in found.warnings())


def test_too_long_rows_lead_to_a_sentence_with_what_to_do() -> None:
    source = SourceCount(
        source="d.jsonl", kind="pairs", read=100, used=61, left_out=0,
        reasons=(("too long", 38), ("not JSON", 1)),
        named=(Dropped("d.jsonl:1", "too long"), Dropped("d.jsonl:7", "not JSON")),
    )  # fmt: skip
    found = audit(sources=(source,), train=[pair("p", (1, EOS), (2, EOS))])
    warnings = found.warnings()
    assert "38 % of the pairs were dropped as too long: raise --max-length (now 16)" in warnings
    assert "1 of 100 rows of d.jsonl were dropped, first d.jsonl:7: not JSON" in warnings
    table = {row.what: row for row in found.rows()}
    assert table["pairs: dropped, too long"].count == 38
    assert table["pairs: dropped, too long"].of == 100
    assert table["pairs: dropped, not JSON"].note == "d.jsonl:7"


def test_repeated_prompts_and_small_splits_are_warned_about() -> None:
    found = audit(repeated_prompts=3, train=[pair("p", (1, EOS), (2, EOS))])
    assert any("3 rows repeat the prompt" in line for line in found.warnings())
    assert any("split test has only 0 prompts" in line for line in found.warnings())


def test_the_audit_survives_json() -> None:
    found = audit(train=[pair("p", (1, EOS), (2, EOS))])
    assert Audit.model_validate_json(found.model_dump_json()) == found
