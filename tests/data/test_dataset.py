from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allroads.data.dataset import IDENTICAL, Dataset, build
from allroads.data.split import SPLITS, SplitFractions, prompt_id_of, split_of
from allroads.data.tokenise import Tokeniser
from allroads.errors import ConfigError, DataError
from tests.data.synthetic import byte_tokenizer, chatml, write_jsonl

TOKENIZER = byte_tokenizer(opening="<s>")
ROWS = [
    {"prompt": f"question {i // 2}", "chosen": f" yes {i}", "rejected": " no"} for i in range(60)
]


def make(tmp_path: Path, rows: Any = ROWS, **options: Any) -> Dataset:
    length = {"max_length": options.pop("max_length", 64)}
    if "over_long" in options:
        length["over_long"] = options.pop("over_long")
    tokeniser = Tokeniser(options.pop("tokenizer", TOKENIZER), **length)
    shown = options.pop("demonstrations", None)
    source = None if shown is None else write_jsonl(tmp_path / "demos.jsonl", shown)
    return build(write_jsonl(tmp_path / "d.jsonl", rows), source, tokeniser, **options)


def test_pairs_are_tokens_in_file_order_and_split_by_prompt(tmp_path: Path) -> None:
    dataset = make(tmp_path, seed=3)
    tokeniser = Tokeniser(TOKENIZER, max_length=64)
    for split in SPLITS:
        rows = [
            r for r in ROWS if split_of(prompt_id_of(r["prompt"]), 3, SplitFractions()) == split
        ]
        assert [pair.chosen for pair in dataset.pairs[split]] == [
            tokeniser.completion(row["prompt"], row["chosen"]) for row in rows
        ]
        names = [prompt.prompt_id for prompt in dataset.prompts[split]]
        assert names == list(dict.fromkeys(prompt_id_of(row["prompt"]) for row in rows))
        assert {p.tokens for p in dataset.prompts[split]} == {
            p.prompt for p in dataset.pairs[split]
        }
    assert sum(len(pairs) for pairs in dataset.pairs.values()) == 60
    assert dataset.audit.duplicate_prompts == 30
    assert (dataset.audit.leaked_prompts, dataset.audit.leaked_tokens) == (0, 0)


def test_turns_of_one_conversation_share_a_split_and_a_cluster(tmp_path: Path) -> None:
    rows = []
    for i in range(40):
        asked = {"role": "user", "content": f"question {i}"}
        turns = [asked, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "why"}]
        for prompt in ([asked], turns):
            answers = [[{"role": "assistant", "content": said}] for said in ("so", "no")]
            rows.append({"prompt": prompt, "chosen": answers[0], "rejected": answers[1]})
    tokenizer = chatml()
    dataset = make(tmp_path, rows, tokenizer=tokenizer, max_length=512)
    where: dict[str, set[str]] = {}
    for split in SPLITS:
        for row in (*dataset.pairs[split], *dataset.prompts[split]):
            where.setdefault(row.cluster, set()).add(split)
    assert len(where) == 40
    assert all(len(splits) == 1 for splits in where.values())
    assert len({p.prompt_id for s in SPLITS for p in dataset.prompts[s]}) == 80
    assert Dataset.from_json(dataset.to_json()) == dataset


def test_more_rows_move_no_prompt_to_another_split(tmp_path: Path) -> None:
    few, many = make(tmp_path, ROWS[:30]), make(tmp_path, ROWS)
    for split in SPLITS:
        assert set(few.prompts[split]) <= set(many.prompts[split])


def test_long_rows_are_dropped_counted_and_named(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "p", "chosen": "x" * 100, "rejected": "y"}]
    audit = make(tmp_path, rows, on_bad_row="raise").audit
    assert audit.sources[0].reasons == (("too long", 1),)
    assert audit.sources[0].named == (("d.jsonl:61", "too long"),)
    assert (audit.sources[0].read, audit.sources[0].used) == (61, 60)


def test_long_rows_can_stop_the_run(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "p", "chosen": "x" * 100, "rejected": "y"}]
    with pytest.raises(DataError, match=r"d\.jsonl:61: too long \(2 \+ 101 tokens.*--max-length"):
        make(tmp_path, rows, over_long="raise")


def test_pairs_made_identical_by_truncation_are_dropped(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "p", "chosen": "x" * 99 + "1", "rejected": "x" * 99 + "2"}]
    dataset = make(tmp_path, rows, over_long="truncate")
    assert dict(dataset.audit.sources[0].reasons) == {IDENTICAL: 1}
    every = [pair for pairs in dataset.pairs.values() for pair in pairs]
    assert len(every) == 60
    assert all(pair.chosen != pair.rejected for pair in every)


def test_bad_rows_of_the_tokenizer_follow_the_same_rule(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "p", "chosen": "a</s>b", "rejected": "c"}]
    assert make(tmp_path, rows).audit.sources[0].dropped == 1
    with pytest.raises(DataError, match=r"d\.jsonl:61: end-of-sequence token inside"):
        make(tmp_path, rows, on_bad_row="raise")


def test_nothing_left_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of its 60 rows.*60 x too long.*--max-length"):
        make(tmp_path, max_length=8)


def test_demonstrations_are_trained_on_only_for_training_prompts(tmp_path: Path) -> None:
    shown = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in ROWS]
    dataset = make(tmp_path, demonstrations=shown)
    train = {prompt.prompt_id for prompt in dataset.prompts["train"]}
    assert {row.prompt_id for row in dataset.demonstrations} == train
    assert len(dataset.demonstrations) == len(dataset.pairs["train"])
    held_out = dataset.audit.sources[1]
    assert held_out.kind == "demonstrations"
    assert held_out.used + held_out.dropped == held_out.read == 60
    assert {reason for reason, _ in held_out.reasons} <= {
        f"held out: its prompt is in {split}" for split in SPLITS[1:]
    }
    assert dataset.audit.leaked_completions == len(
        {c for p in dataset.pairs["test"] for c in (p.chosen, p.rejected)}
        & {c for p in dataset.pairs["train"] for c in (p.chosen, p.rejected)}
    )


def test_a_file_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds demonstrations, expected pairs"):
        make(tmp_path, [{"prompt": "p", "completion": "a"}])
    with pytest.raises(DataError, match="holds pairs, expected demonstrations"):
        make(tmp_path, demonstrations=ROWS)


def test_a_subset_is_seeded_nested_counted_and_in_file_order(tmp_path: Path) -> None:
    def chosen(dataset: Dataset) -> set[tuple[int, ...]]:
        return {pair.chosen for pairs in dataset.pairs.values() for pair in pairs}

    small, large = make(tmp_path, max_pairs=10), make(tmp_path, max_pairs=25)
    assert (len(chosen(small)), len(chosen(large))) == (10, 25)
    assert chosen(small) < chosen(large)
    assert chosen(make(tmp_path, max_pairs=10, seed=1)) != chosen(small)
    assert (small.audit.sources[0].used, small.audit.sources[0].left_out) == (10, 50)
    everything = make(tmp_path)
    for split in SPLITS:
        kept = [p for p in everything.pairs[split] if p.chosen in chosen(large)]
        assert kept == list(large.pairs[split])
    assert make(tmp_path, max_pairs=1_000) == everything
    with pytest.raises(ConfigError, match="max_pairs"):
        make(tmp_path, max_pairs=0)


def test_the_note_on_templates_is_there_only_for_conversations(tmp_path: Path) -> None:
    talk = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]
    assert make(tmp_path).audit.notes == ()
    assert "no chat template" in make(tmp_path, talk).audit.notes[0]
    assert (
        "follow the tokenizer's chat"
        in make(tmp_path, talk, tokenizer=chatml(), max_length=256).audit.notes[0]
    )


def test_answers_that_repeat_the_prompt_are_counted_not_guessed(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "chosen": "question 0 yes", "rejected": "question 0 no"}, *ROWS]
    assert make(tmp_path, rows).audit.repeated_prompts == 1


def test_the_fingerprint_names_content_only(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    bad = [*ROWS, {"prompt": "", "chosen": "a", "rejected": "b"}]
    assert make(tmp_path / "elsewhere", bad).fingerprint() == dataset.fingerprint()
    assert make(tmp_path, ROWS[:-1]).fingerprint() != dataset.fingerprint()
    assert make(tmp_path, seed=1).fingerprint() != dataset.fingerprint()
    assert str(tmp_path) not in dataset.to_json()


def test_other_json_is_refused(tmp_path: Path) -> None:
    content = json.loads(make(tmp_path).to_json())
    for text in ("", "[]", "{}", json.dumps({**content, "format": 1}), '{"format": 2}'):
        with pytest.raises(DataError, match="not a dataset"):
            Dataset.from_json(text)


_word = st.sampled_from(["a", "b", "a b", "é", "long " * 8, "</s>", ""])
_row = st.fixed_dictionaries({"prompt": _word, "chosen": _word, "rejected": _word})


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(_row, max_size=8),
    over_long=st.sampled_from(["drop", "truncate"]),
    max_pairs=st.none() | st.integers(1, 6),
)
def test_round_trip_and_every_row_accounted_for(
    rows: list[dict[str, str]], over_long: str, max_pairs: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = make(
            Path(folder), [ROWS[0], *rows], max_length=32, over_long=over_long, max_pairs=max_pairs
        )
    again = Dataset.from_json(data.to_json())
    assert again == data
    assert again.to_json() == data.to_json()
    assert again.fingerprint() == data.fingerprint()
    count = data.audit.sources[0]
    assert count.used == sum(len(pairs) for pairs in data.pairs.values())
    assert count.used + count.dropped + count.left_out == count.read == len(rows) + 1
    assert data.audit.leaked_prompts == 0
    for pair in (pair for pairs in data.pairs.values() for pair in pairs):
        assert max(len(pair.chosen), len(pair.rejected)) + len(pair.prompt) <= 32
