"""Routes on a fixed map: verifying a route needs the list of roads, finding one a routing table.

Prompt = start and goal town; completion = the towns passed through, the goal last. The true
reward is half the share of hops that follow a road plus half for ending in the goal.

With `dialects=2` every town has two names. Prompts use the first; a demonstration uses one of the
two throughout, by the fall of a coin. Nothing else changes: map, split and walks are those of
`dialects=1`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from allroads.errors import ConfigError
from allroads.records import Metric
from allroads.seeding import child
from allroads.types import Demonstration, Prompt, Split, Tokens

_FIRST = "Al Bor Cas Dun El Fen Gar Hol Ib Jor Kel Lim".split()
_SECOND = "by dale ford ham mere stow ton wick".split()


@dataclass(frozen=True, kw_only=True)
class Routes:
    """A fixed map of towns, its roads, and who walks them.

    Attributes:
        towns: towns on the map; at most 96.
        neighbours: each town is joined to this many nearest ones (and the map made connected).
        max_hops: longest route; a completion has one token more, for end-of-sequence.
        test_prompts: start-goal pairs that nobody trains on.
        selection_prompts: start-goal pairs for the selection scorer alone.
        wander: chance that a demonstrator takes a random road instead of the shortest way.
        trespass: chance that a demonstrator hops to any town, road or not.
        label_temperature: chosen beats rejected with probability sigma(temperature * lead).
        map_seed: draws the map and the split; the same for every training seed.
        dialects: names of every town, 1 or 2; see `world.Multilingual`.
    """

    towns: int = 40
    neighbours: int = 3
    max_hops: int = 10
    test_prompts: int = 400
    selection_prompts: int = 160
    wander: float = 0.6
    trespass: float = 0.1
    label_temperature: float = 10.0
    map_seed: int = 0
    dialects: int = 1
    name: str = field(default="routes", init=False)

    def __post_init__(self) -> None:
        if not 4 <= self.towns <= len(_FIRST) * len(_SECOND):
            raise ConfigError(
                f"routes: towns must be 4 to {len(_FIRST) * len(_SECOND)}, got {self.towns}"
            )
        if self.dialects not in (1, 2):
            raise ConfigError(f"routes: dialects must be 1 or 2, got {self.dialects}")

    needs_model: ClassVar[bool] = False
    fixed_length = False
    second_opinion = None
    eos_id = 0
    """Town t is token t + 1 in dialect 0, and `towns` more in dialect 1."""
    metric = Metric(
        name="true reward",
        unit="reward, 0 to 1",
        meaning="half the share of hops that follow a road plus half for ending in the goal, by "
        "the world's own verifier; no road saw these prompts",
        source="truth",
    )
    what_seeds_vary = (
        "each seed redraws everything but the map and the prompts: first weights, demonstrations, "
        "preference pairs and their labels, order of the data, samples"
    )

    @property
    def identity(self) -> object:
        """All dials; the one that came later only where it is set, so that old runs keep theirs."""
        return repr(self).replace("dialects=1, ", "")

    def prepare(self) -> None:
        """Nothing here is slow."""

    def notes(self) -> tuple[str, ...]:
        """What the dialects are, where there are two."""
        if self.dialects == 1:
            return ()
        return (
            "every town has two names: prompts and preference pairs use the first, a demonstration "
            "one of the two throughout, and the truth knows both",
        )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of every token."""
        return self._words

    @cached_property
    def _words(self) -> tuple[str, ...]:
        parts = [(a, b) for b in _SECOND for a in _FIRST][: self.towns]
        names = [a + b for a, b in parts]
        others = [b.capitalize() + a.lower() for a, b in parts] if self.dialects == 2 else []
        return ("<eos>", *names, *others)

    @property
    def max_new_tokens(self) -> int:
        """Longest completion, end-of-sequence included."""
        return self.max_hops + 1

    @property
    def context(self) -> int:
        """Positions that a model of this world needs."""
        return 2 + self.max_new_tokens

    @cached_property
    def roads(self) -> np.ndarray:
        """(towns, towns) boolean, symmetric: whether a road joins two towns."""
        place = child(self.map_seed, "routes", "map").random((self.towns, 2))
        distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
        np.fill_diagonal(distance, np.inf)
        roads = np.zeros((self.towns, self.towns), dtype=bool)
        for town in range(self.towns):
            roads[town, np.argsort(distance[town], kind="stable")[: self.neighbours]] = True
        roads |= roads.T
        while (islands := _component(roads)).any() and not islands.all():
            inside, outside = np.flatnonzero(islands), np.flatnonzero(~islands)
            gap = distance[np.ix_(inside, outside)]
            i, j = np.unravel_index(gap.argmin(), gap.shape)
            roads[inside[i], outside[j]] = roads[outside[j], inside[i]] = True
        return roads

    @cached_property
    def hops(self) -> np.ndarray:
        """(towns, towns) length of the shortest route, in hops."""
        steps = np.full((self.towns, self.towns), -1)
        reached = np.eye(self.towns, dtype=bool)
        for length in range(self.towns):
            steps[reached & (steps < 0)] = length
            reached = reached | (reached.astype(int) @ self.roads.astype(int) > 0)
        return steps

    @cached_property
    def _ways(self) -> list[list[int]]:
        """The towns that a road leads to, by town."""
        return [np.flatnonzero(row).tolist() for row in self.roads]

    @cached_property
    def _shortest(self) -> list[list[list[int]]]:
        """Of those the ones nearest to the goal, by town and goal."""
        hops = self.hops.tolist()
        towns = range(self.towns)
        nearest = [[min(hops[way][goal] for way in ways) for goal in towns] for ways in self._ways]
        return [
            [[way for way in ways if hops[way][goal] == near[goal]] for goal in towns]
            for ways, near in zip(self._ways, nearest, strict=True)
        ]

    @cached_property
    def _split(self) -> dict[Split, tuple[Prompt, ...]]:
        every = np.argwhere((self.hops > 0) & (self.hops <= self.max_hops))
        held_out = self.test_prompts + self.selection_prompts
        if held_out >= len(every):
            raise ConfigError(
                f"routes: test_prompts + selection_prompts = {held_out} leave no training prompt "
                f"of the {len(every)} that {self.max_hops} hops can solve"
            )
        order = child(self.map_seed, "routes", "split").permutation(len(every)).tolist()
        cut = (self.test_prompts, held_out)
        parts: dict[Split, Sequence[int]] = {
            "test": order[: cut[0]],
            "selection": order[cut[0] : cut[1]],
            "train": order[cut[1] :],
        }
        return {
            name: tuple(
                Prompt(
                    prompt_id=f"{self.vocabulary[a + 1]}>{self.vocabulary[b + 1]}",
                    tokens=(a + 1, b + 1),
                )
                for a, b in every[sorted(index)].tolist()
            )
            for name, index in parts.items()
        }

    def prompts(self, split: Split) -> tuple[Prompt, ...]:
        """The start-goal pairs of one split, solvable within `max_hops`; the grader has none."""
        return self._split.get(split, ())

    def demonstrations(self, count: int, *, seed: int) -> tuple[Demonstration, ...]:
        """Routes by noisy walkers for training prompts drawn at random, with repetition."""
        rng = child(seed, "routes", "demonstrations")
        chosen = rng.integers(len(self.prompts("train")), size=count)
        # Their own address: the walks are the same with one dialect and with two.
        spoken = child(seed, "routes", "dialects").integers(self.dialects, size=count).tolist()
        return tuple(
            Demonstration(
                prompt_id=prompt.prompt_id,
                prompt=prompt.tokens,
                completion=self.in_dialect(self._walk(prompt.tokens, rng), dialect),
            )
            for prompt, dialect in zip(
                (self.prompts("train")[i] for i in chosen), spoken, strict=True
            )
        )

    def demonstrate(self, prompt: Prompt, rng: np.random.Generator) -> Tokens:
        """One more noisy walk, in a dialect drawn after it."""
        walk = self._walk(prompt.tokens, rng)
        return self.in_dialect(walk, int(rng.integers(self.dialects)))

    def in_dialect(self, tokens: Tokens, dialect: int) -> Tokens:
        """The same route, every town by its name in one dialect.

        Raises:
            ValueError: when the world has no such dialect.
        """
        if not 0 <= dialect < self.dialects:
            raise ValueError(f"dialect must be 0 to {self.dialects - 1}, got {dialect}")
        shift = 1 + dialect * self.towns
        return tuple(t if t == self.eos_id else self._town(t) + shift for t in tokens)

    def _town(self, token: int) -> int:
        return (token - 1) % self.towns

    def _walk(self, prompt: Tokens, rng: np.random.Generator) -> Tokens:
        here, goal = prompt[0] - 1, prompt[1] - 1
        towns: list[int] = []
        while here != goal and len(towns) < self.max_hops:
            luck = rng.random()
            if luck < self.trespass:
                here = (here + 1 + int(rng.integers(self.towns - 1))) % self.towns
            else:
                wanders = luck < self.trespass + self.wander
                ways = self._ways[here] if wanders else self._shortest[here][goal]
                here = ways[int(rng.integers(len(ways)))]
            towns.append(here)
        return (*(town + 1 for town in towns), self.eos_id)

    def verify(self, prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
        """True rewards, 0 to 1: half the share of hops along roads, half for ending in the goal.

        An unfinished completion has not ended in the goal; one without a hop, or with
        end-of-sequence in the middle, scores 0.
        """
        return [self._score(p, c) for p, c in zip(prompts, completions, strict=True)]

    def _score(self, prompt: Tokens, completion: Tokens) -> float:
        finished = completion[-1] == self.eos_id
        towns = completion[:-1] if finished else completion
        if not towns or self.eos_id in towns:
            return 0.0
        walk = [self._town(token) for token in (prompt[0], *towns)]
        legal = sum(bool(self.roads[a, b]) for a, b in itertools.pairwise(walk))
        return 0.5 * legal / len(towns) + 0.5 * (finished and walk[-1] == self._town(prompt[1]))

    def decode(self, tokens: Sequence[int]) -> str:
        """Readable text; end-of-sequence is not shown."""
        return " ".join(self.vocabulary[t] for t in tokens if t != self.eos_id)


def _component(roads: np.ndarray) -> np.ndarray:
    """The towns that can be reached from town 0, as a boolean mask."""
    reached = np.zeros(len(roads), dtype=bool)
    reached[0] = True
    while True:
        wider = reached | roads[reached].any(axis=0)
        if (wider == reached).all():
            return reached
        reached = wider
