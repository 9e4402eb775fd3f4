"""allroads: train every road from preferences to policy on the same footing, measure which pays."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("allroads")
except PackageNotFoundError:
    __version__ = "0"

if TYPE_CHECKING:
    from allroads.api import compare as compare
    from allroads.api import diagnose as diagnose
    from allroads.api import export as export
    from allroads.api import judge as judge
    from allroads.api import open_run as open_run
    from allroads.api import roads as roads
    from allroads.api import train as train

__all__ = ["__version__", "compare", "diagnose", "export", "judge", "open_run", "roads", "train"]


def __getattr__(name: str) -> Any:
    # torch is imported on first use, so that `import allroads` and `allroads --help` are instant.
    if name in ("compare", "diagnose", "export", "judge", "open_run", "roads", "train"):
        from allroads import api

        return getattr(api, name)
    raise AttributeError(f"module 'allroads' has no attribute {name!r}")
