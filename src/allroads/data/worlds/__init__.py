"""Tasks whose true reward is known: prompts, demonstrators and a verifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from allroads.data.worlds.preimage import Preimage
from allroads.data.worlds.reasoning import Reasoning
from allroads.data.worlds.routes import Routes
from allroads.data.worlds.scitldr import SciTldr
from allroads.data.worlds.secret import Secret
from allroads.data.worlds.sentiment import Sentiment
from allroads.data.worlds.synthetic import Draws, Synthetic
from allroads.data.worlds.userfile import UserFile
from allroads.data.worlds.world import World
from allroads.errors import ConfigError, nearest

WORLDS: dict[str, type[Routes] | type[Sentiment] | type[SciTldr]] = {
    "routes": Routes,
    "sentiment": Sentiment,
    "scitldr": SciTldr,
}
"""Those that are whole."""
TASKS: dict[str, type[Preimage] | type[Secret] | type[Reasoning]] = {
    "preimage": Preimage,
    "secret": Secret,
    "reasoning": Reasoning,
}
"""Those that `Synthetic` makes whole."""

_MADE_BY_THE_LAB = ("model", "cache")
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "a text"),
    "str | None": (str, "a text"),
}


def names() -> list[str]:
    """The built-in worlds."""
    return [*WORLDS, *TASKS]


def is_file(name: str) -> bool:
    """Whether a world's name is that of a user's file."""
    return name.endswith(".py")


def is_known(name: str) -> bool:
    """Whether there is such a world; a user's file is not opened."""
    return is_file(name) or name in names()


def needs_model(name: str) -> bool:
    """Whether a world needs the user's base model."""
    return name in WORLDS and WORLDS[name].needs_model


def title(name: str) -> str:
    """What a reader calls a world."""
    return f"the world in {name}" if is_file(name) else f"the built-in world {name!r}"


def make_world(
    name: str, *, model: str | None = None, cache: Path | None = None, **options: float | int | str
) -> World:
    """A world by name.

    Args:
        name: one of `names()`, or a user's file FILE.py (see `userfile`).
        model: folder of the base model, for a world that needs one.
        cache: folder in which such a world may keep what is slow to make.
        **options: its dials.

    Raises:
        ConfigError: for an unknown world, with the nearest valid name; for an unknown dial, and for
            a dial that cannot stand there.
    """
    if not is_known(name):
        raise ConfigError(
            f"world {name!r} is unknown: {nearest(name, names())}, or a file of yours: FILE.py"
        )
    check_options(name, options)
    given: dict[str, Any] = dict(options)
    if name in WORLDS:
        if WORLDS[name].needs_model:
            given |= {"model": model, "cache": cache}
        return WORLDS[name](**given)
    common = {key: given.pop(key) for key in list(given) if key in _dials(Draws)}
    task = UserFile(name) if is_file(name) else TASKS[name](**given)
    return Synthetic(task, dataclasses.replace(task.usual, **common))


def dials(name: str) -> list[str]:
    """The options of a world."""
    return list(_all_dials(name))


def _all_dials(name: str) -> dict[str, str]:
    if name in WORLDS:
        return _dials(WORLDS[name])
    own = {} if is_file(name) else _dials(TASKS[name])
    return own | _dials(Draws)


def _dials(made: type) -> dict[str, str]:
    """The type of each dial, as it is written."""
    fields = dataclasses.fields(made)
    return {
        dial.name: str(dial.type)
        for dial in fields
        if dial.init and dial.name not in _MADE_BY_THE_LAB
    }


def check_options(name: str, options: Mapping[str, object]) -> None:
    """See that a world has these dials, of these types; their values it checks itself.

    Raises:
        ConfigError: with the nearest valid name, or the type that is expected.
    """
    types = _all_dials(name)
    for key, value in options.items():
        if key not in types:
            raise ConfigError(f"unknown key 'world_options.{key}': {nearest(key, types)}")
        kind, expected = _KINDS[types[key]]
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ConfigError(f"world_options.{key}: expected {expected}, got {value!r}")


__all__ = [
    "TASKS",
    "WORLDS",
    "Draws",
    "Preimage",
    "Reasoning",
    "Routes",
    "SciTldr",
    "Secret",
    "Sentiment",
    "Synthetic",
    "UserFile",
    "World",
    "check_options",
    "dials",
    "is_file",
    "is_known",
    "make_world",
    "names",
    "needs_model",
    "title",
]
