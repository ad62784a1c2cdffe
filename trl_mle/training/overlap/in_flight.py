"""Completions whose programs are still running: the record of each, and which groups may be trained on."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

GroupKey = tuple[int, int]
"""Number of the generation batch, and place of the group in it."""


@dataclass
class Row:
    """One completion of this process, from its generation until it is trained on or given up.

    Attributes:
        group: key of its group.
        position: row of the global generation batch.
        generated_at: optimizer steps done when it was generated.
        inputs: row of the dataset.
        old_logps: log-probability of each token under the policy that wrote it.
        sampling_logps: log-probability of each token as the inference engine reports it, if there is one.
        rewards: one per reward function; `None` while the program runs, and for good if it was stopped.
        columns, metrics: values that reward functions log.
        uneven: columns with another number of values than one. They belong to no completion, as in TRL.
        scored_by: names of the reward functions, in the order of `rewards`.
        waited_s: seconds from generation to result or, for a stopped program, to its stop; queues included.
        lost: it has no rewards, and never will.
        given_up: it is lost as an infrastructure fault, see `overlap/stragglers.py`. Its group is trained on without it.
        limit_s: seconds after which it is given up; `None` for no limit.
        began: when it was generated, by the monotonic clock.
        future: result of the reward functions while they run.
    """

    group: GroupKey
    position: int
    generated_at: int
    inputs: dict[str, Any]
    prompt_ids: list[int]
    completion_ids: list[int]
    completion: Any
    tool_mask: list[int] | None
    sampling_logps: list[float] | None
    old_logps: list[float]
    rewards: list[float | None] | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    uneven: dict[str, list] = field(default_factory=dict)
    scored_by: list[str] = field(default_factory=list)
    waited_s: float | None = None
    lost: bool = False
    given_up: bool = False
    limit_s: float | None = None
    began: float = field(default_factory=time.monotonic, repr=False)
    future: Future | None = field(default=None, repr=False)

    def plain(self) -> dict[str, Any]:
        """All fields except those of the running program, for a checkpoint that is loaded with `weights_only=True`."""
        names = (item.name for item in fields(self) if item.name not in ("began", "future"))
        return {name: _without_numpy(getattr(self, name)) for name in names}

    def rewards_for(self, names: list[str]) -> list[float | None]:
        """One reward for each of the functions `names`, which may have changed since the completion was scored."""
        if self.rewards is None:
            return [None] * len(names)
        known = dict(zip(self.scored_by, self.rewards, strict=False))
        if self.scored_by != names and len(known) == len(self.rewards) and not known.keys().isdisjoint(names):
            return [known.get(name) for name in names]
        # A function that took another one's place; names may also be missing or twice.
        return (self.rewards + [None] * len(names))[: len(names)]

    def stop(self) -> None:
        """Stop the program, if it still runs, and give up its result."""
        self.lost, self.rewards = True, None
        # It is set if the reward functions have succeeded since the last look.
        if self.waited_s is None:
            self.waited_s = time.monotonic() - self.began
        if self.future is not None:
            # This stops the program of an `async` reward function. A thread cannot be stopped; its result is ignored.
            self.future.cancel()
            self.future = None

    def give_up_if_due(self) -> bool:
        """Give up the program if it still runs after `limit_s`. Returns whether it was given up now."""
        if self.future is None or self.future.done() or self.limit_s is None:
            return False
        if time.monotonic() - self.began < self.limit_s:
            return False
        self.stop()
        self.given_up = True
        return True


@dataclass
class Group:
    """A group, as every process knows it: completions of one prompt, whose rewards are compared with each other.

    Attributes:
        layout: process of each of its rows. A group can take the place of another one with the same layout.
        generated_at: optimizer steps done when it was generated.
        finished: positions of the rows that have a result, or were given up as infrastructure faults.
    """

    layout: tuple[int, ...]
    generated_at: int
    finished: set[int] = field(default_factory=set)

    @property
    def is_finished(self) -> bool:
        return len(self.finished) == len(self.layout)


def collect(row: Row) -> bool:
    """Move a result that is there from the future into the row. Returns whether the row has a result, or will have none.

    Raises:
        Exception: the error of a reward function.
    """
    if row.future is not None and row.future.done():
        scores = row.future.result()
        row.rewards, row.columns, row.metrics, row.uneven = (
            scores.rewards,
            scores.columns,
            scores.metrics,
            scores.uneven,
        )
        row.future = None
    return row.rewards is not None or row.given_up


def _without_numpy(value: Any) -> Any:
    """`value` with plain numbers and lists instead of NumPy's, also within dicts, lists and tuples."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _without_numpy(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_without_numpy, value))
    return value
