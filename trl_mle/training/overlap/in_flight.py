"""Completions whose programs are still running: what is kept of each, which groups may be trained on, and who runs them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from trl.trainer.utils import is_async_callable, start_event_loop_in_daemon

from trl_mle.errors import DurationError
from trl_mle.training.distributed import checked_rewards

SYNC_THREADS = 32
"""Calls of reward functions that are not `async` which run at the same time, per process."""

GroupKey = tuple[int, int]
"""Generation batch and place in it."""


@dataclass
class Row:
    """One completion on its way, of this process.

    Attributes:
        group: generation batch and place of its group in it.
        position: row of the global generation batch.
        generated_at: optimizer steps done when it was generated.
        inputs: the dataset's row.
        old_logps: log-probability of each token under the policy that wrote it.
        sampling_logps: the same as the inference engine reports it, where there is one.
        rewards: one a reward function; `None` while the program runs, and for good if `lost`.
        columns, metrics: what reward functions logged.
        waited_s: seconds from generation to result, queues included; where the program was stopped, seconds until then.
        lost: training went on without its result.
        began: when it was generated, by the monotonic clock.
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
    waited_s: float | None = None
    lost: bool = False
    began: float = field(default_factory=time.monotonic, repr=False)
    future: Future | None = field(default=None, repr=False)

    def plain(self) -> dict[str, Any]:
        """Everything but the running program, for a checkpoint that is loaded with `weights_only=True`."""
        kept = (item.name for item in fields(self) if item.name not in ("began", "future"))
        return {name: _without_numpy(getattr(self, name)) for name in kept}

    def stop(self) -> None:
        """Stop the program, if it still runs, and go on without its result."""
        self.lost, self.rewards = True, None
        if self.waited_s is None:
            self.waited_s = time.monotonic() - self.began
        if self.future is not None:
            self.future.cancel()
            self.future = None


@dataclass
class Group:
    """What every process knows of a group: completions of one prompt, whose rewards are compared with each other.

    Attributes:
        layout: process of each of its rows; a group takes the place of one with the same layout.
        generated_at: optimizer steps done when it was generated.
        finished: positions of the rows that have a result.
    """

    layout: tuple[int, ...]
    generated_at: int
    finished: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Choice:
    """Groups to train on now, oldest first (empty while some are missing), and groups that are too old."""

    train: tuple[GroupKey, ...]
    drop: tuple[GroupKey, ...]


def choose_groups(
    groups: Mapping[GroupKey, Group], need: Counter[tuple[int, ...]], step: int, max_staleness: int, next_step: int
) -> Choice:
    """Which groups fill the next batch.

    A group is trained on when all its programs are through, because a baseline over those that came first would favour
    fast programs. At its last chance (an earlier step's, which would be too old at `next_step`) it is trained on without the
    programs that still run, which are lost, if at least two are through; they have nothing to be compared with otherwise. Past
    `max_staleness` it is dropped.

    Args:
        groups (mapping from key to [`Group`]): all that are alive.
        need (`Counter`): groups of each layout in a batch.
        step, next_step (`int`): optimizer steps done now, and when the batch after this one is trained on.
        max_staleness (`int`): optimizer steps that a group may be old.
    """
    drop, ready = [], defaultdict(list)
    for key, group in sorted(groups.items()):
        through = len(group.finished)
        # A group of this very step does not age while it is waited for.
        last_chance = group.generated_at < step and next_step - group.generated_at > max_staleness
        if step - group.generated_at > max_staleness or (last_chance and through < 2):
            drop.append(key)
        elif through == len(group.layout) or last_chance:
            ready[group.layout].append(key)
    if any(len(ready[layout]) < count for layout, count in need.items()):
        return Choice((), tuple(drop))
    return Choice(tuple(key for layout, count in need.items() for key in ready[layout][:count]), tuple(drop))


class RowRunner:
    """Calls the reward functions for one completion at a time, in the background.

    Args:
        reward_funcs: as of the trainer; `async` ones share its event loop, others run in threads.
        names: their names, for messages.
        loop: the trainer's event loop, if it has one.
    """

    def __init__(
        self, reward_funcs: Sequence[Callable], names: Sequence[str], loop: asyncio.AbstractEventLoop | None = None
    ):
        self.reward_funcs = list(reward_funcs)
        self.names = list(names)
        if loop is None:
            _, loop, ready = start_event_loop_in_daemon(name="trl-mle-overlap")
            ready.wait()
        self._loop = loop
        self._places = asyncio.Semaphore(SYNC_THREADS)

    def start(self, row: Row, trainer_state: Any) -> None:
        """Set `row.future`, whose result is `(rewards, columns, metrics)`."""
        row.future = asyncio.run_coroutine_threadsafe(self._score(row, trainer_state), self._loop)

    async def _score(self, row: Row, trainer_state: Any) -> tuple[list, dict, dict]:
        columns: dict[str, Any] = {}
        metrics: dict[str, list[float]] = defaultdict(list)

        def log_extra(column: str, values: list) -> None:
            if len(values) != 1 or column in columns:
                raise DurationError(
                    f'`log_extra("{column}", ...)` got {len(values) + (column in columns)} values for one completion. With '
                    "`overlap_execution` reward functions see one completion at a time; report one value, once."
                )
            columns[column] = values[0]

        kwargs = {
            **{name: [value] for name, value in row.inputs.items() if name not in ("prompt", "completion")},
            "prompts": [row.inputs["prompt"]],
            "completions": [row.completion],
            "completion_ids": [row.completion_ids],
            "trainer_state": trainer_state,
            "log_extra": log_extra,
            "log_metric": lambda name, value: metrics[name].append(value),
        }
        results = await asyncio.gather(*(self._call(func, kwargs) for func in self.reward_funcs))
        rewards = [checked_rewards(result, 1, name)[0] for result, name in zip(results, self.names, strict=True)]
        row.waited_s = time.monotonic() - row.began
        return rewards, columns, dict(metrics)

    async def _call(self, reward_func: Callable, kwargs: dict[str, Any]) -> Any:
        if is_async_callable(reward_func):
            return await reward_func(**kwargs)
        async with self._places:
            return await asyncio.wrap_future(_in_thread(lambda: reward_func(**kwargs)))


def _in_thread(call: Callable[[], Any]) -> Future:
    """The result of `call`, from a thread of its own. A thread cannot be stopped: one whose row was given up neither keeps
    other rows from running nor the process from ending, as those of a `ThreadPoolExecutor` would."""
    future: Future = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="trl-mle-reward", daemon=True).start()
    return future


def _without_numpy(value: Any) -> Any:
    """`value` with plain numbers and lists in place of NumPy's, in dicts, lists and tuples, too."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _without_numpy(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_without_numpy, value))
    return value


def collect(row: Row) -> bool:
    """Whether `row` has a result; moves it from the future into the row.

    Raises:
        Exception: what a reward function raised.
    """
    if row.future is not None and row.future.done():
        row.rewards, row.columns, row.metrics = row.future.result()
        row.future = None
    return row.rewards is not None
