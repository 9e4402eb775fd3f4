"""Who writes the completions of a world's preference pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from allroads.data.worlds import World
from allroads.data.worlds.world import Demonstrator
from allroads.errors import ConfigError
from allroads.models.policy import Policy
from allroads.rollouts.sampler import sample
from allroads.seeding import address, child, uniforms
from allroads.types import Demonstration, Prompt, Split, Tokens

Writers = Literal["sft", "narrow", "wide"]
"""sft: the SFT policy at temperature 1, as it will be asked later.
narrow: the SFT policy at temperature 0.5: near its modes, little else.
wide: each completion by one of four, drawn with equal chances: the world's demonstrators (afresh:
    not what the SFT policy learnt from), the SFT policy at temperature 1, at temperature 2, and
    `babble`. Nearly everything has a chance, good or bad: what offline roads are said to need and
    online roads not (Song et al. 2024, arXiv:2406.01462, global against local coverage)."""

_TEMPERATURE = {"sft": 1.0, "narrow": 0.5}
_WIDE = 4
"""Writers of the mixture."""
SAID: dict[Writers, str] = {
    "sft": "samples of the SFT policy",
    "narrow": "samples of the SFT policy at temperature 0.5",
    "wide": "each answer by the demonstrators, by the SFT policy at temperature 1 or 2, or by "
    "chance, with equal odds,",
}
"""For the audit."""


def check_writers(world: World, writers: Writers) -> None:
    """Refuse writers whom a world does not have.

    Raises:
        ConfigError: for 'wide' where no demonstrator answers a prompt that one chooses.
    """
    if writers == "wide" and not isinstance(world, Demonstrator):
        raise ConfigError(
            f"sizes.writers 'wide': the demonstrators of world {world.name!r} cannot be asked for "
            "another answer to a prompt; give 'sft' or 'narrow'"
        )


def written(
    world: World,
    policy: Policy,
    prompts: Sequence[Prompt],
    demonstrations: Sequence[Demonstration],
    *,
    writers: Writers,
    copies: int,
    split: Split,
    seed: int,
    batch_size: int,
) -> list[list[Tokens]]:
    """`copies` completions of each prompt, in the order of the prompts.

    Copy c of a prompt depends on the seed, the split, the prompt and c alone: on no other prompt,
    and not on how many copies there are. Copies that the SFT policy writes at temperature 1 are the
    same under every choice of writers.

    Args:
        world: whose prompts they are.
        policy: the SFT policy.
        prompts: of one split; for 'wide' of training.
        demonstrations: what `babble` takes its words and lengths from.
        writers: see `Writers`.
        copies: completions of each prompt.
        split: part of every address.
        seed: the root of every address.
        batch_size: completions decoded together.

    Raises:
        ConfigError: see `check_writers`.
    """

    def sampled(temperature: float) -> list[list[Tokens]]:
        drawn = sample(
            policy,
            prompts,
            per_prompt=copies,
            temperature=temperature,
            max_new_tokens=world.max_new_tokens,
            seed=(address(seed, "world-pairs"), split),
            batch_size=batch_size,
        )
        return [[one.tokens for one in group] for group in drawn]

    if writers != "wide":
        return sampled(_TEMPERATURE[writers])
    check_writers(world, writers)
    assert isinstance(world, Demonstrator)
    plain, hot = sampled(1.0), sampled(2.0)
    words = sorted({token for row in demonstrations for token in row.completion} - {world.eos_id})
    out = []
    for i, row in enumerate(whose(prompts, copies, split, seed)):
        group = []
        for copy, who in enumerate(row):
            prompt = prompts[i]
            rng = child(seed, "world-writer", split, prompt.prompt_id, copy)
            if who == 0:
                group.append(world.demonstrate(prompt, rng))
            elif who == 1:
                group.append(plain[i][copy])
            elif who == 2:
                group.append(hot[i][copy])
            else:
                group.append(babble(demonstrations, words, world.eos_id, rng))
        out.append(group)
    return out


def whose(prompts: Sequence[Prompt], copies: int, split: Split, seed: int) -> list[list[int]]:
    """Who of the mixture 'wide' writes each copy of each prompt, in the order of its text."""
    names = [(prompt.prompt_id, copy) for prompt in prompts for copy in range(copies)]
    numbers = uniforms(address(seed, "world-writers"), split, names, 1)
    return (_WIDE * numbers).astype(int).reshape(len(prompts), copies).tolist()


def babble(
    demonstrations: Sequence[Demonstration],
    words: Sequence[int],
    eos_id: int,
    rng: np.random.Generator,
) -> Tokens:
    """As long as a demonstration drawn at random, and ended as it is; each word by chance."""
    shape = demonstrations[int(rng.integers(len(demonstrations)))].completion
    drawn = rng.integers(len(words), size=len(shape)).tolist()
    return tuple(
        token if token == eos_id else words[k] for token, k in zip(shape, drawn, strict=True)
    )
