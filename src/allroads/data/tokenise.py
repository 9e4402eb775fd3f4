"""Texts to tokens: the only place that knows templates, cuts, and where texts begin and end.

Decided here
  1. The prompt is encoded alone, exactly as it will be when a policy is sampled. So chosen and
     rejected share every prompt token. A completion is its continuation: what follows the
     prompt's tokens in the encoding of prompt + completion. Where a merge runs across the
     boundary, so that the prompt's tokens are no prefix of the whole, the prompt wins, and the
     completion is encoded behind a neutral character: no tokenizer then adds a space in front.
  2. What stands in front of a text (BOS) is what `tokenizer(text, add_special_tokens=True)` puts
     there, nothing else, and only once. Behind a chat template nothing is added: it writes its own.
  3. A completion ends with exactly one end id. With a chat template that is the special token that
     closes the assistant's turn, else the tokenizer's EOS (`end="text"` asks for EOS in any case).
     A completion with that token in its middle is refused: sampling would have stopped there.
  4. Too long means prompt + completion > max_length. `truncate` cuts a prompt over `max_prompt`
     tokens on the left, after a newline if one lies in the first half of what may stay; and a
     completion on the right, which then has no end id.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from allroads.data.files import RowError
from allroads.errors import ConfigError, ModelError
from allroads.types import Message, PromptText, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OverLong = Literal["drop", "truncate", "raise"]
TOO_LONG = "too long"
"""The reason of a row that does not fit `max_length`."""
_PROBE = "probe"
_NEUTRAL = ("\n", ":", "a", "1")
"""Characters to encode a completion behind, tried in turn: one of them merges with nothing."""


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def load_tokeniser(
    model_dir: str | Path,
    *,
    max_length: int,
    over_long: OverLong = "drop",
    max_prompt: int | None = None,
    end: Literal["turn", "text"] = "turn",
) -> Tokeniser:
    """The tokeniser of a Hugging Face model folder (or Hub model id). See `Tokeniser`."""
    from transformers import AutoTokenizer

    folder = Path(model_dir)
    # transformers makes up an empty tokenizer for a folder that has none.
    if folder.is_dir() and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{model_dir}: no tokenizer can be loaded; expected one of "
            f"{', '.join(_TOKENIZER_FILES)} beside the weights"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model_dir))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{model_dir}: no tokenizer can be loaded ({error}). Expected a Hugging Face model "
            "folder with tokenizer.json and tokenizer_config.json"
        ) from error
    return Tokeniser(
        tokenizer, max_length=max_length, over_long=over_long, max_prompt=max_prompt, end=end
    )


class Tokeniser:
    """Texts to tokens and back, by one rule for all roads.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        max_length: most tokens of prompt and completion together, end id included.
        over_long: "drop" and "raise" refuse a longer row with a `RowError` (the caller drops and
            counts it, or stops); "truncate" cuts it.
        max_prompt: most tokens of a prompt under "truncate"; half of max_length when None. It
            depends on nothing but the prompt, so all rows of a prompt and all roads see the same.
            At least 2: BOS and one token.
        end: "turn" ends completions as the chat template does, if there is one; "text" with EOS.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        over_long: OverLong = "drop",
        max_prompt: int | None = None,
        end: Literal["turn", "text"] = "turn",
    ) -> None:
        """Check the settings; they are described at the class."""
        if max_length < 4:
            raise ConfigError(f"max_length must be at least 4 tokens, got {max_length}")
        if over_long not in get_args(OverLong):
            raise ConfigError(f"over_long must be drop, truncate or raise, got {over_long!r}")
        self.max_length = max_length
        self.over_long: OverLong = over_long
        self.max_prompt = max_length // 2 if max_prompt is None else max_prompt
        if not 2 <= self.max_prompt < max_length:
            raise ConfigError(
                f"max_prompt must lie between 2 and max_length - 1 = {max_length - 1}, "
                f"got {self.max_prompt}"
            )
        if not tokenizer.is_fast:
            raise ModelError(f"expected a fast tokenizer, found {type(tokenizer).__name__}")
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no eos_token: set one in tokenizer_config.json")
        self._tokenizer = tokenizer
        self._ids = functools.lru_cache(maxsize=8)(self._encode)
        self._opening = self._find_opening()
        turn_end = self._find_turn_end() if self.has_template else None
        self.eos_id: int = _as_id(tokenizer.eos_token_id)
        if end == "turn" and turn_end is not None:
            self.eos_id = turn_end
        pad = tokenizer.pad_token_id
        self.pad_id: int = self.eos_id if pad is None else _as_id(pad)
        """May equal `eos_id`: lengths tell what is padding, ids never do."""

    @property
    def has_template(self) -> bool:
        """Whether conversations are written by the tokenizer's own chat template."""
        return bool(self._tokenizer.chat_template)

    @property
    def note(self) -> str:
        """One sentence on how conversations are written and completions end, for the audit."""
        end = self._tokenizer.convert_ids_to_tokens(self.eos_id)
        if self.has_template:
            return f"conversations follow the tokenizer's chat template; completions end with {end}"
        return (
            "the tokenizer has no chat template: conversations are written as "
            f"'\\n\\nHuman: ...\\n\\nAssistant: ...'; completions end with {end}"
        )

    def prompt(self, prompt: PromptText) -> Tokens:
        """The tokens of a prompt, as a policy is sampled from them.

        Raises:
            RowError: It leaves no room for a completion and `over_long` is not "truncate", or the
                chat template refuses the messages.
        """
        text = self._render(prompt)
        ids = self._prompt_ids(text)
        if self.over_long == "truncate":
            return ids if len(ids) <= self.max_prompt else self._cut_left(text, ids)
        if len(ids) >= self.max_length:
            raise RowError(TOO_LONG, f"{len(ids)} prompt tokens, max_length {self.max_length}")
        return ids

    def completion(self, prompt: PromptText, text: str) -> Tokens:
        """The tokens that follow `prompt(prompt)`, ended by one `eos_id` unless cut.

        Raises:
            RowError: Prompt and completion are too long together and `over_long` is not
                "truncate"; or the completion has no token, or an end id in its middle.
        """
        room = self.max_length - len(self.prompt(prompt))
        rendered = self._render(prompt)
        ids = self._ended(self._continuation(rendered, self._body(prompt, rendered, text)))
        if len(ids) <= room:
            return ids
        if self.over_long == "truncate":
            return ids[:room]
        found = f"{self.max_length - room} + {len(ids)} tokens, max_length {self.max_length}"
        raise RowError(TOO_LONG, found)

    def documents(self, texts: Sequence[str]) -> list[Tokens]:
        """Whole texts as in pretraining: behind BOS, if there is one, and before EOS."""
        bos = self._tokenizer.bos_token_id
        opening = () if bos is None else (_as_id(bos),)
        bodies = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [(*opening, *body, self.eos_id) for body in bodies]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text for human eyes, without special tokens."""
        backend: Any = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is not None:
            # Not the wrapper's own: it looks at the type of every token, which doubles the time.
            return backend.decode(list(tokens), skip_special_tokens=True)
        text = self._tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text if isinstance(text, str) else "".join(text)

    def _encode(self, text: str) -> Tokens:
        return tuple(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _find_opening(self) -> Tokens:
        """What the tokenizer puts in front of any text."""
        bare = self._encode(_PROBE)
        dressed = tuple(self._tokenizer(_PROBE, add_special_tokens=True)["input_ids"])
        for start in range(len(dressed) - len(bare) + 1):
            if dressed[start : start + len(bare)] == bare:
                return dressed[:start]
        return ()

    def _find_turn_end(self) -> int | None:
        """The special token with which the template closes an assistant's turn, if it does."""
        turns = [{"role": role, "content": _PROBE} for role in ("user", "assistant")]
        try:
            after = self._encode(self._template(turns, generate=False).rpartition(_PROBE)[2])
        except RowError:
            return None
        added = self._tokenizer.added_tokens_decoder
        return after[0] if after and after[0] in added and added[after[0]].special else None

    def _template(self, messages: Sequence[Message], *, generate: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            text: Any = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=generate
            )
        except TemplateError as error:
            raise RowError("the chat template refuses the messages", str(error)) from error
        return text

    def _render(self, prompt: PromptText) -> str:
        if isinstance(prompt, str):
            return prompt
        if self.has_template:
            return self._template(prompt, generate=True)
        return _plain_dialogue(prompt)

    def _body(self, prompt: PromptText, rendered: str, text: str) -> str:
        """The completion as it stands behind the rendered prompt, without its end token."""
        if isinstance(prompt, str):
            return text
        if not self.has_template:
            return text if text[:1].isspace() else f" {text}"
        whole = self._template((*prompt, {"role": "assistant", "content": text}), generate=False)
        if not whole.startswith(rendered):  # the template writes past turns differently
            return text
        end = str(self._tokenizer.convert_ids_to_tokens(self.eos_id))
        body, found, _ = whole[len(rendered) :].rpartition(end)
        return body if found else whole[len(rendered) :]

    def _prompt_ids(self, text: str) -> Tokens:
        ids = self._ids(text)
        return ids if self._begins(ids) else self._opening + ids

    def _begins(self, ids: Tokens) -> bool:
        return ids[: len(self._opening)] == self._opening

    def _continuation(self, rendered: str, body: str) -> Tokens:
        for before in (rendered, *_NEUTRAL):
            head, whole = self._ids(before), self._encode(before + body)
            if whole[: len(head)] == head:
                return whole[len(head) :]
        return self._encode(body)

    def _ended(self, ids: Tokens) -> Tokens:
        """The completion with exactly one end id, even where the text already spells it out."""
        ends = {self.eos_id, _as_id(self._tokenizer.eos_token_id)}
        while ids and ids[-1] in ends:
            ids = ids[:-1]
        if not ids:
            raise RowError("empty completion")
        if ends.intersection(ids):
            raise RowError("end-of-sequence token inside the completion")
        return (*ids, self.eos_id)

    def _cut_left(self, text: str, ids: Tokens) -> Tokens:
        head = self._opening if self._begins(ids) else ()
        room = self.max_prompt - len(head)
        encoded = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        starts = [start for start, _ in encoded["offset_mapping"]]
        first = len(starts) - room
        # Never inside a character that is several byte tokens: those share their start.
        whole = [i for i in range(first, len(starts)) if starts[i] > starts[i - 1]] or [first]
        # A newline in the second half would throw away most of the prompt for a clean beginning.
        lines = [i for i in whole if text[starts[i] - 1] == "\n" and i - first <= room // 2]
        return head + ids[len(ids) - len(starts) + (lines or whole)[0] :]


def _plain_dialogue(messages: Sequence[Message]) -> str:
    names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}
    turns = [names.get(turn["role"], "") + turn["content"].strip() for turn in messages]
    return "".join(turns) + "\n\nAssistant:"


def _as_id(token_id: Any) -> int:
    """The id itself; transformers types it as possibly a list."""
    return int(token_id)
