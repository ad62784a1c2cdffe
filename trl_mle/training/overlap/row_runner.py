"""Runs the reward functions of single completions in the background."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from trl.trainer.utils import is_async_callable, start_event_loop_in_daemon

from trl_mle.errors import DurationError
from trl_mle.training.distributed import checked_rewards
from trl_mle.training.overlap.in_flight import Row
from trl_mle.training.weighting.actions import rename_old_column, warn_of_old_column


class RowRunner:
    """Calls the reward functions for one completion at a time, in the background.

    Args:
        reward_funcs: those of the trainer. `async` ones share its event loop, others run in threads.
        names: names of the reward functions, for messages.
        loop: event loop of the trainer, if it has one.
        sync_threads: calls of reward functions that are not `async` which run at the same time, per process.
    """

    def __init__(
        self,
        reward_funcs: Sequence[Callable],
        names: Sequence[str],
        loop: asyncio.AbstractEventLoop | None = None,
        sync_threads: int = 32,
    ):
        self.reward_funcs = list(reward_funcs)
        self.names = list(names)
        if loop is None:
            _, loop, ready = start_event_loop_in_daemon(name="trl-mle-overlap")
            ready.wait()
        self._loop = loop
        self._threads = asyncio.Semaphore(sync_threads)

    def start(self, row: Row, trainer_state: Any) -> None:
        """Set `row.future`, whose result is `(rewards, columns, metrics)`."""
        row.future = asyncio.run_coroutine_threadsafe(self._score(row, trainer_state), self._loop)

    async def _score(self, row: Row, trainer_state: Any) -> tuple[list, dict, dict]:
        columns: dict[str, Any] = {}
        metrics: dict[str, list[float]] = defaultdict(list)

        def log_extra(column: str, values: list) -> None:
            warn_of_old_column(column)
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
        rename_old_column(columns)
        # Set only once all reward functions have succeeded: a row that is stopped meanwhile sets it itself.
        row.waited_s = time.monotonic() - row.began
        return rewards, columns, dict(metrics)

    async def _call(self, reward_func: Callable, kwargs: dict[str, Any]) -> Any:
        if is_async_callable(reward_func):
            return await reward_func(**kwargs)
        async with self._threads:
            return await asyncio.wrap_future(_in_thread(lambda: reward_func(**kwargs)))


def _in_thread(call: Callable[[], Any]) -> Future:
    """The result of `call`, from a thread of its own.

    A thread cannot be stopped. As a daemon outside of any pool, one whose row was given up keeps neither other rows from
    running nor the process from ending, as a thread of a `ThreadPoolExecutor` would.
    """
    future: Future = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="trl-mle-reward", daemon=True).start()
    return future
