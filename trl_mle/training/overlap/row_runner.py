"""Runs the reward functions of single completions in the background."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from trl.trainer.utils import is_async_callable, shutdown_event_loop_in_daemon, start_event_loop_in_daemon

from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.distributed import checked_rewards
from trl_mle.training.overlap.in_flight import Row
from trl_mle.training.overlap.timing import OverlapTiming
from trl_mle.training.weighting.actions import SECONDS_COLUMN, TOKENS_COLUMN, rename_old_column, warn_of_old_column


@dataclass
class Scores:
    """What the reward functions say of one completion; the fields are those of [`Row`]."""

    rewards: list[float | None] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    uneven: dict[str, list] = field(default_factory=dict)


class RowRunner:
    """Calls the reward functions for one completion at a time, in the background.

    Args:
        trainer ([`DurationAwareTrainer`]):
            Its reward functions are called: those that it has when a completion starts, since callbacks may change them.
            `async` ones share its event loop, others run in threads.
        timing ([`OverlapTiming`]):
            How many threads, and how long stopped functions have to end.
    """

    def __init__(self, trainer: Any, timing: OverlapTiming):
        self._trainer = trainer
        self._timing = timing
        loop = getattr(trainer, "async_loop", None)
        if loop is None:
            thread, loop, ready = start_event_loop_in_daemon(name="trl-mle-overlap")
            ready.wait()
            atexit.register(shutdown_event_loop_in_daemon, thread, loop)
        self._loop: asyncio.AbstractEventLoop = loop
        self._threads = asyncio.Semaphore(timing.sync_threads)
        self._tasks: set[asyncio.Future] = set()

    def start(self, row: Row, trainer_state: Any) -> None:
        """Set `row.future`, whose result is [`Scores`].

        Raises:
            ConfigError: the trainer has got a reward model.
        """
        trainer = self._trainer
        functions = list(zip(trainer.reward_func_names, trainer.reward_funcs, strict=True))
        if any(isinstance(function, nn.Module) for _, function in functions):
            raise ConfigError("`overlap_execution` does not work with a reward model. Set `overlap_execution=False`.")
        row.scored_by = [name for name, _ in functions]
        row.future = asyncio.run_coroutine_threadsafe(self._score(row, functions, trainer_state), self._loop)

    def drain(self) -> None:
        """Wait a moment for functions that were stopped, so that none is left when the process ends."""
        with contextlib.suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result(self._timing.stop_s + 1)

    async def _drain(self) -> None:
        await asyncio.sleep(0)  # what was cancelled before its first step ends here
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timing.stop_s)

    async def _score(self, row: Row, functions: list[tuple[str, Callable]], trainer_state: Any) -> Scores:
        scores = Scores()
        kwargs = {
            **{name: [value] for name, value in row.inputs.items() if name not in ("prompt", "completion")},
            "prompts": [row.inputs["prompt"]],
            "completions": [row.completion],
            "completion_ids": [row.completion_ids],
            "trainer_state": trainer_state,
            "log_extra": lambda column, values: self._log_extra(scores, column, values),
            "log_metric": lambda name, value: scores.metrics[name].append(value),
        }
        calls = [asyncio.ensure_future(self._call(name, function, kwargs)) for name, function in functions]
        task = asyncio.current_task()
        assert task is not None
        for each in (task, *calls):
            self._tasks.add(each)
            each.add_done_callback(self._tasks.discard)
        try:
            results = await asyncio.gather(*calls)
        finally:
            # If one has failed, the run ends: the others need not go on.
            for call in calls:
                call.cancel()
        scores.rewards = [
            checked_rewards(result, 1, name)[0] for result, (name, _) in zip(results, functions, strict=True)
        ]
        scores.metrics = dict(scores.metrics)
        rename_old_column(scores.columns)
        rename_old_column(scores.uneven)
        # Set only once all reward functions have succeeded: a row that is stopped meanwhile sets it itself.
        row.waited_s = time.monotonic() - row.began
        return scores

    def _log_extra(self, scores: Scores, column: str, values: Any) -> None:
        warn_of_old_column(column)
        # As in TRL, all values of a column stand one after another.
        earlier = [scores.columns.pop(column)] if column in scores.columns else scores.uneven.pop(column, [])
        together = [*earlier, *values]
        if len(together) == 1:
            scores.columns[column] = together[0]
            return
        decisive = (self._trainer.args.duration_column, SECONDS_COLUMN, TOKENS_COLUMN)
        if column in decisive and self._trainer.weighting.rule.needs_durations:
            raise DurationError(
                f'`log_extra("{column}", ...)` got {len(together)} values for one completion. With `overlap_execution` '
                "reward functions see one completion at a time; report one value, once."
            )
        scores.uneven[column] = together

    async def _call(self, name: str, reward_func: Callable, kwargs: dict[str, Any]) -> Any:
        if is_async_callable(reward_func):
            return await _contained(name, reward_func(**kwargs))
        async with self._threads:
            return await _contained(name, asyncio.wrap_future(_in_thread(lambda: reward_func(**kwargs))))


async def _contained(name: str, result: Awaitable) -> Any:
    """`result`, with exceptions that would end the event loop, and so hang the run, as ordinary ones."""
    try:
        return await result
    except (SystemExit, KeyboardInterrupt) as error:
        raise _as_ordinary(name, error) from error
    except _UnfitForFutures as error:
        raise _as_ordinary(name, error.error) from error.error


def _as_ordinary(name: str, error: BaseException) -> RuntimeError:
    return RuntimeError(f"The reward function '{name}' raised {type(error).__name__}: {error}")


class _UnfitForFutures(Exception):
    """Carries an exception that a future refuses, or that ends an event loop."""

    def __init__(self, error: BaseException):
        super().__init__(str(error))
        self.error = error


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
            ordinary = isinstance(error, Exception) and not isinstance(error, StopIteration)
            future.set_exception(error if ordinary else _UnfitForFutures(error))

    threading.Thread(target=work, name="trl-mle-reward", daemon=True).start()
    return future
