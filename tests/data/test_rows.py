from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from allroads.data.rows import Loaded, load
from allroads.errors import ConfigError, DataError
from allroads.types import DemonstrationText, PairText, UnpairedText
from tests.data.synthetic import write_jsonl


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}
SYSTEM = {"role": "system", "content": "Be brief."}


def _load(tmp_path: Path, rows: list[Any], on_bad_row: Any = "drop") -> Loaded:
    return load(write_jsonl(tmp_path / "d.jsonl", rows), on_bad_row)


PAIRS = {
    "plain": (GOOD, "p", "a", "b"),
    "plain prompt, one message each": (
        {"prompt": "q", "chosen": [says("a")], "rejected": [says("b")]},
        (user("q"),), "a", "b",
    ),
    "messages": (
        {"prompt": [user("q")], "chosen": [says("a")], "rejected": [says("b")]},
        (user("q"),), "a", "b",
    ),
    "messages, then text": (
        {"prompt": [user("q")], "chosen": "a", "rejected": "b"}, (user("q"),), "a", "b",
    ),
    "whole conversations beside their messages": (
        {
            "prompt": [user("q")],
            "chosen": [user("q"), says("a")],
            "rejected": [user("q"), says("b")],
        },
        (user("q"),), "a", "b",
    ),
    "whole conversations beside the last question": (
        {
            "prompt": "q",
            "chosen": [SYSTEM, user("q "), says("a")],
            "rejected": [SYSTEM, user("q "), says("b")],
        },
        (SYSTEM, user("q ")), "a", "b",
    ),
    "implicit, messages": (
        {"chosen": [user("q"), says("a")], "rejected": [user("q"), says("b")]},
        (user("q"),), "a", "b",
    ),
    "implicit, dialogue": (
        {"chosen": "\n\nHuman: q\n\nAssistant: yes", "rejected": "\n\nHuman: q\n\nAssistant: you"},
        "\n\nHuman: q\n\nAssistant:", " yes", " you",
    ),
    "implicit, dialogue of two turns": (
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: yes",
            "rejected": "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: no",
        },
        "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant:", " yes", " no",
    ),
    # The answers begin alike ("I th"): the prompt still ends with the turn.
    "implicit, dialogue, answers begin alike": (
        {
            "chosen": "\n\nHuman: q\n\nAssistant: I think so",
            "rejected": "\n\nHuman: q\n\nAssistant: I thought",
        },
        "\n\nHuman: q\n\nAssistant:", " I think so", " I thought",
    ),
    "implicit, plain": (
        {"chosen": "Say it: there", "rejected": "Say it: then"}, "Say it:", " there", " then",
    ),
    "implicit, one text begins the other": (
        {"chosen": "Say it: the", "rejected": "Say it: then"}, "Say it:", " the", " then",
    ),
    "implicit, white space stays together": (
        {"chosen": "Say it\n\nall", "rejected": "Say it\n\none"}, "Say it", "\n\nall", "\n\none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_pairs_in_every_shape(tmp_path: Path, name: str) -> None:
    row, prompt, chosen, rejected = PAIRS[name]
    loaded = _load(tmp_path, [row])
    expected = PairText(prompt=prompt, chosen=chosen, rejected=rejected, where="d.jsonl:1")
    assert loaded.pairs == (expected,)
    assert (loaded.kind, loaded.read, loaded.dropped) == ("pairs", 1, ())


DEMONSTRATIONS = {
    "plain": ({"prompt": "p", "completion": "a"}, "p", "a"),
    "messages column": ({"messages": [SYSTEM, user("q"), says("a")]}, (SYSTEM, user("q")), "a"),
    "two columns of messages": (
        {"prompt": [user("q")], "completion": [says("a")]}, (user("q"),), "a",
    ),
    "prompt beside messages": (
        {"prompt": "q", "messages": [user("q"), says("a")]}, (user("q"),), "a",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(DEMONSTRATIONS))
def test_demonstrations_in_every_shape(tmp_path: Path, name: str) -> None:
    row, prompt, completion = DEMONSTRATIONS[name]
    loaded = _load(tmp_path, [row])
    assert loaded.kind == "demonstrations"
    assert loaded.demonstrations == (
        DemonstrationText(prompt=prompt, completion=completion, where="d.jsonl:1"),
    )


@pytest.mark.parametrize(("label", "good"), [(True, 1), (1, 1), (1.0, 1), (False, 0), (0, 0)])
def test_unpaired_labels(tmp_path: Path, label: Any, good: int) -> None:
    loaded = _load(tmp_path, [{"prompt": "p", "completion": "a", "label": label}])
    assert loaded.kind == "unpaired"
    assert loaded.unpaired == (
        UnpairedText(prompt="p", completion="a", label=bool(good), where="d.jsonl:1"),
    )


def test_csv_labels_are_words(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("prompt,completion,label\np,a,True\np,b,0\np,c,maybe\np,d,\n")
    loaded = load(str(tmp_path / "d.csv"))
    assert [row.label for row in loaded.unpaired] == [True, False]
    assert loaded.dropped == (
        ("d.csv:4", "label is not true, false, 0 or 1"),
        ("d.csv:5", "missing column 'label'"),
    )


def test_parquet_with_messages_and_further_columns(tmp_path: Path) -> None:
    row = {
        "prompt": "q", "prompt_id": "7", "messages": [user("q"), says("a")], "score": 0.5,
        "chosen": [user("q"), says("a")], "rejected": [user("q"), says("b")],
    }  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "d.parquet")
    loaded = load(str(tmp_path / "d.parquet"))
    assert [(p.prompt, p.chosen, p.rejected) for p in loaded.pairs] == [((user("q"),), "a", "b")]


IMPLICIT = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}
DEMONSTRATION = {"prompt": "p", "completion": "a"}
CONVERSATION = {"messages": [user("q"), says("a")]}
UNPAIRED = {"prompt": "p", "completion": "a", "label": True}
BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (GOOD, {"prompt": "p", "chosen": "a"}, "missing column 'rejected'"),
    (GOOD, {**GOOD, "chosen": None}, "missing column 'chosen'"),
    (GOOD, {"chosen": "a", "rejected": "b"}, "missing column 'prompt'"),
    (GOOD, {**GOOD, "prompt": " \n"}, "empty prompt"),
    (GOOD, {**GOOD, "prompt": []}, "empty prompt"),
    (GOOD, {**GOOD, "prompt": [user(" ")]}, "empty prompt"),
    (GOOD, {**GOOD, "chosen": "\t"}, "empty completion in 'chosen'"),
    (GOOD, {**GOOD, "rejected": ""}, "empty completion in 'rejected'"),
    (GOOD, {**GOOD, "rejected": []}, "empty completion in 'rejected'"),
    (GOOD, {**GOOD, "rejected": "a"}, "chosen equals rejected"),
    (GOOD, {**GOOD, "chosen": 3}, "wrong type in 'chosen', expected text or a list of messages"),
    (GOOD, {**GOOD, "chosen": ["a"]}, "wrong type in 'chosen', expected messages"),
    (GOOD, {**GOOD, "chosen": [{"from": "gpt", "value": "a"}]},
     "a message in 'chosen' lacks a text role or content"),
    (GOOD, {**GOOD, "chosen": "\ud800"}, "'chosen' is not valid Unicode"),
    (GOOD, {**GOOD, "chosen": [user("other"), says("a")]}, "'chosen' does not continue the prompt"),
    (GOOD, {**GOOD, "prompt": [user("q")], "chosen": [user("other"), says("a")]},
     "'chosen' does not continue the prompt"),
    (GOOD, {**GOOD, "chosen": [user("a")]},
     "the completion in 'chosen' is not one assistant message"),
    (GOOD, {**GOOD, "chosen": [SYSTEM, user("p"), says("a")], "rejected": [user("p"), says("b")]},
     "chosen and rejected have different prompts"),
    (GOOD, {**GOOD, "prompt": [user("q"), says("hm")]},
     "the prompt ends with the assistant's turn"),
    (IMPLICIT, {"chosen": "one two", "rejected": "three"},
     "no shared prompt at the beginning of chosen and rejected"),
    (IMPLICIT, {"chosen": "yes", "rejected": "you"},
     "no shared prompt at the beginning of chosen and rejected"),
    (IMPLICIT, {"chosen": " a", "rejected": " b"},
     "no shared prompt at the beginning of chosen and rejected"),
    (IMPLICIT, {"chosen": "same", "rejected": "same"}, "chosen equals rejected"),
    (IMPLICIT, {**IMPLICIT, "chosen": "\n\nHuman: q\n\nAssistant:"},
     "empty completion in 'chosen'"),
    (IMPLICIT, {"chosen": [user("q"), says("a")], "rejected": "b"},
     "one of chosen, rejected is text, the other messages"),
    (IMPLICIT, {"chosen": [user("x"), says("a")], "rejected": [user("y"), says("b")]},
     "no shared prompt at the beginning of chosen and rejected"),
    (IMPLICIT, {"chosen": [user("q"), says("a"), user("r"), says("c")],
                "rejected": [user("q"), says("b")]},
     "the completion in 'chosen' is not one assistant message"),
    (DEMONSTRATION, {"prompt": "p", "completion": " "}, "empty completion in 'completion'"),
    (CONVERSATION, {"messages": [user("q")]},
     "the completion in 'messages' is not one assistant message"),
    (CONVERSATION, {"messages": [says("a")]}, "empty prompt"),
    (CONVERSATION, {"messages": []}, "empty completion in 'messages'"),
    (CONVERSATION, {"messages": "q"}, "'messages' is text, expected a list of messages"),
    (UNPAIRED, {**UNPAIRED, "label": 2}, "label is not true, false, 0 or 1"),
    (UNPAIRED, {**UNPAIRED, "label": [1]}, "label is not true, false, 0 or 1"),
    (UNPAIRED, {"prompt": "p", "completion": "a"}, "missing column 'label'"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "reason"), BAD)
def test_every_bad_row_has_its_place_and_reason(
    tmp_path: Path, good: dict[str, Any], bad: dict[str, Any], reason: str
) -> None:
    loaded = _load(tmp_path, [good, bad, good])
    assert loaded.dropped == (("d.jsonl:2", reason),)
    assert (loaded.usable, loaded.read, loaded.reasons) == (2, 3, {reason: 1})
    with pytest.raises(DataError) as caught:
        _load(tmp_path, [good, bad, good], "raise")
    assert f"d.jsonl:2: {reason}" in str(caught.value)


def test_raise_names_a_line_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": \n')
    with pytest.raises(DataError, match=r"d\.jsonl:1: not JSON \(.*column.*on-bad-row drop"):
        load(str(tmp_path / "d.jsonl"), "raise")


def test_a_file_without_one_usable_row_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    rows = [{**GOOD, "chosen": ""}, {**GOOD, "chosen": ""}, {**GOOD, "prompt": ""}]
    with pytest.raises(DataError) as caught:
        _load(tmp_path, rows)
    message = str(caught.value)
    assert "none of its 3 rows can be used" in message
    assert "2 x empty completion in 'chosen' (first: d.jsonl:1)" in message
    assert "1 x empty prompt (first: d.jsonl:3)" in message


def test_a_file_of_bad_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{\n  "prompt": 1\n}\n')
    with pytest.raises(DataError, match=r"none of its 3 rows.*3 x not JSON"):
        load(str(tmp_path / "d.jsonl"))


def test_unknown_columns_are_refused_with_those_found_and_those_accepted(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _load(tmp_path, [{"instruction": "a", "output": "b"}])
    for word in ("instruction, output", "prompt, chosen, rejected", "messages", "label"):
        assert word in str(caught.value)


def test_an_unknown_policy_for_bad_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="on_bad_row"):
        _load(tmp_path, [GOOD], "ignore")


_texts = st.one_of(st.none(), st.integers(), st.text(max_size=4), st.sampled_from(["p a", "p b"]))
_messages = st.lists(
    st.sampled_from([user("q"), says("a"), says("b"), {"role": "user"}]), max_size=3
)
_rows = st.fixed_dictionaries(
    {}, optional={name: st.one_of(_texts, _messages) for name in ("prompt", "chosen", "rejected")}
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.one_of(_rows, st.just(GOOD), st.lists(st.integers())), max_size=8))
def test_no_row_is_lost(rows: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        loaded = _load(Path(folder), [GOOD, *rows])
    assert loaded.usable + len(loaded.dropped) == loaded.read == len(rows) + 1
    places = [text.where for text in loaded.pairs] + [row.where for row in loaded.dropped]
    assert sorted(places) == sorted(f"d.jsonl:{n}" for n in range(1, len(rows) + 2))
    assert sum(loaded.reasons.values()) == len(loaded.dropped)


@settings(max_examples=60, deadline=None)
@given(
    prompt=st.text("ab \n", max_size=8),
    chosen=st.text("ab \n", max_size=6),
    rejected=st.text("ab \n", max_size=6),
)
def test_cutting_the_shared_beginning_loses_no_character(
    prompt: str, chosen: str, rejected: str
) -> None:
    rows = [
        {"chosen": "x y z", "rejected": "x y w"},
        {"chosen": prompt + chosen, "rejected": prompt + rejected},
    ]
    with tempfile.TemporaryDirectory() as folder:
        loaded = _load(Path(folder), rows)
    for pair in loaded.pairs[1:]:
        assert isinstance(pair.prompt, str)
        assert pair.prompt + pair.chosen == prompt + chosen
        assert pair.prompt + pair.rejected == prompt + rejected
