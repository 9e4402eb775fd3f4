"""Built-in tasks whose true reward is known: prompts, demonstrators and a verifier."""

from __future__ import annotations

from allroads.data.worlds.routes import Routes
from allroads.errors import ConfigError, nearest

WORLDS = {"routes": Routes}


def make_world(name: str, **options: float | int) -> Routes:
    """A world by name; `options` are its dials.

    Raises:
        ConfigError: for an unknown world, with the nearest valid name.
    """
    if name not in WORLDS:
        raise ConfigError(f"world {name!r} is unknown: {nearest(name, WORLDS)}")
    return WORLDS[name](**options)  # type: ignore[arg-type]


__all__ = ["WORLDS", "Routes", "make_world"]
