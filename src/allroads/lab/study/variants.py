"""The worlds of the studies with their dials set: where the hypotheses are tested."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from transformers import AutoConfig

from allroads.data import worlds
from allroads.errors import ConfigError, nearest
from allroads.lab.config import CompareConfig, build_config, recipe_for
from allroads.lab.defaults import defaults_of
from allroads.lab.prepare import WorldSizes
from allroads.models.hub import located
from allroads.roads.atlas import Recipe, atlas
from allroads.roads.choices import Choice
from allroads.roads.stage import Road

START = "sft"
"""The arm that all others start from."""
ONCE, AGAIN = "dpo", "dpo-again"
"""Two runs of one road, for the A/A test."""
RATES = (1.0, 0.3)
"""Factors on the learning rate that arms are tried with."""
EVAL_PROMPTS = 200
"""Held-out prompts that every policy answers; the same for all seeds."""


class Grid(Choice):
    """What an arm is tuned over: every beta at every learning rate."""

    rates: tuple[float, ...] = RATES
    """Factors on the recipe's learning rates."""
    betas: tuple[float, ...] = ()
    """None: the variant's."""


class Variant(Choice):
    """A world with its dials set, and how much is drawn for one seed."""

    name: str
    says: str
    """What is special about it, in one phrase."""
    world: str
    options: dict[str, float | int | str] = Field(default_factory=dict)
    """Dials that differ from the world's own defaults."""
    sizes: dict[str, Any] = Field(default_factory=dict)
    """Fields of `WorldSizes` that differ from the world's own defaults."""
    flawless: dict[str, float] = Field(default_factory=lambda: {"wander": 0.0, "trespass": 0.0})
    """Dials with which the demonstrators make no error."""
    counts: float = 0.03
    """The smallest difference of true reward that counts here; fixed before any confirming run."""
    recipe: Recipe | None = None
    """By default the world's, or of the model's width, with longer policy stages."""
    patience: int = 1
    """Times that recipe's epochs of reward models: of 1 and 3 what orders held-out pairs better by
    0.02, with seed 900."""
    betas: tuple[float, ...] = (0.3, 0.7, 1.5)
    grids: dict[str, Grid] = Field(default_factory=dict)
    """Of arms that are tuned over something else than all betas at `RATES`, by name."""
    most_seeds: int = 8
    """A study of it reads the first so many of its seeds at most: real text is dear."""
    ns: tuple[int, ...] = (2, 8, 32)
    """Of best-of-N."""
    pool: int = 0
    """Samples of a prompt that those expectations are over; 0: twice the largest N."""

    @property
    def needs_model(self) -> bool:
        """Whether the user has to bring a base model."""
        return worlds.needs_model(self.world)

    def grid(self, arm: str) -> Grid:
        """What an arm is tuned over."""
        return self.grids.get(arm, Grid())

    def config(
        self,
        roads: tuple[str, ...],
        seeds: tuple[int, ...],
        *,
        rate: float = 1.0,
        betas: tuple[float, ...] = (),
        model: str | None = None,
        papers: str | None = None,
        processes: int = 1,
    ) -> CompareConfig:
        """The comparison of some roads on this world.

        Raises:
            ConfigError: when the world needs a model and none is given.

        Args:
            roads: names of the atlas.
            seeds: training seeds.
            rate: factor on the learning rates of all stages that make a policy from preferences
                or samples; likelihood and reward models, which roads share, keep theirs.
            betas: settings; none: the variant's.
            model: the base model's folder, for a world that needs one.
            papers: folder of scitldr's files.
            processes: worker processes.
        """
        if self.needs_model and model is None:
            raise ConfigError(f"the studies' world {self.name!r} needs --model DIR, a base model")
        recipe = self.recipe or longer(self._usual_recipe(model), self.patience)
        sizes = {**defaults_of(self.world).sizes, "test_pairs": 600, **self.sizes}
        return build_config(
            {
                "world": self.world,
                "model": model,
                "world_options": self.options | self._place(papers),
                "sizes": WorldSizes.model_validate(sizes),
                "roads": roads,
                "seeds": seeds,
                "betas": betas or self.betas,
                "ns": self.ns,
                "pool": self.pool or 2 * max(self.ns),
                "recipe": recipe.at_rate(rate),
                "custom": [again(recipe.at_rate(rate))] if AGAIN in roads else [],
                "eval_prompts": EVAL_PROMPTS,
                "snapshots": 2,
                "processes": processes,
            },
            origin=f"variant {self.name}",
        )

    def _place(self, papers: str | None) -> dict[str, str]:
        return {"folder": papers} if papers and self.world == "scitldr" else {}

    def _usual_recipe(self, model: str | None) -> Recipe:
        found = defaults_of(self.world).recipe
        if found is not None:
            return found
        assert model is not None
        return recipe_for(AutoConfig.from_pretrained(located(model)).get_text_config().hidden_size)


def again(recipe: Recipe) -> Road:
    """DPO under another name: the same data, start and choices, in another order of the rows."""
    road = atlas(START, recipe)[ONCE]
    last = road.last.model_copy(update={"name": AGAIN})
    return road.model_copy(update={"name": AGAIN, "stages": (*road.stages[:-1], last)})


def longer(recipe: Recipe, patience: int = 1) -> Recipe:
    """The quick recipe of a world, its online stages with 4 times the rounds, offline 3 the epochs.

    Neither is done in the quick time (beta 0.7, seed 900 of the exploration): on `routes` online
    DPO reaches 0.67 of true reward in 60 rounds and 0.74 in 240, on `routes-hop` DPO 0.77 in 2
    epochs and 0.85 in 6. More epochs can hurt, so that every arm is also tried half way.

    Args:
        recipe: the quick one.
        patience: factor on the epochs of reward models.
    """
    factors = {"reward": patience, "policy": 3}
    epochs = {
        name: getattr(recipe, name).model_copy(
            update={"epochs": factor * getattr(recipe, name).epochs}
        )
        for name, factor in factors.items()
    }
    online = recipe.online.model_copy(update={"rounds": 4 * recipe.online.rounds})
    return recipe.model_copy(update={**epochs, "online": online})


def _read_once(recipe: Recipe | None) -> Recipe:
    """`longer`, but each pair is read once, by whatever reads pairs."""
    assert recipe is not None
    once = {
        name: getattr(recipe, name).model_copy(update={"epochs": 1})
        for name in ("reward", "policy")
    }
    return longer(recipe).model_copy(update=once)


_NO_SLIP = {"slip": 0.0}
_ALL = (
    Variant(
        name="routes",
        says="verify with the list of roads, generate with a routing table",
        world="routes",
    ),
    Variant(
        name="routes-hop",
        says="goals one road away: finding a route is no more than verifying it",
        world="routes",
        options={
            "towns": 96,
            "neighbours": 10,
            "max_hops": 1,
            "test_prompts": 200,
            "selection_prompts": 100,
        },
        patience=3,
    ),
    Variant(
        name="secret",
        says="a hidden reference: who verifies has to know what who generates has to know",
        world="secret",
        flawless=_NO_SLIP,
        patience=3,
    ),
    Variant(
        name="secret-two",
        says="the same, each word of the reference hanging on two words of the prompt",
        world="secret",
        options={"reads": 2, "symbols": 4, "slip": 0.25},
        flawless=_NO_SLIP,
        patience=3,
    ),
    Variant(
        name="preimage-0",
        says="copy what is shown",
        world="preimage",
        options={"symbols": 4, "steps": 0},
        flawless=_NO_SLIP,
        patience=3,
    ),
    Variant(
        name="preimage-1",
        says="invert one step of a local map; verifying applies it",
        world="preimage",
        options={"symbols": 4, "steps": 1},
        flawless=_NO_SLIP,
        patience=3,
    ),
    Variant(
        name="preimage-2",
        says="invert two steps of a local map",
        world="preimage",
        options={"symbols": 4, "steps": 2},
        flawless=_NO_SLIP,
        patience=3,
    ),
    Variant(
        name="palindrome",
        says="arrange given letters so that they read the same backwards",
        world="reasoning",
        flawless=_NO_SLIP,
    ),
    Variant(
        name="spell",
        says="spell a word backwards",
        world="reasoning",
        options={
            "task": "spell_backward",
            "slip": 0.15,
            "config": "min_word_len=3, max_word_len=5",
        },
        flawless=_NO_SLIP,
    ),
    Variant(
        name="routes-third",
        says="pairs on a third of the prompts",
        world="routes",
        sizes={"pair_prompts": 1 / 3},
    ),
    Variant(
        name="routes-wide",
        says="pairs of many writers, good and bad",
        world="routes",
        sizes={"writers": "wide"},
    ),
    Variant(
        name="routes-poor",
        says="walkers that mostly wander: good routes are rare in the start policy",
        world="routes",
        options={"wander": 0.7, "trespass": 0.2},
    ),
    Variant(
        name="routes-dialects",
        says="towns with two names each; pairs use one, the start policy both",
        world="routes",
        options={"dialects": 2},
    ),
)
_TEXT = (
    Variant(
        name="sentiment",
        says="continue film reviews as positively as a classifier sees (with --model)",
        world="sentiment",
        flawless={},
        # A second reading of a pair is worse than a fresh pair: with seed 900 a reward model leaves
        # 0.607 nats of a held-out label after 4,500 pairs read once, 0.739 after 1,500 read twice.
        sizes={"pairs": 4500, "selection_pairs": 1800},
        recipe=_read_once(defaults_of("sentiment").recipe),
        most_seeds=3,
        counts=0.1,
        betas=(0.1, 0.3, 1.0),
    ),
    Variant(
        name="scitldr",
        says="summarise papers; the truth is ROUGE-L with hidden summaries (with --model)",
        world="scitldr",
        options={"title": 0},
        flawless={},
        most_seeds=3,
        counts=0.01,
        betas=(0.05, 0.2, 0.7),
    ),
    Variant(
        name="scitldr-two-words",
        says="name the two most telling words of a paper (with --model)",
        world="scitldr",
        options={"title": 0, "words": 2},
        flawless={},
        most_seeds=3,
        counts=0.01,
        betas=(0.05, 0.2, 0.7),
    ),
)
VARIANTS = {variant.name: variant for variant in (*_ALL, *_TEXT)}


def variant(name: str) -> Variant:
    """A variant by name.

    Raises:
        ConfigError: for an unknown one, with the nearest valid name.
    """
    if name not in VARIANTS:
        raise ConfigError(f"world {name!r} of the studies is unknown: {nearest(name, VARIANTS)}")
    return VARIANTS[name]
