"""Sampling with a key-value cache: every prompt is encoded once, finished rows leave the batch.

Each completion has its own stream of uniform numbers, addressed by seed, prompt and copy, so the
batch size and the order of the prompts change no sample (up to rounding of the logits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from allroads.models.policy import Policy
from allroads.rollouts.decoder import decoder_of
from allroads.seeding import uniforms
from allroads.types import Completion, Prompt, Stop

_COMPACT_BELOW = 0.75
"""Finished rows are removed once fewer than this share of the batch is still running."""


@torch.inference_mode()
def sample(
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
    """Draw completions.

    Args:
        policy: who writes them.
        prompts: whom to answer; a prompt that occurs twice gets the same samples twice.
        per_prompt: completions per prompt.
        temperature: logits are divided by it; 0 takes the most likely token each time.
        max_new_tokens: length limit, end-of-sequence included.
        seed: root seed and address of this draw.
        batch_size: completions decoded together.
        fixed_length: whether the task ends at `max_new_tokens`, so that a completion of that length
            is finished; otherwise it was cut.
        tick: called after each batch.

    Returns:
        One list of `per_prompt` completions for each prompt, in the order given. Their
        log-probabilities are at the sampling temperature (at 1 where sampling is greedy).
    """
    limit: Stop = "task" if fixed_length else "length"
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i].tokens), i))
    out: list[list[Completion]] = [[] for _ in prompts]
    step = max(1, batch_size // per_prompt)
    for begin in range(0, len(order), step):
        chosen = order[begin : begin + step]
        batch = [prompts[i] for i in chosen]
        for i, group in zip(
            chosen,
            _batch(policy, batch, per_prompt, temperature, max_new_tokens, seed, limit),
            strict=True,
        ):
            out[i] = group
        if tick is not None:
            tick()
    return out


def _uniforms(
    prompts: Sequence[Prompt],
    per_prompt: int,
    length: int,
    seed: tuple[int, str],
    device: torch.device,
) -> Tensor:
    paths = [(prompt.prompt_id, copy) for prompt in prompts for copy in range(per_prompt)]
    numbers = uniforms(seed[0], seed[1], paths, length)
    return torch.from_numpy(numbers).to(device, _widest(device))


def _widest(device: torch.device) -> torch.dtype:
    """Double precision, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _choose(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    wide = logits.to(uniform.dtype)
    if temperature == 0:
        logprobs = torch.log_softmax(wide, dim=-1)
        tokens = logprobs.argmax(dim=-1)
        return tokens, logprobs.gather(1, tokens[:, None])[:, 0]
    # Below the largest logit, as a softmax does it: one exponential a token of the vocabulary.
    below = wide - wide.amax(dim=-1, keepdim=True)
    if temperature != 1:
        below = below / temperature
    cumulative = below.exp().cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Scaled by the last entry, so that rounding never leaves a gap above it.
    tokens = torch.searchsorted(cumulative, uniform[:, None] * total, right=True)
    tokens = tokens.clamp(max=logits.shape[-1] - 1)
    return tokens[:, 0], (below.gather(1, tokens) - total.log())[:, 0]


def _batch(
    policy: Policy,
    prompts: Sequence[Prompt],
    per_prompt: int,
    temperature: float,
    max_new_tokens: int,
    seed: tuple[int, str],
    limit: Stop,
) -> list[list[Completion]]:
    device = policy.device
    policy.check_fits(max(len(p.tokens) for p in prompts), max_new_tokens)
    decoder = decoder_of(policy, [p.tokens for p in prompts], per_prompt, max_new_tokens)
    logits = decoder.first()
    rows = len(logits)
    numbers = _uniforms(prompts, per_prompt, max_new_tokens, seed, device)
    tokens_out = torch.full((rows, max_new_tokens), policy.eos_id, device=device)
    lengths = torch.zeros(rows, dtype=torch.long, device=device)
    finished = torch.zeros(rows, dtype=torch.bool, device=device)
    logprobs_out = torch.zeros_like(numbers)
    alive = torch.arange(rows, device=device)
    for step in range(max_new_tokens):
        token, logprob = _choose(logits, numbers[alive, step], temperature)
        # What rows write after their end is never read: `lengths` ends before it.
        tokens_out[alive, step] = token
        logprobs_out[alive, step] = logprob
        lengths[alive] += ~finished[alive]
        finished[alive] |= token == policy.eos_id
        left = ~finished[alive]
        count = int(left.sum())
        if count == 0 or step + 1 == max_new_tokens:
            break
        if count < _COMPACT_BELOW * len(alive):
            keep = left.nonzero()[:, 0]
            decoder.keep(keep)
            alive, token = alive[keep], token[keep]
        logits = decoder.step(token)
    return _collect(prompts, per_prompt, tokens_out, logprobs_out, lengths, finished, limit)


def _collect(
    prompts: Sequence[Prompt],
    per_prompt: int,
    tokens: Tensor,
    logprobs: Tensor,
    lengths: Tensor,
    finished: Tensor,
    limit: Stop,
) -> list[list[Completion]]:
    columns = (tokens.tolist(), logprobs.tolist(), lengths.tolist(), finished.tolist())
    flat = [
        Completion(
            prompt=prompts[i // per_prompt],
            tokens=tuple(ids[:length]),
            token_logprobs=tuple(values[:length]),
            stop="eos" if done else limit,
        )
        for i, (ids, values, length, done) in enumerate(zip(*columns, strict=True))
    ]
    return [flat[i : i + per_prompt] for i in range(0, len(flat), per_prompt)]
