"""Pool: the programs of one task that may be parents, and questions about them that take time in the logarithm of their number.

The order of insertion is known by `number` (1, 2, 3 ... without gaps), not by `id`. So a resumed run, whose ids are others, draws
the same programs. Random numbers come from `rng.random()` alone, which gives the same ones in every version of Python.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from trl_mle.errors import StoreError

Item = TypeVar("Item")

TEMPERATURE = 0.25
"""Of `by_rank`: the best of many has exp(1 / 0.25) = 55 times the probability of the last one."""


class Candidate(NamedTuple):
    """A program that may be a parent."""

    id: int
    number: int
    reward: float
    features: str
    recent_children: float
    """Tries to improve it; earlier ones count less."""
    recent_better: float
    """Those of them that did."""


_COLUMNS = ", ".join(Candidate._fields)


class Pool:
    """The distinct valid programs of one task, within one transaction."""

    def __init__(self, db: sqlite3.Connection, task_id: str):
        self._db = db
        self._task = task_id
        row = db.execute(
            "SELECT candidates, recent_children, recent_better FROM tasks WHERE task_id = ?", (task_id,)
        ).fetchone()
        self.size: int
        self.recent_children: float
        self.recent_better: float
        self.size, self.recent_children, self.recent_better = row or (0, 0.0, 0.0)

    def newest(self) -> Candidate:
        """The program that was found last."""
        return self._numbered([self.size])[0]

    def best(self, n: int, family: str | None = None) -> list[Candidate]:
        """The `n` best ones, of a family if one is given. Of equal rewards, the newer one comes first."""
        where, values = self._where(family)
        return self._select(f"{where} ORDER BY reward DESC, number DESC LIMIT ?", (*values, n))

    def progressing(self, n: int) -> list[Candidate]:
        """The `n` whose children were better most recently."""
        return self._select("task_id = ? AND progress IS NOT NULL ORDER BY progress DESC LIMIT ?", (self._task, n))

    def drawn(self, n: int, rng: random.Random) -> list[Candidate]:
        """`n` draws with equal probabilities; each program once."""
        return self._numbered([pick(self.size, rng) + 1 for _ in range(n)])

    def best_and_drawn(
        self, best: int, drawn: int, rng: random.Random, family: tuple[str, int] | None = None
    ) -> list[Candidate]:
        """The `best` best ones and `drawn` draws from all, best first; all of them if there are no more than that.

        `family` is the name of a family and the number of its members.
        """
        name, size = family or (None, self.size)
        if size <= best + drawn:
            return self.best(size, name)
        found = {candidate.id: candidate for candidate in self.best(best, name)}
        numbers = [pick(size, rng) + 1 for _ in range(drawn)]
        found.update((candidate.id, candidate) for candidate in self._numbered(numbers, name))
        return sorted(found.values(), key=lambda candidate: (-candidate.reward, -candidate.number))

    def families(self, n: int) -> list[tuple[str, int]]:
        """Name and number of members of the `n` families whose best programs are best, best first."""
        return self._db.execute(
            "SELECT family, members FROM families WHERE task_id = ? ORDER BY best_reward DESC, family DESC LIMIT ?",
            (self._task, n),
        ).fetchall()

    def _numbered(self, numbers: Sequence[int], family: str | None = None) -> list[Candidate]:
        where, values = self._where(family)
        column = "number" if family is None else "family_number"
        found = [self._select(f"{where} AND {column} = ?", (*values, number)) for number in sorted(set(numbers))]
        if not all(found):
            raise self._damaged()
        return [candidates[0] for candidates in found]

    def _where(self, family: str | None) -> tuple[str, tuple[str, ...]]:
        return (
            ("task_id = ?", (self._task,)) if family is None else ("task_id = ? AND family = ?", (self._task, family))
        )

    def _select(self, where: str, values: tuple) -> list[Candidate]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM candidates WHERE {where}", values).fetchall()
        if any(None in row for row in rows):
            raise self._damaged()
        return [Candidate(*row) for row in rows]

    def _damaged(self) -> StoreError:
        # An index that does not fit its table is found by no quick check.
        return StoreError(
            f"The experience store is damaged in the programs of the task {self._task!r}. Restore it from a copy or an export."
        )


def pick(size: int, rng: random.Random) -> int:
    """A whole number from 0 to `size - 1`."""
    return min(int(rng.random() * size), size - 1)


def by_rank(items: Sequence[Item], rng: random.Random, temperature: float = TEMPERATURE) -> Item:
    """One of `items`, which stand in order of quality, best first: a softmax over ranks.

    `P(i)` is proportional to `exp(-i / (n * temperature))` for `i = 0 ... n - 1`. Ranks, unlike rewards, need no scale: a
    task whose rewards differ in the third digit is treated as one whose rewards go from -1 to 1.
    """
    return weighted(items, [math.exp(-index / (len(items) * temperature)) for index in range(len(items))], rng)


def weighted(items: Sequence[Item], weights: Sequence[float], rng: random.Random) -> Item:
    """One of `items`, with probabilities in proportion to `weights`."""
    left = rng.random() * math.fsum(weights)
    for item, weight in zip(items, weights, strict=True):
        left -= weight
        if left < 0:
            return item
    return items[-1]
