"""Who is next: groups take turns, and within a group the first is served first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class FairQueue(Generic[T]):
    """A queue in which every group that waits is served once before one of them is served twice.

    All operations take constant time, `discard` included, so that thousands can be cancelled at once.
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[Hashable, OrderedDict[T, None]] = OrderedDict()
        self._homes: dict[T, Hashable] = {}

    def __len__(self) -> int:
        return len(self._homes)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._homes))

    def add(self, item: T, group: Hashable = None) -> None:
        """Put `item` at the end of its group."""
        self._homes[item] = group
        self._groups.setdefault(group, OrderedDict())[item] = None

    def pop(self) -> T:
        """Take the first of the group whose turn it is. That group's next turn comes after all others."""
        group, items = self._groups.popitem(last=False)
        item, _ = items.popitem(last=False)
        del self._homes[item]
        if items:
            self._groups[group] = items
        return item

    def discard(self, item: T) -> None:
        """Take `item` out, if it is there."""
        if item not in self._homes:
            return
        group = self._homes.pop(item)
        items = self._groups[group]
        del items[item]
        if not items:
            del self._groups[group]
