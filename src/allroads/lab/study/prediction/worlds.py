"""The worlds of the calibration study: dials of difficulty, pairs, noise and start policies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from allroads.lab.study.variants import Grid, Variant, longer
from allroads.roads.atlas import Recipe
from allroads.roads.stage import Schedule

_QUICK = Recipe(
    sft=Schedule(epochs=6, learning_rate=3e-3),
    reward=Schedule(epochs=4, learning_rate=2e-3),
    policy=Schedule(epochs=2, learning_rate=1e-3),
    online=Schedule(rounds=120, learning_rate=1e-3),
    reading="head-sum",
)
"""That of all synthetic worlds with twice the online rounds: 480 in the end, 240 in the studies.
With 120 RLOO is hardly begun where much has to be learnt (docs/diagnosis-study.md)."""
_GRIDS = {
    "rloo": Grid(rates=(1.0,), betas=(0.3, 0.7, 1.5, 3.0)),
    "online-dpo": Grid(rates=(0.3,), betas=(0.3, 1.0, 3.0, 10.0)),
}
"""As many settings as offline. In so many rounds RLOO comes to the same places at a lower rate,
later; which beta is right depends on how much a reward model has learnt, and varies by a factor of
ten. Online DPO leaves its reach at the recipe's rate on some worlds, whichever of these betas it
has (docs/diagnosis-study.md, the fourth study's plan)."""
_PATIENT = 3
"""Times the epochs of reward models where the studies need it too; see `variants`."""
_USUAL: dict[str, tuple[str, dict[str, Any], int]] = {
    "routes": ("routes", {"test_prompts": 200, "selection_prompts": 100}, 1),
    "hop": (
        "routes",
        {
            "towns": 96,
            "neighbours": 10,
            "max_hops": 1,
            "test_prompts": 200,
            "selection_prompts": 100,
        },
        _PATIENT,
    ),
    "preimage": ("preimage", {"symbols": 4}, _PATIENT),
    "secret": ("secret", {}, _PATIENT),
    "palindrome": ("reasoning", {}, 1),
    "spell": (
        "reasoning",
        {"task": "spell_backward", "slip": 0.15, "config": "min_word_len=3, max_word_len=5"},
        1,
    ),
    "change": ("docs/worlds/change.py", {}, 1),
    "brackets": ("docs/worlds/brackets.py", {"slip": 0.1}, 1),
    "sort": ("docs/worlds/sort.py", {"slip": 0.15}, 1),
    "colour": ("docs/worlds/colour.py", {"slip": 0.05}, 1),
    "sum": ("docs/worlds/sum.py", {"slip": 0.1}, 1),
    "clauses": ("docs/worlds/clauses.py", {"slip": 0.05}, 1),
    "knight": (
        "docs/worlds/knight.py",
        {"slip": 0.15, "test_prompts": 200, "selection_prompts": 100},
        1,
    ),
    "tables": ("docs/worlds/tables.py", {"slip": 0.4}, 1),
    # Tasks of reasoning-gym that nobody here has written.
    "jumble": (
        "reasoning",
        {
            "task": "letter_jumble",
            "config": "min_words=1, max_words=1, min_word_len=3, max_word_len=5",
        },
        1,
    ),
    "shortest": (
        "reasoning",
        {
            "task": "shortest_path",
            "config": "min_rows=4, max_rows=4, min_cols=4, max_cols=4",
        },
        1,
    ),
    "sudoku": ("reasoning", {"task": "mini_sudoku", "config": "min_empty=4, max_empty=6"}, 1),
}
_FAMILY = {"hop": "routes"}
"""What belongs to a family of another name."""
_FEW, _SOME, _MANY = 400, 1000, 3000
"""Training pairs."""


def _world(
    base: str, says: str, pairs: int = _SOME, demonstrations: int = 6000, **options: Any
) -> tuple[str, Variant]:
    world, usual, patience = _USUAL[base]
    name = f"{base}-{says}"
    return _FAMILY.get(base, base), Variant(
        name=name,
        says=says,
        world=world,
        options={**usual, **options},
        sizes={
            "demonstrations": demonstrations,
            "pairs": pairs,
            "selection_pairs": 800,
            "test_pairs": 600,
        },
        recipe=longer(_QUICK, patience),
        betas=(0.3, 1.0),
        grids=_GRIDS,
        ns=(_N,),
        # One answer, and no mean over a larger pool: P(its reward is higher) needs an answer's.
        pool=_N,
    )


_N = 8
"""Of best-of-N."""
_NOISY = 4.0
"""A label temperature at which about a third of the labels of near answers are wrong."""
_ALL = (
    _world("routes", "few", _FEW),
    _world("routes", "some"),
    _world("routes", "many", _MANY),
    _world("routes", "noisy", _MANY, label_temperature=_NOISY),
    _world("routes", "poor", wander=0.8, trespass=0.3),
    _world("routes", "good", wander=0.3, trespass=0.05),
    _world("hop", "few", _FEW),
    _world("hop", "many", _MANY),
    _world("preimage", "copy", steps=0),
    _world("preimage", "one-few", _FEW, steps=1),
    _world("preimage", "one", steps=1),
    _world("preimage", "one-many", _MANY, steps=1),
    _world("preimage", "one-noisy", _MANY, steps=1, label_temperature=_NOISY),
    _world("preimage", "two", _MANY, steps=2),
    _world("preimage", "hinted", steps=1, hint=8),
    _world("preimage", "poor", steps=1, slip=0.5),
    _world("secret", "few", _FEW),
    _world("secret", "some"),
    _world("secret", "many", _MANY),
    _world("secret", "noisy", _MANY, label_temperature=_NOISY),
    _world("secret", "poor", slip=0.7),
    _world("secret", "good", slip=0.2),
    _world("secret", "rouge", similarity="rouge-l"),
    _world("palindrome", "few", _FEW),
    _world("palindrome", "some"),
    _world("palindrome", "many", _MANY),
    _world("palindrome", "noisy", _MANY, label_temperature=_NOISY),
    _world("palindrome", "poor", slip=0.3),
    _world("palindrome", "good", slip=0.03),
    _world("spell", "few", _FEW),
    _world("spell", "some"),
    _world("spell", "many", _MANY),
    _world("spell", "noisy", _MANY, label_temperature=_NOISY),
    _world("spell", "poor", slip=0.4),
    _world("spell", "long", config="min_word_len=4, max_word_len=8"),
    _world("change", "few", _FEW),
    _world("change", "some"),
    _world("change", "many", _MANY),
    _world("change", "noisy", _MANY, label_temperature=_NOISY),
    _world("change", "poor", slip=0.2),
    _world("brackets", "few", _FEW),
    _world("brackets", "some"),
    _world("brackets", "many", _MANY),
    _world("brackets", "poor", slip=0.3),
    _world("sort", "few", _FEW),
    _world("sort", "many", _MANY),
    _world("sort", "poor", slip=0.3),
    _world("colour", "few", _FEW),
    _world("colour", "many", _MANY),
    _world("colour", "noisy", _MANY, label_temperature=_NOISY),
    _world("sum", "few", _FEW),
    _world("sum", "many", _MANY),
    _world("sum", "poor", slip=0.25),
    _world("clauses", "few", _FEW),
    _world("clauses", "many", _MANY),
    _world("clauses", "noisy", _MANY, label_temperature=_NOISY),
    _world("knight", "few", _FEW),
    _world("knight", "some"),
    _world("knight", "many", _MANY),
    _world("tables", "few", _FEW),
    _world("tables", "some"),
    _world("tables", "many", _MANY),
    _world("jumble", "some"),
    _world("jumble", "many", _MANY),
    _world("shortest", "some"),
    _world("shortest", "many", _MANY),
    _world("sudoku", "some"),
    _world("sudoku", "many", _MANY),
)


def _in_turns(worlds: Sequence[tuple[str, Variant]]) -> Iterator[tuple[str, Variant]]:
    """Families take turns, so that a study that is stopped has worlds of all."""
    families: dict[str, list[tuple[str, Variant]]] = defaultdict(list)
    for one in worlds:
        families[one[0]].append(one)
    for turn in zip_longest(*families.values()):
        yield from (one for one in turn if one is not None)


FAMILIES = {variant.name: family for family, variant in _ALL}
"""By world."""
WORLDS = {variant.name: variant for _, variant in _in_turns(_ALL)}
"""By name, in the order in which they are run."""
