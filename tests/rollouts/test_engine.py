"""What every engine promises, in double precision, so that a wrong number cannot hide in rounding.

Two families: absolute positions and rotary ones. (A Llama normalises in single precision whatever
its weights are.)
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from allroads.errors import ModelError
from allroads.models import states
from allroads.models.policy import Policy
from allroads.models.states import Rows
from allroads.rollouts.engine import Engine
from allroads.rollouts.sampler import sample
from allroads.types import Completion, Prompt
from tests.conftest import EOS, tiny_policy

PROMPTS = [
    Prompt(prompt_id="a", tokens=(3, 4, 5)),
    Prompt(prompt_id="long", tokens=(6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)),
    Prompt(prompt_id="one token", tokens=(2,)),
    Prompt(prompt_id="holds and ends with eos", tokens=(EOS, EOS, 13, EOS)),
    Prompt(prompt_id="the first one's tokens", tokens=(3, 4, 5)),
]
DRAW: dict[str, Any] = dict(per_prompt=12, temperature=0.7, max_new_tokens=9, seed=(5, "test"))
CLOSE = 1e-9
"""Nats."""


@pytest.fixture(params=["gpt2", "gpt-neox"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return tiny_policy(request.param, dtype=torch.float64)


@pytest.fixture(params=[sample])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


def flat(groups: list[list[Completion]]) -> list[Completion]:
    return [one for group in groups for one in group]


def same(a: Completion, b: Completion) -> bool:
    """The same prompt, text and end, and the same log-probabilities."""
    return (a.prompt, a.tokens, a.stop) == (b.prompt, b.tokens, b.stop) and (
        a.token_logprobs == pytest.approx(b.token_logprobs, abs=CLOSE)
    )


def all_same(a: list[list[Completion]], b: list[list[Completion]]) -> bool:
    return all(same(one, other) for one, other in zip(flat(a), flat(b), strict=True))


# Log-probabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.5])
def test_token_logprobs_are_those_of_the_one_function(
    engine: Engine, policy: Policy, temperature: float
):
    """At the sampling temperature; at 1 where sampling is greedy."""
    drawn = flat(engine(policy, PROMPTS, **{**DRAW, "temperature": temperature}))
    rows = Rows([one.prompt.tokens for one in drawn], [one.tokens for one in drawn])
    with torch.no_grad():
        again, mask = policy.token_logprobs(rows, temperature=temperature or 1.0)
    for one, values, here in zip(drawn, again, mask, strict=True):
        assert one.token_logprobs == pytest.approx(values[here].tolist(), abs=CLOSE)
        assert one.logprob == pytest.approx(values.sum().item(), abs=CLOSE)


def test_a_completion_without_a_log_probability_for_every_token_is_refused():
    with pytest.raises(ValueError, match="expected one per token, 2; got 1"):
        Completion(prompt=PROMPTS[0], tokens=(1, EOS), token_logprobs=(-1.0,), stop="eos")


# What a sample depends on -------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("batch_size", [1, 24, 36])
def test_batch_size_changes_nothing(
    engine: Engine, policy: Policy, batch_size: int, temperature: float
):
    draw = {**DRAW, "temperature": temperature}
    together = engine(policy, PROMPTS, **draw)
    assert all_same(engine(policy, PROMPTS, **draw, batch_size=batch_size), together)


def test_order_and_batch_mates_change_nothing(engine: Engine, policy: Policy):
    """Alone a prompt is not padded; beside the long one it is, by ten."""
    together = engine(policy, PROMPTS, **DRAW)
    assert all_same(engine(policy, PROMPTS[::-1], **DRAW)[::-1], together)
    for prompt, group in zip(PROMPTS, together, strict=True):
        assert all_same(engine(policy, [prompt], **DRAW), [group])


def test_the_id_that_pads_changes_nothing(
    engine: Engine, policy: Policy, monkeypatch: pytest.MonkeyPatch
):
    assert states.PAD == EOS
    with_eos = engine(policy, PROMPTS, **DRAW)
    monkeypatch.setattr(states, "PAD", 7)
    assert all_same(engine(policy, PROMPTS, **DRAW), with_eos)


def test_fewer_samples_are_the_first_ones(engine: Engine, policy: Policy):
    few = engine(policy, PROMPTS, **{**DRAW, "per_prompt": 2})
    assert all_same(few, [group[:2] for group in engine(policy, PROMPTS, **DRAW)])


def test_a_prompt_has_its_own_stream_of_random_numbers(engine: Engine, policy: Policy):
    """The same tokens under another id are answered afresh; under the same id, alike."""
    first, *_, namesake = engine(policy, PROMPTS, **DRAW)
    assert [one.tokens for one in first] != [one.tokens for one in namesake]
    twice = engine(policy, [PROMPTS[0], PROMPTS[1], PROMPTS[0]], **DRAW)
    assert all_same([twice[0]], [twice[2]])


# Where a completion ends --------------------------------------------------------------------------


@pytest.mark.parametrize(("fixed", "limit"), [(False, "length"), (True, "task")])
def test_a_completion_says_why_it_ends(engine: Engine, policy: Policy, fixed: bool, limit: str):
    drawn = flat(engine(policy, PROMPTS, **DRAW, fixed_length=fixed))
    assert {one.stop for one in drawn} == {"eos", limit}
    for one in drawn:
        assert EOS not in one.tokens[:-1]
        assert (one.tokens[-1] == EOS) == (one.stop == "eos")
        assert one.stop == "eos" or len(one.tokens) == DRAW["max_new_tokens"]
        assert one.finished == (fixed or one.stop == "eos")


@pytest.mark.parametrize("fixed", [False, True])
def test_a_lower_limit_cuts_the_same_text(engine: Engine, policy: Policy, fixed: bool):
    """And what ends itself on the very last step is not cut, and not ended by the task."""
    whole = flat(engine(policy, PROMPTS, **DRAW))
    last_step = 0
    for length in range(1, DRAW["max_new_tokens"]):
        draw = {**DRAW, "max_new_tokens": length}
        short = flat(engine(policy, PROMPTS, **draw, fixed_length=fixed))
        for one, full in zip(short, whole, strict=True):
            assert one.tokens == full.tokens[:length]
            assert one.token_logprobs == pytest.approx(full.token_logprobs[:length], abs=CLOSE)
            itself = full.stop == "eos" and len(full.tokens) <= length
            assert one.stop == ("eos" if itself else "task" if fixed else "length")
            last_step += itself and len(full.tokens) == length
    assert last_step > 5


def test_a_prompt_that_leaves_no_room_is_refused(engine: Engine, policy: Policy):
    with pytest.raises(ModelError, match="prompt of 11 and completion of 54"):
        engine(policy, PROMPTS, **{**DRAW, "max_new_tokens": 54})
