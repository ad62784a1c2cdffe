"""The pool: fair, bounded, exactly once, each fault in its class; whatever the sandbox behind it does."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import time
from collections import Counter
from dataclasses import dataclass, field

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tenacity import RetryCallState

from tests.support.hang import HANG_S
from tests.support.local_sandbox import until
from tests.support.tasks import toy_task
from trl_mle import Execution, Limits, LocalSandbox, PoolConfig, SandboxConfig, SandboxPool
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.base import Sandbox
from trl_mle.sandboxes.pool.counts import FAULTS, Counts
from trl_mle.sandboxes.pool.fair_queue import FairQueue
from trl_mle.sandboxes.pool.progress_line import LiveLine
from trl_mle.sandboxes.pool.retries import retry_pause
from trl_mle.sandboxes.pool.timing import PoolTiming
from trl_mle.types import TaskSpec

TASK = TaskSpec("t", "T", "", None, "rmse", "minimize", "id", ("y",), "y")  # type: ignore[arg-type]
LIMITS = Limits(wall_s=1)
NOT_STARTED = SandboxError("no worker", may_have_started=False)
LOST = SandboxError("worker lost")


def execution(code: str = "", status="ok") -> Execution:
    return Execution(status, 0, 0.1, 0.1, 1, stdout=code, stderr="")


@dataclass
class Fake(Sandbox):
    """A sandbox in memory: a program's text is what happens, such as `0.01` (seconds) or a key of `script`.

    A program whose text starts with `held` ends when the test sets `let_go`.
    """

    workers: int = 4
    script: dict[str, list[object]] = field(default_factory=dict)
    """What a program's first, second ... time is: an exception to raise, seconds to take; the last one stays."""
    started: Counter[str] = field(default_factory=Counter)
    """How often each program has begun."""
    order: list[str] = field(default_factory=list)
    files: list[dict[str, bytes] | None] = field(default_factory=list)
    """The files of each call."""
    running: int = 0
    most: int = 0
    open: bool = False
    stubborn_s: float = 0.0
    """How long a call goes on after it was cancelled."""
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self):
        self.open = True
        return self

    async def __aexit__(self, *exc_info):
        self.open = False

    async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
        self.files.append(files)
        if not self.open:
            raise SandboxUnavailableError("not open")
        self.order.append(code)
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.running <= self.workers
        try:
            steps = self.script.get(code)
            held = code.startswith("held")
            step = (steps.pop(0) if len(steps) > 1 else steps[0]) if steps else 0.0 if held else float(code.split()[0])
            if not (isinstance(step, SandboxError) and not step.may_have_started):
                self.started[code] += 1
            if isinstance(step, BaseException):
                await asyncio.sleep(0)
                raise step
            await asyncio.sleep(step)
            if held:
                await self.let_go.wait()
            return execution(code)
        except asyncio.CancelledError:
            if self.stubborn_s:
                await asyncio.shield(asyncio.sleep(self.stubborn_s))
            raise
        finally:
            self.running -= 1


def pool_of(sandbox, timing=PoolTiming(), **changes) -> SandboxPool:  # noqa: B008 - frozen
    return SandboxPool(sandbox, PoolConfig(progress="off", **changes), timing=timing)


async def results_of(pool, codes, groups=None):
    groups = groups or [None] * len(codes)
    runs = (pool.run(code, TASK, LIMITS, group=group) for code, group in zip(codes, groups, strict=True))
    return await asyncio.gather(*runs, return_exceptions=True)


async def test_every_try_gets_the_files_of_the_call():
    """Also if the caller changes them meanwhile."""
    fake = Fake(script={"a": [NOT_STARTED, NOT_STARTED, 0.0]})
    files = {"x": b"1"}
    async with pool_of(fake, PoolTiming(first_pause_s=0.001), retries=2) as pool:
        assert pool.sandbox is fake
        running = asyncio.ensure_future(pool.run("a", TASK, LIMITS, files=files))
        await until(lambda: fake.files)
        files["x"] = b"2"
        assert (await running).status == "ok"
    assert fake.files == [{"x": b"1"}] * 3


# --- who is next


@given(st.lists(st.one_of(st.integers(0, 5), st.none()), max_size=200))
def test_each_waiting_group_is_served_once_before_one_is_served_twice(steps):
    queue, waiting, number = FairQueue(), {}, 0
    served_since = {}  # group -> groups served since its own last turn, while it waits
    for step in steps:
        if step is None:
            if not len(queue):
                continue
            item = queue.pop()
            group = item[0]
            assert waiting[group].pop(0) == item, "first in, first out within a group"
            assert all(times[group] == 0 for other, times in served_since.items() if other != group), "another waits"
            for other, times in served_since.items():
                if other != group:
                    times[group] += 1
            served_since.pop(group)
            if waiting[group]:
                served_since[group] = Counter()
        else:
            queue.add((step, number), step)
            waiting.setdefault(step, []).append((step, number))
            served_since.setdefault(step, Counter())
            number += 1
    assert len(queue) == sum(map(len, waiting.values()))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_what_is_taken_out_is_not_served_and_nothing_else_is_lost(items):
    queue = FairQueue()
    for number, (group, _) in enumerate(items):
        queue.add(number, group)
    gone = {number for number, (_, out) in enumerate(items) if out}
    for number in [*gone, *gone, 999]:
        queue.discard(number)
    assert sorted(queue.pop() for _ in range(len(queue))) == [n for n in range(len(items)) if n not in gone]
    assert queue._groups == {}


async def test_a_small_group_does_not_wait_for_a_large_one():
    sandbox = Fake(workers=1)
    codes = [f"0 large {number}" for number in range(50)] + [f"0 small {number}" for number in range(3)]
    async with pool_of(sandbox) as pool:
        await results_of(pool, codes, [code.split()[1] for code in codes])
    # The first one had its place before the other group came.
    assert [code.split()[1] for code in sandbox.order[:7]] == ["large", "large", "small"] + ["large", "small"] * 2


# --- places and order


async def test_never_more_than_the_places_and_results_as_they_come():
    sandbox = Fake(workers=3)
    async with pool_of(sandbox) as pool:
        codes = ["held", "0.01 a", "0.02 b", "0.01 c"]
        ended = []

        async def one(code):
            ended.append((await pool.run(code, TASK, LIMITS)).stdout)
            if len(ended) == 3:
                sandbox.let_go.set()

        async with asyncio.timeout(HANG_S):
            await asyncio.gather(*map(one, codes))
        assert ended[-1] == "held", "a slow one does not hold up those behind it"
        assert sandbox.most == 3
        await results_of(pool, ["0.001"] * 40)
        assert sandbox.most == 3
    async with pool_of(Fake(workers=8), concurrency=2) as pool:
        await results_of(pool, ["0.001"] * 10)
        assert pool.sandbox.most == 2


async def test_no_program_waits_in_the_sandbox_itself():
    """There the wait would count as if the sandbox did not answer."""
    async with pool_of(Fake(workers=2), concurrency=8) as pool:
        results = await results_of(pool, ["0.001"] * 10)
    assert {type(result) for result in results} == {Execution}
    assert (pool.workers, pool.sandbox.most) == (2, 2)

    class Silent:
        """It does not say how many workers it has."""

        __aenter__ = __aexit__ = None

        async def run(self, code, task, limits): ...

    assert pool_of(Silent(), concurrency=200).workers == 200
    assert pool_of(Silent()).workers == 64


async def test_a_sandbox_that_grows_is_used_in_full():
    sandbox = Fake(workers=1)
    async with pool_of(sandbox, PoolTiming(look_s=0.05)) as pool:
        runs = asyncio.gather(*(pool.run(f"held {n}", TASK, LIMITS) for n in range(4)))
        await until(lambda: (pool.counts.running, pool.counts.queued) == (1, 3))
        sandbox.workers = 4
        await until(lambda: sandbox.running == 4)
        sandbox.let_go.set()
        await runs


# --- faults and retries


class Scenario:
    """Random programs: which of their tries fail, and how."""

    steps = st.sampled_from([NOT_STARTED, NOT_STARTED, LOST, RuntimeError("a bug"), 0.0, 0.001])
    programs = st.lists(st.lists(steps, min_size=1, max_size=4), min_size=1, max_size=25)


@settings(max_examples=30, deadline=None)
@given(Scenario.programs, st.integers(1, 4), st.integers(0, 2))
def test_every_program_has_one_result_and_starts_at_most_once(programs, workers, retries):
    script = {f"p{number}": list(steps) for number, steps in enumerate(programs)}
    sandbox = Fake(workers=workers, script={name: list(steps) for name, steps in script.items()})

    async def go():
        at_once = PoolTiming(first_pause_s=0.0, longest_pause_s=0.0)
        async with pool_of(sandbox, at_once, retries=retries, failures=10_000) as pool:
            return await results_of(pool, list(script), [len(name) for name in script]), pool

    results, pool = asyncio.run(go())
    for (name, steps), result in zip(script.items(), results, strict=True):
        tries = [*steps, *[steps[-1]] * 5][: 1 + retries]
        last = next((step for step in tries if step is not NOT_STARTED), NOT_STARTED)
        assert sandbox.started[name] == int(last is not NOT_STARTED) <= 1
        if isinstance(last, float):
            assert result.stdout == name
        else:
            assert result is last
    counts = pool.counts
    assert counts.done + sum(counts.faults.values()) == len(script)
    assert (counts.running, counts.queued, counts.cancelled) == (0, 0, 0)
    assert sum(metric for name, metric in pool.take_metrics().items() if "fault/" in name) == sum(
        counts.faults.values()
    )


async def test_a_sandbox_that_cannot_work_is_not_tried_again():
    sandbox = Fake(script={"p": [SandboxUnavailableError("no Landlock")]})
    async with pool_of(sandbox) as pool:
        with pytest.raises(SandboxUnavailableError, match="no Landlock"):
            await pool.run("p", TASK, LIMITS)
        assert len(sandbox.order) == 1
        assert pool.counts.faults == {"unavailable": 1}


async def test_the_time_that_the_backend_asks_for_is_waited():
    busy = SandboxError("429", may_have_started=False, retry_after_s=0.3)
    async with pool_of(Fake(script={"p": [busy, 0.0]})) as pool:
        began = time.monotonic()
        await pool.run("p", TASK, LIMITS)
        assert time.monotonic() - began >= 0.29


def test_a_backend_cannot_ask_for_a_pause_without_end():
    state = RetryCallState(None, None, (), {})
    state.set_exception((SandboxError, SandboxError("429", may_have_started=False, retry_after_s=86_400.0), None))
    assert retry_pause(PoolTiming(longest_retry_after_s=300.0))(state) == 300.0


async def test_an_answer_that_does_not_come_is_a_fault_and_is_not_asked_for_again():
    sandbox = Fake(workers=1)
    async with pool_of(sandbox, slack_s=0.05) as pool:
        with pytest.raises(SandboxError, match=r"did not answer within 0\.15 s") as caught:
            await pool.run("60", TASK, Limits(wall_s=0.1))
        assert caught.value.may_have_started
        assert sandbox.started == {"60": 1}
        assert (await pool.run("0", TASK, LIMITS)).status == "ok", "its place is free again"
        assert pool.counts.faults == {"no_answer": 1}


async def test_what_the_sandbox_allows_itself_is_no_missing_answer():
    class Far(Fake):
        def overhead_s(self, task, limits):
            return 60.0

    async with pool_of(Far(workers=1), slack_s=0.01) as pool:
        assert (await pool.run("0.15", TASK, Limits(wall_s=0.01))).status == "ok"


async def test_a_sandbox_that_takes_other_arguments_keeps_no_place():
    class Other(Fake):
        async def run(self, code):
            return execution(code)

    async with pool_of(Other(workers=1)) as pool, asyncio.timeout(HANG_S):
        results = await results_of(pool, ["a", "b", "c"])
        assert [type(result) for result in results] == [TypeError] * 3
        assert (pool.counts.running, pool.counts.faults) == (0, {"bug": 3})


async def test_a_sandbox_that_cancels_by_itself_costs_the_program_alone():
    async with pool_of(Fake(script={"p": [asyncio.CancelledError()]})) as pool:
        with pytest.raises(SandboxError, match="by itself"):
            await pool.run("p", TASK, LIMITS)
        assert (pool.counts.running, pool.counts.cancelled, pool.counts.faults) == (0, 0, {"bug": 1})


async def test_a_program_waits_no_longer_than_it_may():
    sandbox = Fake(workers=1)
    async with pool_of(sandbox, queue_s=0.1) as pool:
        first = asyncio.create_task(pool.run("held", TASK, LIMITS))
        await until(lambda: sandbox.running)
        results = await results_of(pool, ["0 a", "0 b"])
        sandbox.let_go.set()
        assert (await first).status == "ok"
        for result in results:
            assert "`queue_s`=0.1" in str(result)
            assert not result.may_have_started
        assert pool.counts.faults == {"waited": 2}
        assert (pool.counts.running, pool.counts.queued) == (0, 0)


# --- the circuit


async def test_a_sandbox_that_is_down_is_probed_and_comes_back(caplog):
    sandbox = Fake(workers=2)
    sandbox.script = {f"p{n}": [LOST] for n in range(3)} | {"probe": [LOST]}
    async with pool_of(sandbox, failures=3, cool_down_s=0.1) as pool:
        await results_of(pool, [f"p{n}" for n in range(3)])
        assert pool.health.is_down
        began = time.monotonic()
        results = await results_of(pool, ["probe", *(f"0 {n}" for n in range(20))])
        assert time.monotonic() - began >= 0.29, "one cool-down, a failed probe, and a longer one"
        assert isinstance(results[0], SandboxError)
        assert [result.status for result in results[1:]] == ["ok"] * 20
        assert sandbox.order[3:5] == ["probe", "0 0"], "one probe at a time"
        assert not pool.health.is_down
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["cannot be used: worker lost" in words for words in warnings] == [True, False]
    assert "answers again" in warnings[1]


async def test_a_success_ends_the_wait_for_a_probe():
    """A program that ran before the circuit opened shows that the sandbox works, however long the probe takes."""
    sandbox = Fake(workers=3, script={"a": [LOST], "b": [LOST]})
    async with pool_of(sandbox, failures=2, cool_down_s=0.05) as pool:
        before = asyncio.create_task(pool.run("held", TASK, LIMITS))
        await results_of(pool, ["a", "b"])
        assert pool.health.is_down
        probe = asyncio.create_task(pool.run("60", TASK, Limits(wall_s=90)))
        await until(lambda: sandbox.order[-1] == "60")
        sandbox.let_go.set()
        await before
        async with asyncio.timeout(30):  # less than the probe takes
            assert [result.status for result in await results_of(pool, ["0 c", "0 d"])] == ["ok", "ok"]
        probe.cancel()


async def test_a_sandbox_that_stays_down_is_given_up_fast():
    sandbox = Fake(workers=2, script={f"p{n}": [LOST] for n in range(60)})
    async with pool_of(sandbox, failures=2, cool_down_s=0.1, outage_s=0.25) as pool:
        async with asyncio.timeout(HANG_S):
            results = await results_of(pool, [f"p{n}" for n in range(50)])
        kinds = pool.counts.faults
        assert kinds["outage"] + kinds["may_have_started"] == 50
        assert 2 <= kinds["may_have_started"] <= 6
        assert not any(error.may_have_started for error in results if "outage_s" in str(error))
        with pytest.raises(SandboxError):
            async with asyncio.timeout(HANG_S):
                await pool.run("p55", TASK, LIMITS)


async def test_a_probe_that_is_cancelled_or_hangs_makes_room_for_the_next():
    sandbox = Fake(workers=2, script={"a": [LOST], "b": [LOST]}, stubborn_s=30)
    async with pool_of(sandbox, failures=2, cool_down_s=0.05, slack_s=0.05, cancel_s=0.05) as pool:
        await results_of(pool, ["a", "b"])
        probe = asyncio.create_task(pool.run("60", TASK, Limits(wall_s=0.05)))
        with pytest.raises(SandboxError, match="did not answer"):
            await probe
        assert pool.counts.abandoned == 1
        assert (await pool.run("0", TASK, LIMITS)).status == "ok", "the other place is tried"
        assert pool.counts.running == 1, "the hanging call keeps its place"
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


# --- cancellation, closing, memory


async def test_cancelled_programs_leave_at_once_and_their_places_are_free():
    sandbox = Fake(workers=4)
    async with pool_of(sandbox) as pool:
        runs = [asyncio.create_task(pool.run(f"60 {n}", TASK, LIMITS, group=n % 9)) for n in range(2000)]
        await until(lambda: (pool.counts.running, pool.counts.queued) == (4, 1996))
        for run in runs:
            run.cancel()
        async with asyncio.timeout(30):  # less than a program takes
            results = await asyncio.gather(*runs, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert (pool.counts.running, pool.counts.queued, pool.counts.cancelled, sandbox.running) == (0, 0, 2000, 0)
        assert len(sandbox.order) == 4, "none of the others was begun meanwhile"
        assert (await pool.run("0", TASK, LIMITS)).status == "ok"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.02), st.floats(0, 0.03)), min_size=1, max_size=40), st.integers(1, 3))
def test_no_place_is_lost_whenever_a_run_is_cancelled(programs, workers):
    async def go():
        sandbox = Fake(workers=workers)
        async with pool_of(sandbox) as pool:

            async def one(seconds, patience):
                async with asyncio.timeout(patience):
                    return await pool.run(f"{seconds:.4f}", TASK, LIMITS)

            await asyncio.gather(*(one(*program) for program in programs), return_exceptions=True)
            await asyncio.sleep(0)
            assert (pool.counts.running, pool.counts.queued, sandbox.running) == (0, 0, 0)

    asyncio.run(go())


async def test_closing_tells_those_who_wait():
    sandbox = Fake(workers=1)
    pool = pool_of(sandbox)
    with pytest.raises(SandboxUnavailableError, match="not open"):
        await pool.run("0", TASK, LIMITS)
    await pool.__aenter__()
    runs = [asyncio.create_task(pool.run(f"held {n}", TASK, LIMITS)) for n in range(3)]
    await until(lambda: (pool.counts.running, pool.counts.queued) == (1, 2))
    await pool.__aexit__(None, None, None)
    sandbox.let_go.set()
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert results[0].status == "ok"
    assert [(str(error), error.may_have_started) for error in results[1:]] == [
        ("the pool was closed while the program waited in the queue", False)
    ] * 2
    with pytest.raises(SandboxError, match="the pool was closed"):
        await pool.run("0", TASK, LIMITS)


async def test_a_sandbox_that_is_open_already_can_be_used():
    async with Fake() as sandbox:
        assert (await pool_of(sandbox).run("0", TASK, LIMITS)).status == "ok"


async def test_a_sandbox_that_does_not_open_is_named():
    class Slow(Fake):
        async def __aenter__(self):
            await asyncio.sleep(60)

    with pytest.raises(SandboxUnavailableError, match=r"Slow was not open within `open_s`=0\.05"):
        await pool_of(Slow(), open_s=0.05).__aenter__()


async def test_thousands_of_submissions_leave_no_memory():
    process = psutil.Process()
    async with pool_of(Fake(workers=64)) as pool:

        async def wave(number):
            code = "0.0001 " + "x" * 2000
            await asyncio.gather(*(pool.run(f"{code} {number} {n}", TASK, LIMITS, group=n % 40) for n in range(2000)))
            pool.sandbox.order.clear()
            pool.sandbox.started.clear()
            gc.collect()
            return process.memory_info().rss

        seen = [await wave(number) for number in range(5)]
    assert pool.counts.done == 10_000
    assert seen[-1] - seen[1] < 8 * 1024**2


# --- what is shown


def test_the_line_says_what_runs_and_what_failed():
    counts = Counts(queued=3, running=2)
    counts.count(execution())
    counts.count(execution(status="timeout"))
    counts.count(LOST)
    assert counts.line() == ("programs: 2 running, 3 queued, 2 done, 2 failed (fault may_have_started 1, timeout 1)")


async def test_the_line_is_shown_on_a_terminal_only_and_goes_away(monkeypatch):
    async def shown(force_terminal):
        out, sandbox = io.StringIO(), Fake()
        pool = SandboxPool(sandbox, PoolConfig(progress="on"), timing=PoolTiming(line_after_s=0.01))
        pool._line = LiveLine(pool.counts, "on", Console(file=out, width=80, force_terminal=force_terminal))
        async with pool:
            run = asyncio.create_task(pool.run("held", TASK, LIMITS))
            await until(lambda: out.getvalue() if force_terminal else sandbox.running)
            await asyncio.sleep(0.05)
            sandbox.let_go.set()
            await run
        assert pool._line._live is None
        return out.getvalue()

    assert "programs: 1 running" in await shown(force_terminal=True)
    assert await shown(force_terminal=False) == ""
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not LiveLine(Counts(), "auto", Console(force_terminal=True)).shown


def test_metrics_have_the_same_names_whatever_happened():
    pool = pool_of(Fake())
    names = set(pool.take_metrics())
    pool.counts.count(LOST)
    assert set(pool.take_metrics()) == names
    assert {f"sandbox/fault/{kind}" for kind in FAULTS} < names
    assert pool.take_metrics()["sandbox/fault/may_have_started"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"concurrency": 0}, "`concurrency` is 0"), ({"retries": -1}, "`retries`"), ({"queue_s": 0}, "`queue_s` is 0"),
     ({"outage_s": float("nan")}, "`outage_s`"), ({"progress": "loud"}, "'loud'")],
)  # fmt: skip
def test_settings_that_cannot_work_are_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        PoolConfig(**changes)
    with pytest.raises(ConfigError, match="already"):
        SandboxPool(SandboxPool(Fake()))


# --- over the real thing


async def test_over_the_local_sandbox_a_killed_worker_costs_its_own_program(tmp_path):
    task = toy_task(tmp_path)
    async with SandboxPool(LocalSandbox(SandboxConfig(workers=2, preload=()))) as pool:
        codes = [f"print({n})" for n in range(12)] + ["import os, signal\nos.kill(os.getpid(), signal.SIGTERM)"]
        runs = [
            asyncio.create_task(pool.run(code, task, Limits(wall_s=120), group=n % 3)) for n, code in enumerate(codes)
        ]
        slow = asyncio.create_task(pool.run("import time\ntime.sleep(3600)", task, Limits(wall_s=3600)))
        results = await asyncio.gather(*runs)
        assert [result.stdout for result in results[:12]] == [f"{n}\n" for n in range(12)]
        assert results[12].status == "killed"
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(HANG_S):
                await slow
        for slot in pool.sandbox._slots:
            if slot.worker is not None:
                slot.worker.process.kill()
                slot.worker.process.wait()
        assert (await pool.run("print(1)", task)).stdout == "1\n"
        assert sum(pool.counts.faults.values()) == 0


async def test_a_local_worker_that_cannot_start_is_tried_again(tmp_path):
    task = toy_task(tmp_path)

    class Repaired(LocalSandbox):
        async def run(self, *arguments, **keywords):
            try:
                return await super().run(*arguments, **keywords)
            finally:
                self.python = python

    async with SandboxPool(Repaired(SandboxConfig(workers=1, preload=()))) as pool:
        slot = pool.sandbox._slots[0]
        slot.worker.process.kill()
        slot.worker.process.wait()
        python, pool.sandbox.python = pool.sandbox.python, str(tmp_path / "gone")
        assert (await pool.run("print(1)", task)).stdout == "1\n"
        assert pool.counts.retried == 1
