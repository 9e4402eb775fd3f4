"""Prepare a world: demonstrations, then preference pairs from two samples of the SFT policy."""

from __future__ import annotations

import math

from allroads.data.audit import SourceCount, audit_of
from allroads.data.dataset import Dataset
from allroads.data.split import SPLITS
from allroads.data.worlds import World
from allroads.models.policy import Policy
from allroads.records import Record
from allroads.rollouts.sampler import sample
from allroads.seeding import address, child
from allroads.types import Pair, Prompt, Split


class WorldSizes(Record):
    """How much of everything is drawn for one seed."""

    demonstrations: int = 12000
    pairs: int = 3000
    """Training pairs, before identical ones are dropped."""
    selection_pairs: int = 1600
    test_pairs: int = 1200


def demonstrations_only(world: World, sizes: WorldSizes, *, seed: int) -> Dataset:
    """The dataset of one seed before any policy exists: demonstrations and prompts, no pairs."""
    return _dataset(world, world.demonstrations(sizes.demonstrations, seed=seed), {}, [])


def with_pairs(
    world: World,
    before: Dataset,
    policy: Policy,
    sizes: WorldSizes,
    *,
    seed: int,
    batch_size: int = 1024,
) -> Dataset:
    """Add preference pairs: two samples of `policy`, labelled by Bradley-Terry on the truth.

    Chosen beats rejected with probability sigma(label_temperature * difference of true rewards).
    Pairs whose two samples are the same tokens are dropped and counted. `batch_size` completions
    are decoded together.
    """
    counts: dict[Split, int] = {
        "train": sizes.pairs,
        "selection": sizes.selection_pairs,
        "test": sizes.test_pairs,
    }
    pairs: dict[Split, tuple[Pair, ...]] = {}
    sources = []
    for split, count in counts.items():
        pairs[split] = _pairs(world, policy, split, count, seed, batch_size)
        sources.append(
            SourceCount(
                source=f"{world.name}, samples of the SFT policy on {split} prompts",
                kind="pairs",
                read=count,
                used=len(pairs[split]),
                left_out=0,
                reasons=(("chosen and rejected are the same tokens", count - len(pairs[split])),),
                named=(),
            )
        )
    return _dataset(world, before.demonstrations, pairs, sources, world.notes())


def label_entropy(world: World, dataset: Dataset, split: Split = "test") -> float:
    """Nats per pair that the truth itself needs for the labels: no scorer can expect less."""
    total = 0.0
    rows = dataset.pairs[split]
    prompts = [pair.prompt for pair in rows]
    chosen = world.verify(prompts, [pair.chosen for pair in rows])
    rejected = world.verify(prompts, [pair.rejected for pair in rows])
    for a, b in zip(chosen, rejected, strict=True):
        total += math.log1p(math.exp(-world.label_temperature * (a - b)))
    return total / len(rows)


def _pairs(
    world: World, policy: Policy, split: Split, count: int, seed: int, batch_size: int
) -> tuple[Pair, ...]:
    prompts = world.prompts(split)
    laps = math.ceil(count / len(prompts))
    order = child(seed, "world-order", split).permutation(len(prompts)).tolist()
    used = sorted(order[:count])
    # One list of samples a prompt, two for every lap, so that each pair is fresh.
    drawn = sample(
        policy,
        [prompts[i] for i in used],
        per_prompt=2 * laps,
        temperature=1.0,
        max_new_tokens=world.max_new_tokens,
        seed=(address(seed, "world-pairs"), split),
        batch_size=batch_size,
    )
    groups = dict(zip(used, drawn, strict=True))
    rng = child(seed, "world-labels", split)
    out: list[Pair] = []
    slots = [(lap, i) for lap in range(laps) for i in order][:count]
    for lap, i in slots:
        prompt: Prompt = prompts[i]
        first, second = (one.tokens for one in groups[i][2 * lap : 2 * lap + 2])
        a, b = world.verify([prompt.tokens] * 2, [first, second])
        first_wins = rng.random() < 1 / (1 + math.exp(-world.label_temperature * (a - b)))
        if first == second:
            continue
        chosen, rejected = (first, second) if first_wins else (second, first)
        out.append(
            Pair(prompt_id=prompt.prompt_id, prompt=prompt.tokens, chosen=chosen, rejected=rejected)
        )
    return tuple(out)


def _dataset(
    world: World,
    demonstrations: tuple,
    pairs: dict[Split, tuple[Pair, ...]],
    sources: list[SourceCount],
    notes: tuple[str, ...] = (),
) -> Dataset:
    every: dict[Split, tuple[Pair, ...]] = {split: pairs.get(split, ()) for split in SPLITS}
    return Dataset(
        pairs=every,
        demonstrations=demonstrations,
        prompts={split: world.prompts(split) for split in SPLITS},
        audit=audit_of(
            pairs=every,
            demonstrations=demonstrations,
            sources=sources,
            max_length=world.context,
            over_long="drop",
            eos_id=None if world.fixed_length else world.eos_id,
            notes=notes,
        ),
    )
