"""Rollouts with tools whose calls run at the same time: what takes the place of `GRPOTrainer._tool_call_loop`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trl_mle.errors import ConfigError
from trl_mle.training.distributed import raised_on_all
from trl_mle.training.turns.lockstep import Lockstep, generation_is_collective
from trl_mle.training.turns.message_calls import MessageCalls

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TurnTiming:
    """Seconds of waiting for tools.

    Attributes:
        warn_s: a warning names the tools that have not answered each time after so many seconds.
        stop_s: time that cancelled tools have to clean up when training is interrupted.
    """

    warn_s: float = 300.0
    stop_s: float = 10.0


@dataclass
class Batch:
    """The rollouts of this process's generation batch: what `GRPOTrainer._tool_call_loop` was given, and returns."""

    prompts: list
    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    completions: list[list[dict[str, Any]]]
    logprobs: list[list[float]] | None
    images: list | None
    multimodal_fields: dict[str, Any]

    def __post_init__(self) -> None:
        self.tool_mask = [[1] * len(ids) for ids in self.completion_ids]
        self.tool_images: list[list] = [[] for _ in self.completion_ids]
        self.turns = [0] * len(self.completion_ids)
        self.unstarted = list(range(len(self.completion_ids)))
        """Rows whose last message is new, so that its tool calls have not been started."""
        self.calls = self.failures = 0

    def outputs(self) -> tuple:
        """What `GRPOTrainer._tool_call_loop` returns."""
        return (
            self.tool_mask,
            self.completions,
            self.completion_ids,
            self.logprobs,
            self.calls,
            self.failures,
            self.tool_images,
        )


class ToolRollouts:
    """Runs the tool calls of all rollouts at the same time, and generates turns with TRL's own loop.

    TRL's loop is called for one iteration at a time, on the whole batch, in which only those rollouts have tool calls whose tools
    have answered. Its tools hand over the results. Tokens, masks, roll-back of results that are too long, truncation and
    parsing are therefore TRL's own.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer that it is a part of.
        timing ([`TurnTiming`]):
            Intervals and limits of the waiting.
    """

    def __init__(self, trainer: Any, timing: TurnTiming | None = None):
        self._trainer = trainer
        self._timing = timing or TurnTiming()
        self._timeout_s = trainer.args.tool_timeout_s
        self._loop: asyncio.AbstractEventLoop | None = getattr(trainer, "async_loop", None)
        self._lockstep = Lockstep(trainer) if generation_is_collective(trainer) else None
        self._independent = trainer.args.tool_rollouts == "independent"
        if self._independent and self._lockstep is not None:
            self._independent = False
            logger.warning(
                "`tool_rollouts` is 'independent', but all processes take part in each generation here (ZeRO-3, FSDP, a vLLM "
                "server or tensor parallelism). Rollouts advance together instead."
            )
        self._started: dict[int, MessageCalls] = {}  # row -> calls of its last message, until TRL has been handed them
        self._waited_s = 0.0
        self._timeouts = 0

    def run(self, trl_loop: Callable[..., tuple], *arguments: Any) -> tuple:
        """What `trl_loop`, TRL's `_tool_call_loop`, returns for `arguments`."""
        batch = Batch(*arguments)
        try:
            if self._lockstep is not None:
                self._lockstep.run(
                    batch, lambda: self._ready(batch), lambda rows: self._advance(trl_loop, batch, rows)
                )
            elif self._trainer.accelerator.num_processes > 1:
                with raised_on_all():
                    self._run(trl_loop, batch)
            else:
                self._run(trl_loop, batch)
        finally:
            self._stop()
        return batch.outputs()

    def generate(
        self, generate: Callable[..., tuple], prompt_ids: list, images: Any, *args: Any, **kwargs: Any
    ) -> tuple:
        """What TRL's `_generate_single_turn` returns, in step with the other processes where that is needed."""
        if self._lockstep is None:
            return generate(prompt_ids, images, *args, **kwargs)
        return self._lockstep.generate(generate, prompt_ids, images, *args, **kwargs)

    def report(self, metrics: dict[str, list[float]]) -> None:
        """Log what happened since the last report. `time/generation_s`, already there, gives up the seconds of the tools."""
        metrics["time/tools_s"].append(self._waited_s)
        metrics["time/generation_s"][-1] -= self._waited_s
        if self._timeout_s is not None:
            metrics["tools/timeouts"].append(float(self._timeouts))
        self._waited_s, self._timeouts = 0.0, 0

    # One batch

    def _run(self, trl_loop: Callable[..., tuple], batch: Batch) -> None:
        while rows := self._ready(batch):
            self._advance(trl_loop, batch, rows)

    def _ready(self, batch: Batch) -> list[int]:
        """Rows whose tools have answered, in order: at least one, or all of them if rollouts advance together. None if no rollout
        calls a tool any more."""
        began = time.perf_counter()
        self._start(batch)
        rows = self._wait()
        self._waited_s += time.perf_counter() - began
        return rows

    def _start(self, batch: Batch) -> None:
        """Start the tool calls of the messages that are new, where there are any and one more turn is allowed."""
        trainer = self._trainer
        rows, batch.unstarted = batch.unstarted, []
        for row in rows:
            calls = batch.completions[row][-1].get("tool_calls")
            if not calls or batch.turns[row] >= trainer.max_tool_calling_iterations:
                continue
            self._started[row] = MessageCalls(
                calls, trainer._sync_tool_dicts[row], trainer._async_tool_dicts[row], self._timeout_s
            )
            self._started[row].start(self._loop)

    def _wait(self) -> list[int]:
        while True:
            running = {row: calls for row, calls in self._started.items() if calls.future and not calls.future.done()}
            ready = sorted(self._started.keys() - running.keys())
            for row in ready:
                self._started[row].raise_if_stopped()
            if not running or (ready and self._independent):
                return ready
            wait(
                [calls.future for calls in running.values() if calls.future is not None],
                timeout=self._timing.warn_s,
                return_when=FIRST_COMPLETED,
            )
            self._warn_of_slow_tools()

    def _advance(self, trl_loop: Callable[..., tuple], batch: Batch, rows: list[int]) -> None:
        """Let TRL append the results of the rows' tools, and generate their next turn."""
        calls = {row: self._started.pop(row) for row in rows}
        self._timeouts += sum(each.timeouts for each in calls.values())
        # A message without tool calls keeps a rollout out of TRL's loop.
        last: list[dict[str, Any]] = [
            messages[-1] if row in calls else {} for row, messages in enumerate(batch.completions)
        ]
        said: list[list[dict[str, Any]]] = [[message] for message in last]
        with self._replaying(calls):
            masks, said, batch.completion_ids, batch.logprobs, count, failures, images = trl_loop(
                batch.prompts,
                batch.prompt_ids,
                batch.completion_ids,
                said,
                batch.logprobs,
                batch.images,
                batch.multimodal_fields,
            )
        batch.calls += count
        batch.failures += failures
        for row in rows:
            # TRL takes all that was there for the policy's, so only the mask of what is new counts.
            batch.tool_mask[row] += masks[row][len(batch.tool_mask[row]) :]
            batch.completions[row] += said[row][1:]
            batch.tool_images[row] += images[row]
            batch.turns[row] += 1
        # A rollout whose result was rolled back, or whose next turn has no room for a token, is at its end.
        batch.unstarted = [row for row in rows if len(said[row]) > 1 and said[row][-1].get("role") != "tool"]

    @contextmanager
    def _replaying(self, calls: dict[int, MessageCalls]) -> Iterator[None]:
        """Within it, the tools of TRL's loop hand over results, and the loop has one iteration."""
        trainer = self._trainer
        before = trainer._sync_tool_dicts, trainer._async_tool_dicts, trainer.max_tool_calling_iterations
        sync_dicts, async_dicts = list(before[0]), list(before[1])
        for row, each in calls.items():
            sync_dicts[row], async_dicts[row] = each.replaying_tools()
        trainer._sync_tool_dicts, trainer._async_tool_dicts, trainer.max_tool_calling_iterations = (
            sync_dicts,
            async_dicts,
            1,
        )
        try:
            yield
        finally:
            trainer._sync_tool_dicts, trainer._async_tool_dicts, trainer.max_tool_calling_iterations = before

    # Waiting

    def _warn_of_slow_tools(self) -> None:
        now = time.monotonic()
        slow = [
            (row, calls)
            for row, calls in self._started.items()
            if calls.future and not calls.future.done() and now - calls.warned_at >= self._timing.warn_s
        ]
        for _, calls in slow:
            calls.warned_at = now
        if slow:
            names = sorted({name for _, calls in slow for name in calls.running()})
            logger.warning(
                "%d rollouts have waited for %s for more than %.0f s. `tool_timeout_s` sets a limit for tools without one of "
                "their own.",
                len(slow),
                ", ".join(names),
                self._timing.warn_s,
            )

    def _stop(self) -> None:
        """Cancel what still runs, after an error or an interruption, and give it time to clean up."""
        started, self._started = list(self._started.values()), {}
        for calls in started:
            if calls.future is not None:
                calls.future.cancel()
        tasks = [calls.task for calls in started if calls.task is not None and not calls.task.done()]
        if tasks and self._loop is not None:
            ended = asyncio.run_coroutine_threadsafe(_ended(tasks, self._timing.stop_s), self._loop)
            wait([ended], timeout=self._timing.stop_s + 1)


def tool_rollouts_of(trainer: Any) -> ToolRollouts | None:
    """The part of `trainer` that runs its tools; `None` where TRL's own loop does it.

    Raises:
        ConfigError: `tool_timeout_s` is set for tools that have limits of their own.
    """
    _check_timeout(trainer)
    if not trainer.tools or trainer.args.tool_rollouts == "sequential":
        return None
    if trainer._is_vlm:
        if trainer.args.tool_rollouts == "independent" or trainer.args.tool_timeout_s is not None:
            logger.warning(
                "`tool_rollouts` and `tool_timeout_s` have no effect with images. One rollout's tools run after another's."
            )
        return None
    return ToolRollouts(trainer)


def _check_timeout(trainer: Any) -> None:
    timeout_s = trainer.args.tool_timeout_s
    if timeout_s is not None and any(
        getattr(function, "tools_have_limits", False) for function in trainer.reward_funcs
    ):
        # A cancelled program is a fault, without a reward: a policy whose programs fail would rather be slow.
        raise ConfigError(
            f"`tool_timeout_s` is {timeout_s}, but the programs of an `MLESpec` have limits of their own, and the result of one "
            "that is cut off is unknown. Leave it out. `EpisodeBudget(seconds=...)` and `wall_s` limit programs."
        )


async def _ended(tasks: list[asyncio.Task], timeout_s: float) -> None:
    await asyncio.wait(tasks, timeout=timeout_s)
