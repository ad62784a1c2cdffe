"""Tools that fail, hang, or are interrupted."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time

import pytest

from tests.support.tool_loop import Loop, Tools, call, first_turns, ours, scripted_trainer, written
from trl_mle.training.turns.tool_rollouts import TurnTiming


@pytest.fixture
def loop():
    with Loop() as running:
        yield running


def rollouts(loop, tool, calls, timing=None, **settings):
    """Rollouts whose first turn calls the asynchronous `tool` with each of the arguments, and whose second one is the last."""
    made = scripted_trainer(lambda ids: written("done"), [Tools(row) for row in range(len(calls))], loop, **settings)
    tool.__doc__ = Tools.later.__doc__
    made._async_tool_dicts = [{"later": tool} for _ in calls]
    (_, completions, _, _, count, failures, _), _ = ours(
        made, first_turns(made, [call("later", x=x) for x in calls]), timing
    )
    return made, [[message["content"] for message in each[1:]] for each in completions], count, failures


def test_all_calls_run_at_the_same_time(loop):
    running = []

    async def later(x):
        running.append(x)
        while len(running) < 8:
            await asyncio.sleep(0.001)
        return x

    _, said, count, failures = rollouts(loop, later, list(range(8)))
    assert said == [[str(x), "done"] for x in range(8)]
    assert (count, failures) == (8, 0)


def test_a_call_that_takes_too_long_is_cancelled_and_answered_with_an_error(loop):
    cancelled = []

    async def later(x):
        if x == 1:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(x)
                raise
        return x

    made, said, count, failures = rollouts(loop, later, [0, 1], tool_timeout_s=0.1)
    assert said[0] == ["0", "done"]
    assert said[1] == ["{'error': 'later took longer than 0.1 s and was stopped.'}", "done"]
    assert (count, failures, cancelled) == (2, 1, [1])
    metrics = {"time/tools_s": [], "time/generation_s": [5.0], "tools/timeouts": []}
    made.rollouts.report(metrics)
    assert metrics["tools/timeouts"] == [1.0]
    assert metrics["time/tools_s"][0] >= 0.1
    assert metrics["time/generation_s"][0] == 5.0 - metrics["time/tools_s"][0]


def test_a_call_that_goes_on_after_its_cancellation_holds_up_nothing(loop):
    end = asyncio.Event()

    async def later(x):
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    _, said, _, failures = rollouts(loop, later, [0], tool_timeout_s=0.05)
    loop.call_soon_threadsafe(end.set)
    assert "took longer" in said[0][0]
    assert failures == 1


@pytest.mark.parametrize("timeout_s", [None, 20])
@pytest.mark.parametrize("error", [SystemExit("end"), KeyboardInterrupt()])
def test_an_exit_within_a_tool_ends_training_and_not_the_event_loop(loop, error, timeout_s):
    async def later(x):
        await asyncio.sleep(0)
        if x:
            raise error
        return x

    with pytest.raises(type(error)):
        rollouts(loop, later, [0, 1], tool_timeout_s=timeout_s)
    assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "alive"), loop).result(20) == "alive"


@pytest.fixture
def heard():
    """A shell that starts the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("timeout_s", [None, 60])
def test_an_interruption_cancels_what_runs_and_waits_until_it_has_cleaned_up(loop, heard, timeout_s):
    started, cleaned = threading.Event(), []

    async def later(x):
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(x)

    def interrupt():
        started.wait(20)
        time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        rollouts(loop, later, [0, 1], tool_timeout_s=timeout_s)
    assert sorted(cleaned) == [0, 1]


def test_an_error_of_generation_cancels_what_runs(loop):
    cancelled = threading.Event()

    async def later(x):
        if x == 0:
            return x
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    made = scripted_trainer(lambda ids: 1 / 0, [Tools(0), Tools(1)], loop, tool_rollouts="independent")
    later.__doc__ = Tools.later.__doc__
    made._async_tool_dicts = [{"later": later}] * 2
    with pytest.raises(ZeroDivisionError):
        ours(made, first_turns(made, [call("later", x=0), call("later", x=1)]))
    assert cancelled.wait(20)
    assert made.max_tool_calling_iterations > 1
    assert made._async_tool_dicts == [{"later": later}] * 2


def test_a_warning_names_the_tool_that_does_not_answer(loop, caplog):
    async def later(x):
        await asyncio.sleep(0.2)
        return x

    with caplog.at_level(logging.WARNING):
        rollouts(loop, later, [0, 1], TurnTiming(warn_s=0.05))
    assert "2 rollouts have waited for later" in caplog.text
    assert "`tool_timeout_s` sets a limit" in caplog.text
