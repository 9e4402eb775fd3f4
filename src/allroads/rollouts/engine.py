"""What every engine that writes completions promises; `sampler.sample` is the built-in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from allroads.models.policy import Policy
from allroads.types import Completion, Prompt


class Engine(Protocol):
    """Draws completions from a policy, as `sampler.sample` does; see there for the arguments."""

    def __call__(
        self,
        policy: Policy,
        prompts: Sequence[Prompt],
        *,
        per_prompt: int,
        temperature: float,
        max_new_tokens: int,
        seed: tuple[int, str],
        batch_size: int = 256,
        fixed_length: bool = False,
        tick: Callable[[], None] | None = None,
    ) -> list[list[Completion]]:
        """Answer every prompt `per_prompt` times.

        What is drawn: plain samples of `policy` with its weights of this moment, logits divided by
        `temperature` and nothing else done to them (no top-k, no top-p, no penalty); at
        temperature 0 the most likely token each time. Generation ends with `policy.eos_id` alone,
        or after `max_new_tokens` tokens, the end-of-sequence included.

        What comes back: for each prompt, in the order given, its completions. Each one's `stop` is
        "eos" where its last token is `policy.eos_id` (on the last step too), otherwise "task" if
        `fixed_length` and "length" if not. Its `token_logprobs` are those that
        `policy.token_logprobs` gives at `temperature` (at 1 where that is 0), nats, up to rounding.

        What it depends on: `policy`, `temperature`, `seed`, and of each completion its prompt's
        `prompt_id` and tokens and its place among the completions of that prompt. `batch_size`,
        the other prompts, their order, and how many completions of a prompt are asked for change
        no sample, up to rounding of the logits; a smaller `max_new_tokens` cuts the same text.

        Raises:
            ModelError: when a prompt and `max_new_tokens` together do not fit the model.
        """
        ...
