"""Built-in tasks whose true reward is known: prompts, demonstrators and a verifier."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from allroads.data.worlds.routes import Routes
from allroads.data.worlds.scitldr import SciTldr
from allroads.data.worlds.sentiment import Sentiment
from allroads.data.worlds.world import World
from allroads.errors import ConfigError, nearest

WORLDS: dict[str, type[Routes] | type[Sentiment] | type[SciTldr]] = {
    "routes": Routes,
    "sentiment": Sentiment,
    "scitldr": SciTldr,
}


def make_world(
    name: str, *, model: str | None = None, cache: Path | None = None, **options: float | int | str
) -> World:
    """A world by name.

    Args:
        name: a key of `WORLDS`.
        model: folder of the base model, for a world that needs one.
        cache: folder in which such a world may keep what is slow to make.
        **options: its dials.

    Raises:
        ConfigError: for an unknown world, with the nearest valid name.
    """
    if name not in WORLDS:
        raise ConfigError(f"world {name!r} is unknown: {nearest(name, WORLDS)}")
    given: dict[str, Any] = dict(options)
    if WORLDS[name].needs_model:
        given |= {"model": model, "cache": cache}
    return WORLDS[name](**given)


def dials(name: str) -> list[str]:
    """The options of a world."""
    fields = dataclasses.fields(WORLDS[name])
    return [dial.name for dial in fields if dial.init and dial.name not in ("model", "cache")]


__all__ = ["WORLDS", "Routes", "SciTldr", "Sentiment", "World", "dials", "make_world"]
