from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allroads.data.files import RowError
from allroads.data.tokenise import TOO_LONG, Tokeniser, load_tokeniser
from allroads.errors import ConfigError, ModelError
from tests.data.synthetic import HAS_SHARED, LLAMA2, SHARED, WHY_SKIPPED, byte_tokenizer, chatml

PLAIN = byte_tokenizer()
LLAMA = byte_tokenizer(opening="<s>")
MERGED = byte_tokenizer(merges=[("a", "b"), ("Ċ", "Ċ")])
CHATML = chatml()
QUESTION = ({"role": "user", "content": "Why?"},)


def spell(tokenizer: Any, tokens: tuple[int, ...]) -> str:
    """Every token in full, special ones included."""
    return tokenizer.decode(list(tokens), skip_special_tokens=False)


def ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_completion_is_the_rest_of_the_whole_and_one_end() -> None:
    tokeniser = Tokeniser(PLAIN, max_length=64)
    assert tokeniser.prompt("to be") == ids(PLAIN, "to be")
    assert tokeniser.completion("to be", " or") == (*ids(PLAIN, " or"), PLAIN.eos_token_id)
    assert tokeniser.eos_id == PLAIN.eos_token_id


def test_bos_is_what_the_tokenizer_itself_puts_in_front_and_only_once() -> None:
    with_bos, without = Tokeniser(LLAMA, max_length=64), Tokeniser(PLAIN, max_length=64)
    assert spell(LLAMA, with_bos.prompt("hi")) == "<s>hi"
    assert spell(LLAMA, with_bos.prompt("<s>hi")) == "<s>hi"
    assert spell(LLAMA, with_bos.completion("hi", " you")) == " you</s>"
    assert spell(PLAIN, without.prompt("hi")) == "hi"


def test_an_end_that_the_tokenizer_adds_does_not_close_the_prompt() -> None:
    tokenizer = byte_tokenizer(opening="<s>", closing="</s>")
    tokeniser = Tokeniser(tokenizer, max_length=64)
    assert spell(tokenizer, tokeniser.prompt("hi")) == "<s>hi"
    assert spell(tokenizer, tokeniser.completion("hi", " you")) == " you</s>"


def test_a_bos_that_is_a_chat_marker_stays_out_of_plain_text() -> None:
    assert spell(CHATML, Tokeniser(CHATML, max_length=64).prompt("hi")) == "hi"


@pytest.mark.parametrize("ending", ["", "</s>", "</s></s>"])
def test_there_is_one_end_even_where_the_text_spells_it(ending: str) -> None:
    tokens = Tokeniser(PLAIN, max_length=64).completion("q", f" a{ending}")
    assert spell(PLAIN, tokens) == " a</s>"


@pytest.mark.parametrize(("text", "reason"), [(" a</s>b", "end-of-sequence"), ("</s>", "empty")])
def test_an_end_inside_or_alone_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        Tokeniser(PLAIN, max_length=64).completion("q", text)


def test_the_end_is_there_when_pad_equals_eos() -> None:
    tokenizer = byte_tokenizer(pad_token="</s>")
    tokeniser = Tokeniser(tokenizer, max_length=64)
    assert tokeniser.pad_id == tokeniser.eos_id
    assert spell(tokenizer, tokeniser.completion("q", " a")) == " a</s>"
    assert Tokeniser(PLAIN, max_length=64).pad_id == PLAIN.eos_token_id  # it has no pad at all


def test_a_merge_across_the_boundary_leaves_the_prompt_alone() -> None:
    # Together "xa" + "by" is x|ab|y, and a policy is sampled from x|a: the completion is b|y.
    tokeniser = Tokeniser(MERGED, max_length=64)
    assert len(ids(MERGED, "xaby")) == 3
    assert tokeniser.prompt("xa") == (*ids(MERGED, "x"), *ids(MERGED, "a"))
    by = (*ids(MERGED, "b"), *ids(MERGED, "y"))
    assert tokeniser.completion("xa", "by") == (*by, tokeniser.eos_id)
    # Two newlines merge as well, also with the first neutral character.
    newline = ids(MERGED, "\n")
    assert tokeniser.completion("x\n", "\ny") == (*newline, *ids(MERGED, "y"), tokeniser.eos_id)


def test_a_continuation_is_not_a_text_of_its_own_even_across_a_merge() -> None:
    tokenizer = byte_tokenizer(merges=[("a", "b")], prepend="_")
    tokeniser = Tokeniser(tokenizer, max_length=64)
    assert spell(tokenizer, tokeniser.prompt("xa")) == "_xa"
    assert spell(tokenizer, tokeniser.completion("xa", "cy")) == "cy</s>"
    assert spell(tokenizer, tokeniser.completion("xa", "by")) == "by</s>"


def test_a_continuation_gets_no_space_that_only_a_text_of_its_own_has() -> None:
    if not HAS_SHARED:
        pytest.skip(WHY_SKIPPED)
    # This tokenizer writes "▁" in front of every text that it is given.
    tokeniser = load_tokeniser(SHARED / "models/stories260k", max_length=64)
    text = "Once upon a ti"
    for rest in ("me there was", " bit", "\nx"):
        tokens = tokeniser.prompt(text) + tokeniser.completion(text, rest)
        assert tokeniser.decode(tokens) == text + rest


def test_a_template_writes_the_default_system_prompt_once_and_one_end() -> None:
    tokeniser = Tokeniser(CHATML, max_length=256)
    prompt, completion = tokeniser.prompt(QUESTION), tokeniser.completion(QUESTION, "So.")
    assert spell(CHATML, prompt) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert spell(CHATML, completion) == "So.<|im_end|>"
    assert tokeniser.eos_id == completion[-1]
    assert completion.count(tokeniser.eos_id) == 1


def test_a_template_with_its_own_bos_and_spaces() -> None:
    tokenizer = byte_tokenizer(opening="<s>", template=LLAMA2)
    tokeniser = Tokeniser(tokenizer, max_length=64)
    assert spell(tokenizer, tokeniser.prompt(QUESTION)) == "<s>[INST] Why? [/INST]"
    assert spell(tokenizer, tokeniser.completion(QUESTION, "So.")) == " So. </s>"
    with pytest.raises(RowError, match=r"refuses the messages .*no system turns"):
        tokeniser.prompt(({"role": "system", "content": "x"}, *QUESTION))


def test_the_end_is_the_one_of_the_turn_unless_asked_otherwise() -> None:
    # Like a base model that ships a chat template: its own eos ends documents, not turns.
    tokenizer = chatml(eos_token="<|endoftext|>")
    turn, text = (
        Tokeniser(tokenizer, max_length=99),
        Tokeniser(tokenizer, max_length=99, end="text"),
    )
    assert spell(tokenizer, turn.completion(QUESTION, "So.")) == "So.<|im_end|>"
    assert spell(tokenizer, (turn.eos_id,)) == "<|im_end|>"
    assert "end with <|im_end|>" in turn.note
    assert spell(tokenizer, (text.eos_id,)) == "<|endoftext|>"
    assert spell(tokenizer, text.completion("q", " a")) == " a<|endoftext|>"


def test_without_a_template_a_conversation_is_a_plain_dialogue() -> None:
    tokeniser = Tokeniser(LLAMA, max_length=99)
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        *QUESTION,
    )
    assert spell(LLAMA, tokeniser.prompt(messages)) == (
        "<s>Be brief.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"
    )
    assert spell(LLAMA, tokeniser.completion(messages, "So.")) == " So.</s>"
    assert "no chat template" in tokeniser.note


@pytest.mark.parametrize("over_long", ["drop", "raise"])
def test_the_limit_holds_prompt_completion_and_end(over_long: Any) -> None:
    tokeniser = Tokeniser(LLAMA, max_length=8, over_long=over_long)
    assert len(tokeniser.prompt("abc")) + len(tokeniser.completion("abc", "def")) == 8
    with pytest.raises(RowError) as caught:
        tokeniser.completion("abc", "defg")
    assert caught.value.bad.reason == TOO_LONG
    assert caught.value.bad.detail == "4 + 5 tokens, max_length 8"
    with pytest.raises(RowError, match=TOO_LONG):
        tokeniser.prompt("abcdefg")


def test_a_cut_completion_has_no_end() -> None:
    tokeniser = Tokeniser(LLAMA, max_length=8, over_long="truncate")
    assert spell(LLAMA, tokeniser.completion("abc", "defg")) == "defg"
    assert spell(LLAMA, tokeniser.completion("abc", "defghi")) == "defg"
    assert spell(LLAMA, tokeniser.completion("abc", "def")) == "def</s>"


def test_a_cut_prompt_keeps_bos_and_its_end_and_begins_behind_a_newline() -> None:
    tokeniser = Tokeniser(LLAMA, max_length=24, over_long="truncate", max_prompt=11)
    # Ten bytes may stay. The newline lies in their first half: cut behind it.
    assert spell(LLAMA, tokeniser.prompt("one two\nthree four")) == "<s>three four"
    assert spell(LLAMA, tokeniser.prompt("0123456\n890\n23456")) == "<s>890\n23456"
    # Only a newline near the end: keep as much as fits.
    assert spell(LLAMA, tokeniser.prompt("0123456789012\n45")) == "<s>6789012\n45"
    assert spell(LLAMA, tokeniser.prompt("0123456789")) == "<s>0123456789"


def test_a_cut_prompt_begins_with_a_whole_character() -> None:
    # Six bytes may stay, and "é" is two: in the first text the cut would fall inside one.
    tokeniser = Tokeniser(PLAIN, max_length=12, over_long="truncate", max_prompt=6)
    assert tokeniser.decode(tokeniser.prompt("0é1é23")) == "1é23"
    assert tokeniser.decode(tokeniser.prompt("01é1é2")) == "é1é2"


def test_a_cut_template_prompt_keeps_no_stray_bos() -> None:
    tokeniser = Tokeniser(CHATML, max_length=24, over_long="truncate")
    prompt = tokeniser.prompt(QUESTION)
    assert len(prompt) <= 12
    assert spell(CHATML, prompt).count("<|im_start|>") == 1
    assert spell(CHATML, prompt).endswith("<|im_start|>assistant\n")


_text = st.text("ab \n.é", min_size=1, max_size=12).filter(lambda text: bool(text.strip()))


@settings(max_examples=80, deadline=None)
@given(prompt=_text, chosen=_text, rejected=_text, which=st.integers(0, 2))
def test_chosen_and_rejected_continue_the_same_prompt_tokens(
    prompt: str, chosen: str, rejected: str, which: int
) -> None:
    tokenizer = (PLAIN, LLAMA, MERGED)[which]
    tokeniser = Tokeniser(tokenizer, max_length=99)
    alone = tuple(tokenizer(prompt)["input_ids"])
    assert tokeniser.prompt(prompt) == alone
    for answer in (chosen, rejected):
        completion = tokeniser.completion(prompt, answer)
        assert completion[-1] == tokeniser.eos_id
        assert tokeniser.decode(alone + completion) == prompt + answer


@settings(max_examples=80, deadline=None)
@given(prompt=st.text("ab \né", min_size=1, max_size=30), answer=_text, limit=st.integers(4, 20))
def test_truncation_always_fits_and_keeps_the_ends_that_count(
    prompt: str, answer: str, limit: int
) -> None:
    tokeniser = Tokeniser(LLAMA, max_length=limit, over_long="truncate")
    tokens, completion = tokeniser.prompt(prompt), tokeniser.completion(prompt, answer)
    assert 2 <= len(tokens) <= tokeniser.max_prompt
    assert len(tokens) + len(completion) <= limit
    assert tokens[0] == LLAMA.bos_token_id
    assert ids(LLAMA, prompt)[1 - len(tokens) :] == tokens[1:]
    whole = (*ids(LLAMA, answer), tokeniser.eos_id)
    assert completion == whole[: len(completion)]


def test_settings_and_tokenizers_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_length"):
        Tokeniser(PLAIN, max_length=3)
    with pytest.raises(ConfigError, match="over_long"):
        Tokeniser(PLAIN, max_length=9, over_long="keep")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_prompt"):
        Tokeniser(PLAIN, max_length=9, max_prompt=9)
    endless = byte_tokenizer()
    endless.eos_token = None
    with pytest.raises(ModelError, match="eos_token"):
        Tokeniser(endless, max_length=9)
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        load_tokeniser(tmp_path, max_length=9)


def test_a_saved_tokenizer_is_loaded_with_its_template(tmp_path: Path) -> None:
    CHATML.save_pretrained(tmp_path)
    tokeniser = load_tokeniser(tmp_path, max_length=99)
    assert tokeniser.has_template
    assert tokeniser.completion(QUESTION, "So.") == Tokeniser(CHATML, max_length=99).completion(
        QUESTION, "So."
    )


def test_the_data_room_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, allroads.data; "
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
