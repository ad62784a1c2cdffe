"""The tool calls of one assistant message: they run at once, and TRL's loop is handed their results afterwards."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from trl_mle.training.turns.parsing import without_surrogates

Tools = dict[str, Callable[..., Any]]


@dataclass
class ToolCall:
    """A call that reaches a tool, and what came of it: a value, or the exception that the tool raised."""

    name: str
    value: Any = None
    error: BaseException | None = None
    failed_at_once: bool = False
    """An asynchronous tool refused its arguments, before there was anything to await."""
    timed_out: bool = False

    def result(self) -> Any:
        """The value of the tool. Its texts are such that any tokenizer takes them.

        Raises:
            BaseException: whatever the tool raised.
        """
        if self.error is not None:
            raise self.error
        return without_surrogates(self.value) if isinstance(self.value, (str, list)) else self.value


class MessageCalls:
    """Runs the tool calls of one assistant message of one rollout, in the order of `GRPOTrainer._tool_call_loop`: synchronous
    tools one after another on the calling thread, then the asynchronous ones at the same time on an event loop.

    TRL decides itself what a call without a tool is worth. Such calls are passed over here.

    Args:
        calls: tool calls of the message, as `parse_response` returns them.
        sync_tools, async_tools: the rollout's tools by name.
        timeout_s: seconds after which an asynchronous call is cancelled; `None` for no limit.
    """

    def __init__(
        self, calls: Sequence[Mapping[str, Any]], sync_tools: Tools, async_tools: Tools, timeout_s: float | None = None
    ):
        self._calls = calls
        self._sync_tools, self._async_tools = sync_tools, async_tools
        self._timeout_s = timeout_s
        self._made: list[ToolCall] = []
        self.future: Future | None = None
        """Done when all asynchronous calls have ended; `None` if there are none."""
        self.task: asyncio.Task | None = None
        """The task of the event loop behind `future`, once it has begun."""
        self.warned_at = time.monotonic()
        """When a warning last said that the calls run, or when they were made, by the monotonic clock."""

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Run the synchronous tools, and start the asynchronous ones on `loop`, which runs in another thread."""
        awaited: list[tuple[ToolCall, Coroutine]] = []
        for call in self._calls:
            name, arguments = _name_and_arguments(call)
            if arguments is None or not (name in self._sync_tools or name in self._async_tools):
                continue
            made = ToolCall(name)
            self._made.append(made)
            # TRL looks among the synchronous tools first.
            tool = self._sync_tools[name] if name in self._sync_tools else self._async_tools[name]
            try:
                made.value = tool(**arguments)
            except Exception as error:
                made.error, made.failed_at_once = error, True
            if name not in self._sync_tools and made.error is None:
                awaited.append((made, made.value))
        if awaited:
            assert loop is not None, "TRL starts an event loop if any tool is asynchronous"
            self.future = asyncio.run_coroutine_threadsafe(self._finish(awaited), loop)

    @property
    def timeouts(self) -> int:
        """Calls that were cancelled after `timeout_s`."""
        return sum(call.timed_out for call in self._made)

    def running(self) -> list[str]:
        """Names of the tools of this message, for a message to the user."""
        return [call.name for call in self._made if call.name not in self._sync_tools]

    def raise_if_stopped(self) -> None:
        """Raise what is no answer of a tool that has ended: `KeyboardInterrupt` or `SystemExit`, as a synchronous one would."""
        if self.future is not None:
            self.future.result()
        for call in self._made:
            if isinstance(call.error, (KeyboardInterrupt, SystemExit)):
                raise call.error

    def replaying_tools(self) -> tuple[Tools, Tools]:
        """Synchronous and asynchronous tools for TRL's loop. They run nothing: each call returns, or raises, the next result of
        the tool of that name."""
        results: dict[str, deque[ToolCall]] = defaultdict(deque)
        for call in self._made:
            results[call.name].append(call)
        return (
            {name: _replaying(tool, results[name]) for name, tool in self._sync_tools.items()},
            {name: _replaying_async(tool, results[name]) for name, tool in self._async_tools.items()},
        )

    async def _finish(self, awaited: list[tuple[ToolCall, Coroutine]]) -> None:
        self.task = asyncio.current_task()
        await asyncio.gather(*(self._await(call, coroutine) for call, coroutine in awaited), return_exceptions=True)

    async def _await(self, call: ToolCall, coroutine: Coroutine) -> None:
        if self._timeout_s is None:
            await _keep_outcome(call, coroutine)
            return
        # Not `wait_for`: that would wait for a tool that goes on after it was cancelled.
        answer = ToolCall(call.name)
        task = asyncio.ensure_future(_keep_outcome(answer, coroutine))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        if done:
            call.value, call.error = answer.value, answer.error
            return
        task.cancel()
        call.value, call.timed_out = None, True
        call.error = TimeoutError(f"{call.name} took longer than {self._timeout_s:g} s and was stopped.")


async def _keep_outcome(call: ToolCall, coroutine: Coroutine) -> None:
    """Await `coroutine` and keep what came of it in `call`. Nothing is raised: a `SystemExit` would end the event loop."""
    try:
        call.value = await coroutine
    except BaseException as error:
        call.value, call.error = None, error


def _name_and_arguments(call: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """Name and keyword arguments of a call. `None` for the arguments if TRL's `tool(**arguments)` would not reach the tool."""
    function = call.get("function")
    if call.get("type") != "function" or not isinstance(function, Mapping):
        return "", None
    name, arguments = function.get("name"), function.get("arguments")
    if (
        not isinstance(name, str)
        or not isinstance(arguments, Mapping)
        or not all(isinstance(key, str) for key in arguments)
    ):
        return "", None
    return name, arguments


def _replaying(tool: Callable, results: deque[ToolCall]) -> Callable:
    # `wraps`: a call with impossible arguments ends in an error that names the tool.
    @functools.wraps(tool)
    def replay(**arguments: Any) -> Any:
        return results.popleft().result()

    return replay


def _replaying_async(tool: Callable, results: deque[ToolCall]) -> Callable:
    @functools.wraps(tool)
    def replay(**arguments: Any) -> Coroutine:
        call = results.popleft()
        if call.failed_at_once:
            call.result()

        async def answer() -> Any:
            return call.result()

        return answer()

    return replay
