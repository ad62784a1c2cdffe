"""A queue that serves groups round-robin, and each group in order of arrival."""

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
        self._group_of: dict[T, Hashable] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._group_of))

    def add(self, item: T, group: Hashable = None) -> None:
        """Put `item` at the end of its group."""
        self._group_of[item] = group
        self._groups.setdefault(group, OrderedDict())[item] = None

    def pop(self) -> T:
        """Take the first item of the next group. That group is served again after all others."""
        group, items = self._groups.popitem(last=False)
        item, _ = items.popitem(last=False)
        del self._group_of[item]
        if items:  # to the end of the order of groups
            self._groups[group] = items
        return item

    def discard(self, item: T) -> None:
        """Take `item` out if it is in the queue."""
        if item not in self._group_of:
            return
        group = self._group_of.pop(item)
        items = self._groups[group]
        del items[item]
        if not items:
            del self._groups[group]
