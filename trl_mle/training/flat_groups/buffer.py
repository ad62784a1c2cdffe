"""Groups with differing rewards of recent batches, kept to take the place of groups without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trl_mle.training.flat_groups.rows import Row

BATCHES_KEPT = 4
"""Bound of the buffer, in groups of a generation batch."""

Layout = tuple[int, ...]
"""Process of each row of a group. A group can take the place of another one with the same layout."""


@dataclass
class KeptGroup:
    """A group of the buffer, as every process knows it.

    Attributes:
        number: counts the groups that were ever kept.
        layout: process of each of its rows.
        trained_at: optimizer steps done when it was first trained on.
        uses: how often it has taken the place of another group.
    """

    number: int
    layout: Layout
    trained_at: int
    uses: int = 0


class GroupBuffer:
    """The newest groups of a run whose rewards differ. All processes have the same groups, each of them its own rows.

    Args:
        max_age (`int`):
            Optimizer steps since a group was first trained on, up to which it may be trained on again.
        max_uses (`int`):
            How often a group may be trained on again.
    """

    def __init__(self, max_age: int, max_uses: int):
        self.max_age = max_age
        self.max_uses = max_uses
        self.groups: list[KeptGroup] = []
        """Oldest first."""
        self._rows: dict[int, list[Row]] = {}
        self._next_number = 0

    def choose(self, layouts: Sequence[Layout], step: int) -> list[KeptGroup | None]:
        """A group for each of `layouts`, or `None` where no group fits; counts their uses.

        A group is chosen once at most. Those that were used least come first, and the newest of them, whose policy is most like
        the present one.
        """
        fit = [group for group in self.groups if self._is_useful(group, step)]
        fit.sort(key=lambda group: (group.uses, -group.number))
        chosen: list[KeptGroup | None] = []
        for layout in layouts:
            group = next((group for group in fit if group.layout == layout), None)
            if group is not None:
                fit.remove(group)
                group.uses += 1
            chosen.append(group)
        return chosen

    def rows(self, group: KeptGroup) -> list[Row]:
        """This process's rows of `group`, in order."""
        return self._rows[group.number]

    def keep(self, groups: Sequence[tuple[Layout, list[Row]]], step: int, limit: int) -> None:
        """Add the groups of a batch, each with this process's rows, and forget those of no more use.

        Args:
            limit (`int`):
                Largest number of groups; the oldest make room.
        """
        for layout, rows in groups:
            self.groups.append(KeptGroup(self._next_number, layout, step))
            self._rows[self._next_number] = rows
            self._next_number += 1
        useful = [group for group in self.groups if self._is_useful(group, step)]
        self.groups = useful[-limit:] if limit > 0 else []
        self._rows = {group.number: self._rows[group.number] for group in self.groups}

    def _is_useful(self, group: KeptGroup, step: int) -> bool:
        # A negative age is that of a group from before the trainer went back to an earlier checkpoint.
        return group.uses < self.max_uses and 0 <= step - group.trained_at <= self.max_age

    def clear(self) -> None:
        """Forget all groups."""
        self.groups, self._rows = [], {}

    def summary(self) -> list[tuple[int, Layout, int, int]]:
        """What is the same on every process, as plain values."""
        return [(group.number, group.layout, group.trained_at, group.uses) for group in self.groups]

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint of this process needs."""
        groups = [(number, list(layout), trained_at, uses) for number, layout, trained_at, uses in self.summary()]
        return {"groups": groups, "rows": self._rows, "next": self._next_number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.groups = [KeptGroup(number, tuple(layout), *rest) for number, layout, *rest in state["groups"]]
        self._rows = dict(state["rows"])
        self._next_number = state["next"]
