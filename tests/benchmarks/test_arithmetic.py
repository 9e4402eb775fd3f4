"""FLOPs and bytes of a model that can be counted on paper: width 2, three layers, five words."""

from __future__ import annotations

import pytest
from arithmetic import Decoding, Linear, Training, attention, floor, forward, linears, seen
from torch.utils.flop_counter import FlopCounterMode
from vs_trl import dense, model_of

from allroads.models.policy import Policy
from allroads.models.reward_model import reward_model_on
from allroads.models.states import Rows

SIZE = {"layers": 3, "width": 2, "heads": 1, "vocabulary": 5}


def test_a_product_is_two_flops_a_cell():
    # (7, 2) by (2, 5), twice: 2 x 7 x 2 x 5 = 140.
    assert Linear(7, 2, 5, times=2).forward == 280
    assert Linear(7, 2, 5, times=2).weights == 20


def test_the_layers_of_a_model():
    # A block has 12 width^2 = 48 weights, 12 of them before its attention. Two blocks and a quarter
    # see 10 tokens, the rest of the last one and the head (2 x 5) see 4: 2 FLOPs a weight.
    layers = linears(SIZE, tokens=10, read=4)
    blocks = 2 * (108 * 10 + 36 * 4)
    assert forward(layers) == blocks + 2 * 10 * 4
    assert sum(layer.weights for layer in layers) == 3 * 48 + 10
    assert forward(linears(SIZE, tokens=10, read=4, outputs=1)) == blocks + 2 * 2 * 4


def test_a_token_sees_itself_and_all_before_it():
    # Prompt 1 + 2 + 3; a completion of two behind it sees 4 and 5 tokens, one of one 4.
    assert seen(3, []) == 6
    assert seen(3, [2, 1]) == 6 + (4 + 5) + 4
    # Scores and values, 2 FLOPs a number of the width, in 3 layers.
    assert attention(SIZE, pairs=19) == 2 * 2 * 2 * 3 * 19


def test_a_training_step():
    step = Training(SIZE, batch=2, prompt=3, completion=2, forwards=1)
    # Of two completion tokens the second predicts nothing; both are predicted.
    assert (step.tokens, step.read) == (2 * 3 + 4, 8)
    # Once forward, twice as much backward, once for the reference.
    assert step.attention == 4 * 2 * attention(SIZE, 6 + 4 + 4)
    assert step.flops == 4 * 2 * (108 * 10 + 36 * 8 + 10 * 8) + step.attention


@pytest.mark.parametrize("head", [None, 1])
def test_torch_counts_the_same_outside_attention(head: int | None):
    size = {"layers": 2, "width": 32, "heads": 2, "vocabulary": 40}
    policy = Policy(model_of(size), eos_id=0)
    # A prompt that is shared is encoded once.
    prompts = [(2,) * 9, (3,) * 9]
    rows = Rows([p for p in prompts for _ in (0, 1)], [(i,) * 5 for i in (4, 5, 6, 7)])
    model = policy if head is None else reward_model_on(policy, reading="last", seed=0)
    model.sequence_logprobs(rows) if isinstance(model, Policy) else model.scores(rows)
    with FlopCounterMode(display=False) as counter:
        score = model.sequence_logprobs(rows) if isinstance(model, Policy) else model.scores(rows)
        score.sum().backward()
    step = Training(size, batch=2, prompt=9, completion=5, head=head)
    assert dense(counter) == pytest.approx(3 * forward(step.layers), rel=0.005)


def test_a_decoding_step_reads_weights_and_cache_once():
    work = Decoding(SIZE, prompts=2, per_prompt=3, prompt=4, new=3)
    # 6 rows: 144 + 10 weights. Keys and values: 2 x 3 layers x 2 wide x 6 rows x 5 tokens.
    assert work.step_flops(5) == 2 * 154 * 6 + attention(SIZE, 6 * 5)
    assert work.step_bytes(5) == 4 * (154 + 2 * 3 * 2 * 6 * 5)
    # The prompts' 8 tokens; only their last ones reach the end of the last layer and the head.
    # Each sees 1 + 2 + 3 + 4.
    assert work.first_flops == 2 * (108 * 8 + 36 * 2 + 10 * 2) + attention(SIZE, 2 * 10)
    # Three tokens: the first comes out of the prompt, the last is never read.
    assert list(work.contexts) == [5, 6]


def test_the_floor_takes_the_slower_limit_of_every_step():
    work = Decoding(SIZE, prompts=2, per_prompt=3, prompt=4, new=3)
    first = work.first_flops / 100
    fast = floor(work, first_rate=100, rate=10, bandwidth=1e12)
    assert fast.binds == "FLOPs"
    assert fast.seconds == pytest.approx(first + (work.step_flops(5) + work.step_flops(6)) / 10)
    slow = floor(work, first_rate=100, rate=1e12, bandwidth=10)
    assert slow.binds == "bytes"
    assert slow.seconds == pytest.approx(first + (work.step_bytes(5) + work.step_bytes(6)) / 10)
