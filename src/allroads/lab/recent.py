"""The last few things that were made, so that the next job need not make them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

Made = TypeVar("Made")


class Recent(Generic[Made]):
    """Keeps what was asked for last; what is not worth keeping lives while somebody uses it.

    Args:
        count: how many are kept.
        keep: which of them; all if not said.
    """

    def __init__(self, count: int, keep: Callable[[Made], bool] = lambda _: True) -> None:
        self._count, self._keep = count, keep
        self._kept: OrderedDict[Hashable, Made] = OrderedDict()
        self._alive: WeakValueDictionary[Hashable, Made] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made for this key, or what `make` makes now."""
        made = self._alive.get(key)
        if made is None:
            made = self._alive[key] = make()
        if self._keep(made):
            self._kept[key] = made
            self._kept.move_to_end(key)
            if len(self._kept) > self._count:
                self._kept.popitem(last=False)
        return made
