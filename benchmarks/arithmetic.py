"""How many FLOPs and bytes the work on a GPT-NeoX needs, by formula, and the least time for them.

A product of (m, k) by (k, n) is 2 m k n FLOPs. Norms, activations, softmax and the optimiser are
not counted, and nothing that is done twice is counted twice. A size is a row of `vs_trl.SIZES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Size = dict[str, int]
BYTES = 4
"""Of a number in single precision."""


@dataclass(frozen=True)
class Linear:
    """`times` linear layers that each read `tokens` rows."""

    tokens: int
    inputs: int
    outputs: int
    times: int = 1

    @property
    def forward(self) -> int:
        """FLOPs of the forward product; each of the two backward ones needs as many."""
        return 2 * self.tokens * self.inputs * self.outputs * self.times

    @property
    def weights(self) -> int:
        """Biases left out."""
        return self.inputs * self.outputs * self.times


def linears(size: Size, tokens: int, read: int, outputs: int | None = None) -> list[Linear]:
    """The model's linear layers: `tokens` are attended to, the states of `read` are wanted.

    Behind its attention the last layer sees only those that are read, as the head does.
    `outputs` of the head: the vocabulary, or 1 for a reward model.
    """
    width, layers = size["width"], size["layers"]
    behind = [(width, width), (width, 4 * width), (4 * width, width)]
    return [
        Linear(tokens, width, 3 * width, layers),
        *(Linear(tokens, inputs, outs, layers - 1) for inputs, outs in behind),
        *(Linear(read, inputs, outs) for inputs, outs in behind),
        Linear(read, width, size["vocabulary"] if outputs is None else outputs),
    ]


def forward(layers: Iterable[Linear]) -> int:
    """FLOPs of the forward products of all layers."""
    return sum(layer.forward for layer in layers)


def seen(prompt: int, completions: Iterable[int]) -> int:
    """Pairs of a token and one it attends to, itself included, the prompt encoded once."""
    return prompt * (prompt + 1) // 2 + sum(c * prompt + c * (c + 1) // 2 for c in completions)


def attention(size: Size, pairs: int) -> int:
    """FLOPs of a forward pass for scores and weighted values of `pairs` (see `seen`)."""
    return 4 * size["width"] * size["layers"] * pairs


@dataclass(frozen=True)
class Training:
    """A training step on `batch` prompts with `per_prompt` completions each.

    `forwards` are forward passes without a gradient beside the one that is trained: a reference's.
    """

    size: Size
    batch: int
    prompt: int
    completion: int
    per_prompt: int = 2
    forwards: int = 0
    head: int | None = None

    @property
    def rows(self) -> int:
        """Completions."""
        return self.batch * self.per_prompt

    @property
    def read(self) -> int:
        """States that are wanted: one a completion token, or the last of each for a scalar head."""
        return self.rows * (self.completion if self.head is None else 1)

    @property
    def fed(self) -> int:
        """Tokens of a completion that are needed: a policy's last one predicts nothing."""
        return self.completion - (self.head is None)

    @property
    def tokens(self) -> int:
        """With each prompt once."""
        return self.batch * self.prompt + self.rows * self.fed

    @property
    def layers(self) -> list[Linear]:
        return linears(self.size, self.tokens, self.read, self.head)

    @property
    def attention(self) -> int:
        """FLOPs, backward (twice the forward) and other forward passes included."""
        pairs = self.batch * seen(self.prompt, [self.fed] * self.per_prompt)
        return (3 + self.forwards) * attention(self.size, pairs)

    @property
    def flops(self) -> int:
        return (3 + self.forwards) * forward(self.layers) + self.attention


@dataclass(frozen=True)
class Decoding:
    """`prompts` of equal length, `per_prompt` completions each, all `new` tokens long."""

    size: Size
    prompts: int
    per_prompt: int
    prompt: int
    new: int

    @property
    def rows(self) -> int:
        return self.prompts * self.per_prompt

    @property
    def first(self) -> list[Linear]:
        """The layers that read the prompts; the head reads only the last token of each."""
        return linears(self.size, self.prompts * self.prompt, self.prompts)

    @property
    def next(self) -> list[Linear]:
        """The layers that read one token of every row."""
        return linears(self.size, self.rows, self.rows)

    @property
    def first_flops(self) -> int:
        return forward(self.first) + attention(self.size, self.prompts * seen(self.prompt, []))

    def step_flops(self, context: int) -> int:
        """Of one step whose token attends to `context` tokens, itself included."""
        return forward(self.next) + attention(self.size, self.rows * context)

    def step_bytes(self, context: int) -> int:
        """Read once in that step: every weight of a product, every row's keys and values."""
        weights = sum(layer.weights for layer in self.next)
        cache = 2 * self.size["layers"] * self.size["width"] * self.rows * context
        return BYTES * (weights + cache)

    @property
    def contexts(self) -> range:
        """Of the steps: the last new token is chosen but never read."""
        return range(self.prompt + 1, self.prompt + self.new)


@dataclass(frozen=True)
class Floor:
    """Least seconds, and which limit binds most of the steps."""

    seconds: float
    binds: str


def floor(work: Decoding, *, first_rate: float, rate: float, bandwidth: float) -> Floor:
    """The prompts at `first_rate`, then every step at the slower of two limits.

    Args:
        work: what is decoded.
        first_rate: FLOP/s of products of the prompts' shapes.
        rate: FLOP/s of products of a step's shapes.
        bandwidth: bytes/s that memory gives.
    """
    pairs = [(work.step_flops(c) / rate, work.step_bytes(c) / bandwidth) for c in work.contexts]
    steps = sum(max(pair) for pair in pairs)
    by_flops = sum(a >= b for a, b in pairs)
    binds = "FLOPs" if 2 * by_flops >= len(pairs) else "bytes"
    return Floor(work.first_flops / first_rate + steps, binds)
