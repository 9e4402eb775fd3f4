"""Prepare a world: demonstrations, then preference pairs, as a rule of the SFT policy's samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from allroads.data.audit import SourceCount, audit_of
from allroads.data.dataset import Dataset
from allroads.data.split import SPLITS
from allroads.data.worlds import World
from allroads.data.worlds.world import Multilingual
from allroads.lab.writers import SAID, Writers, written
from allroads.models.policy import Policy
from allroads.records import Record
from allroads.seeding import child
from allroads.types import Pair, Split, Tokens


class WorldSizes(Record):
    """How much of everything is drawn for one seed, and of what the training pairs are made.

    The last two fields change the training pairs alone: what selects and what judges is the same
    under all their values, pair by pair.
    """

    demonstrations: int = Field(default=12000, ge=1)
    pairs: int = Field(default=3000, ge=1)
    """Training pairs, before identical ones are dropped."""
    selection_pairs: int = Field(default=1600, ge=1)
    test_pairs: int = Field(default=1200, ge=1)
    pair_prompts: float = Field(default=1.0, gt=0, le=1)
    """Share of the training prompts that pairs may be drawn on (at least one); the rest has no
    label, but roads that sample can still answer it. Drawn by the cell's seed, like the pairs
    themselves, so that no conclusion hangs on one choice of prompts; a smaller share is part of a
    larger one."""
    writers: Writers = "sft"
    """Who writes the completions of the training pairs; see `writers.Writers`."""

    @property
    def identity(self) -> dict[str, object]:
        """A plain value that changes whenever the data do.

        The fields that came later are in it only where they are set, so that old runs keep theirs.
        """
        fields = type(self).model_fields
        return {
            name: value
            for name, value in self.model_dump().items()
            if name not in ("pair_prompts", "writers") or value != fields[name].default
        }


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
    are decoded together. Who else may write the training pairs, and on which prompts, is up to
    `sizes`. In a world of several dialects all pairs are in the first.

    Raises:
        ConfigError: when the world lacks the writers that `sizes` asks for.
    """
    counts: dict[Split, int] = {
        "train": sizes.pairs,
        "selection": sizes.selection_pairs,
        "test": sizes.test_pairs,
    }
    pairs: dict[Split, tuple[Pair, ...]] = {}
    sources = []
    for split, count in counts.items():
        dialled = sizes if split == "train" else WorldSizes()
        pairs[split] = _pairs(
            world, before, policy, split, count, dialled, seed=seed, batch_size=batch_size
        )
        sources.append(
            SourceCount(
                source=f"{world.name}, {_said(dialled)}{split} prompts",
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


def paraphrased(world: World, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """The same pairs in the world's second dialect, prompts as they are; none without dialects."""
    if not isinstance(world, Multilingual) or world.dialects == 1:
        return ()
    return tuple(
        replace(
            pair,
            chosen=world.in_dialect(pair.chosen, 1),
            rejected=world.in_dialect(pair.rejected, 1),
        )
        for pair in pairs
    )


def _said(sizes: WorldSizes) -> str:
    part = "" if sizes.pair_prompts == 1 else f"a share of {sizes.pair_prompts:g} of the "
    return f"{SAID[sizes.writers]} on {part}"


def _pairs(
    world: World,
    before: Dataset,
    policy: Policy,
    split: Split,
    count: int,
    sizes: WorldSizes,
    *,
    seed: int,
    batch_size: int,
) -> tuple[Pair, ...]:
    prompts = world.prompts(split)
    order = child(seed, "world-order", split).permutation(len(prompts)).tolist()
    order = order[: max(1, round(sizes.pair_prompts * len(prompts)))]
    laps = math.ceil(count / len(order))
    used = sorted(order[:count])
    # One list of samples a prompt, two for every lap, so that each pair is fresh.
    drawn = written(
        world,
        policy,
        [prompts[i] for i in used],
        before.demonstrations,
        writers=sizes.writers,
        copies=2 * laps,
        split=split,
        seed=seed,
        batch_size=batch_size,
    )
    groups = dict(zip(used, drawn, strict=True))
    rng = child(seed, "world-labels", split)
    out: list[Pair] = []
    slots = [(lap, i) for lap in range(laps) for i in order][:count]
    for lap, i in slots:
        prompt = prompts[i]
        first, second = (_plain(world, one) for one in groups[i][2 * lap : 2 * lap + 2])
        a, b = world.verify([prompt.tokens] * 2, [first, second])
        first_wins = rng.random() < 1 / (1 + math.exp(-world.label_temperature * (a - b)))
        if first == second:
            continue
        chosen, rejected = (first, second) if first_wins else (second, first)
        out.append(
            Pair(prompt_id=prompt.prompt_id, prompt=prompt.tokens, chosen=chosen, rejected=rejected)
        )
    return tuple(out)


def _plain(world: World, tokens: Tokens) -> Tokens:
    """The completion in the first dialect, where there are several."""
    return world.in_dialect(tokens, 0) if isinstance(world, Multilingual) else tokens


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
