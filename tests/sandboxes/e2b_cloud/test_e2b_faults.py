"""Every fault of E2B ends in a result or in an error that says whether the program may have started; none leaves a sandbox."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandboxes.e2b_cloud.test_e2b import LIMITS, WAIT, runs, settings, started, until
from tests.support import e2b_server as fault
from tests.support.hang import HANG_S
from tests.support.tasks import toy_task
from trl_mle import E2BSandbox, MLEReward, PoolConfig, RewardConfig, SandboxPool
from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.e2b_cloud.errors import explained
from trl_mle.sandboxes.e2b_cloud.timing import E2BTiming
from trl_mle.sandboxes.e2b_cloud.vm import _parse
from trl_mle.sandboxes.local.runner import frames
from trl_mle.sandboxes.local.runner.protocol import GuestReply, ProgramResult

CODE = "import time\ntime.sleep(0.5)\nprint('done')\nopen('submission.csv', 'w').write('x' * 5000)"
REQUEST_S, HANGING_REQUEST_S = 20.0, 3.0
"""Time-outs of requests, in seconds: long, and where a request hangs, which costs the whole time."""
TIMING = E2BTiming(answer_s=20.0, poll_s=0.1, spare_s=5.0, kill_s=20.0, kill_again_s=0.05, sweep_s=0.05)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("E2B_API_KEY", fault.KEY)


@pytest.fixture
def server():
    with serving() as running:
        yield running


@contextmanager
def serving():
    """A server, of whose sandboxes none may be left."""
    with fault.serve() as running:
        yield running
        assert running.vms == {}
        assert [fault.processes(ended) for ended in running.ended] == [[]] * len(running.ended)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("e2b_faults"))


def passing(handler):
    return False


async def meet(server, task, step, nth, *faults, limits=LIMITS, code=CODE, timing=TIMING):
    """The result of a program whose `nth` request of `step` meets `faults`."""
    server.order(step, *[passing] * (nth - 1), *faults)
    request_s = REQUEST_S
    if fault.hang in faults:
        request_s, timing = HANGING_REQUEST_S, replace(timing, kill_s=HANGING_REQUEST_S)
    began = time.monotonic()
    async with E2BSandbox(settings(server, request_timeout_s=request_s), timing=timing) as sandbox:
        try:
            return await sandbox.run(code, task, limits)
        except SandboxError as error:
            return error
        finally:
            assert time.monotonic() - began < 2 * HANG_S


async def meet_all(task, cases) -> dict[str, tuple[object, fault.Server]]:
    """The results of many cases, each with a server of its own, and these servers."""
    at_once = asyncio.Semaphore(8)
    found = {}

    async def meet_one(name, step, nth, faults):
        async with at_once:
            with serving() as server:
                found[name] = (await meet(server, task, step, nth, *faults), server)

    # What hangs takes longest and is begun first.
    in_order = sorted(cases.items(), key=lambda case: fault.hang not in case[1][2])
    await asyncio.gather(*(meet_one(name, *case) for name, case in in_order))
    return found


def is_done(result) -> bool:
    assert not isinstance(result, Exception), result
    assert (result.status, result.stdout, result.submission) == ("ok", "done\n", b"x" * 5000)
    assert 0.45 < result.wall_s < 10
    return True


FOUR_BUSY = [fault.status(429)] * 4  # the SDK tries four times
REFUSED_FOR_LONG = fault.status(429, Retry_After="3600")

# step, which request of it, what it meets
BEFORE = {
    "create 429": ("create", 1, FOUR_BUSY),
    "create 429, retry after": ("create", 1, [REFUSED_FOR_LONG]),
    "create 500": ("create", 1, [fault.status(500)]),
    "create 503": ("create", 1, [fault.status(503)] * 4),
    "create reset": ("create", 1, [fault.reset]),
    "create hangs": ("create", 1, [fault.hang]),
    "create, answer lost": ("create", 1, [fault.lost_answer]),
    **{
        f"{step} {nth} {name}": (step, nth, [what])
        for step, nths in (("write", (1, 2, 3)), ("start", (1, 2)))
        for nth in nths
        for name, what in (
            ("401", fault.status(401)),
            ("429", fault.status(429)),
            ("500", fault.status(500)),
            ("502 gone", fault.gone),
            ("reset", fault.reset),
            ("hangs", fault.hang),
        )
    },
    "program 429": ("start", 3, [fault.status(429)]),
    "program 502 gone": ("start", 3, [fault.gone]),
}


SLOW = [pytest.param(step, marks=pytest.mark.slow) for step in ("write 2", "write 3", "start 2")]


@pytest.mark.parametrize("step", ["create", "write 1", "start 1", "program", *SLOW])
async def test_before_the_program_started(task, step):
    for name, (error, server) in (await meet_all(task, of_step(BEFORE, step))).items():
        assert isinstance(error, SandboxError) and not isinstance(error, SandboxUnavailableError), (name, error)
        assert error.may_have_started is False, (name, error)
        assert error.retry_after_s == (3600.0 if REFUSED_FOR_LONG in BEFORE[name][2] else None), (name, error)
        assert sum(map(runs, server.ended)) == 0, name


def of_step(cases, step):
    return {name: case for name, case in cases.items() if name.startswith(step)}


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refused_key_is_lasting(server, task, code):
    error = await meet(server, task, "create", 1, fault.status(code, f"you sent {fault.KEY}"))
    assert isinstance(error, SandboxUnavailableError)
    assert "E2B_API_KEY" in str(error)
    assert fault.KEY not in str(error)


@pytest.mark.parametrize(
    ("code", "words"), [(400, "Timeout cannot be greater than 1 hours"), (404, "template not found")]
)
async def test_a_refused_setting_is_lasting(server, task, code, words):
    error = await meet(server, task, "create", 1, fault.status(code, words))
    assert isinstance(error, SandboxUnavailableError)
    assert words in str(error) and "`session_s`" in str(error)


IN_DOUBT = {
    "program 500": ("start", 3, [fault.status(500)]),
    "program reset": ("start", 3, [fault.reset]),
    "program hangs": ("start", 3, [fault.hang]),
    "evicted while running": ("start", 3, [fault.evict_while_running]),
    "runner killed": ("start", 3, [fault.kill_while_running]),
    "read 500": ("read", 1, [fault.status(500)] * 3),
    "read 502 gone": ("read", 1, [fault.gone]),
    "read reset": ("read", 1, [fault.reset] * 3),
    "read hangs": ("read", 1, [fault.hang] * 3),
    "read cut": ("read", 1, [fault.cut_body] * 3),
    "read, never there": ("read", 1, [fault.status(404)] * 3),
}


async def test_after_the_program_may_have_started(task):
    for name, (error, _) in (await meet_all(task, IN_DOUBT)).items():
        assert isinstance(error, SandboxError) and not isinstance(error, SandboxUnavailableError), (name, error)
        assert error.may_have_started is True, (name, error)


OVERCOME = {
    "create 429 once": ("create", 1, [fault.status(429)]),
    "create 429, retry after 1 s": ("create", 1, [fault.status(429, Retry_After="1")]),
    "create 504, although created": ("create", 1, [fault.created_but(504)]),
    "create slow": ("create", 1, [fault.slow(1)]),
    "write slow": ("write", 1, [fault.slow(0.5)] * 3),
    "start slow": ("start", 1, [fault.slow(0.5)] * 3),
    "stream reset": ("start", 3, [fault.reset_while_running]),
    "read 500 once": ("read", 1, [fault.status(500)]),
    "read reset once": ("read", 1, [fault.reset]),
    "read cut twice": ("read", 1, [fault.cut_body] * 2),
    "read slow": ("read", 1, [fault.trickle]),
    "kill 500 once": ("kill", 1, [fault.status(500)]),
    "kill reset once": ("kill", 1, [fault.reset]),
    "kill hangs once": ("kill", 1, [fault.hang]),
    "kill gone": ("kill", 1, [fault.lost_answer]),
}


async def test_what_is_overcome(task):
    for name, (result, server) in (await meet_all(task, OVERCOME)).items():
        assert is_done(result), name
        assert started(server) == 1, name
        assert sum(map(runs, server.ended)) == 1, name


async def test_a_stream_that_falls_silent(server, task):
    limits, timing = replace(LIMITS, wall_s=3.0), replace(TIMING, answer_s=3.0)  # it lasts for both
    assert is_done(await meet(server, task, "start", 3, fault.silent_while_running, limits=limits, timing=timing))


async def test_a_time_out_is_no_fault(server, task):
    result = await meet(server, task, "start", 3, fault.reset_while_running, limits=replace(LIMITS, wall_s=0.3))
    assert (result.status, result.submission) == ("timeout", None)
    assert "wall-clock limit" in result.stderr


async def test_a_kill_that_fails_is_logged_and_swept(server, task, caplog):
    assert is_done(await meet(server, task, "kill", 1, *[fault.status(500)] * 3))
    assert "E2B sandbox m0 could not be killed" in caplog.text


async def test_a_start_whose_answer_was_lost_is_looked_for_at_once(server, task):
    server.order("create", fault.lost_answer)
    async with E2BSandbox(settings(server, request_timeout_s=REQUEST_S), timing=TIMING) as sandbox:
        with pytest.raises(SandboxError):
            await sandbox.run(CODE, task, LIMITS)
        assert (started(server), server.vms) == (1, {})


async def test_an_end_without_answers_ends(task, caplog):
    with fault.serve() as server:
        server.order("kill", *[fault.hang] * 100)
        server.order("list", *[fault.hang] * 100)
        began = time.monotonic()
        assert is_done(await meet(server, task, "create", 1, passing, timing=replace(TIMING, kill_s=1.0, list_s=1.0)))
        assert time.monotonic() - began < 2 * HANG_S
        assert "could not be killed" in caplog.text
        assert "could not be listed" in caplog.text


async def test_a_reply_without_end(server, task):
    limits = replace(LIMITS, output_bytes=1000, submission_bytes=1000)
    error = await meet(server, task, "read", 1, *[fault.endless] * 3, limits=limits)
    assert "more than" in str(error)
    assert error.may_have_started


RESULT = ProgramResult(
    status="ok",
    exit_code=0,
    wall_s=1.0,
    cpu_s=0.5,
    max_rss_bytes=1,
    stdout=b"out",
    stderr=b"",
    stdout_cut_bytes=0,
    stderr_cut_bytes=0,
    submission=b"file",
    submission_reason=None,
)
REPLY = frames.pack(GuestReply("s", RESULT))


def test_a_whole_reply():
    assert _parse(REPLY, "s") == RESULT


@given(st.data())
def test_a_reply_that_is_not_whole(data):
    cut = data.draw(st.integers(0, len(REPLY) - 1))
    for content, secret in ((REPLY[:cut], "s"), (REPLY + b"x", "s"), (REPLY, "t"), (data.draw(st.binary()), "s")):
        with pytest.raises(SandboxError):
            _parse(content, secret)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (lambda: "7", 7, 7),
        (lambda: formatdate(time.time() + 100, usegmt=True), 50, 101),
        (lambda: formatdate(0), 0, 0),
    ],
    ids=["seconds", "date", "past"],
)
async def test_how_long_e2b_asks_to_wait(server, task, value, least, most):
    async with E2BSandbox(settings(server), timing=TIMING) as sandbox:
        await sandbox.run("print(1)", task, LIMITS)
        server.order("write", fault.status(429, Retry_After=value()))
        with pytest.raises(SandboxError) as caught:
            await sandbox.run("print(1)", task, LIMITS)
    assert least <= caught.value.retry_after_s <= most


async def test_a_list_that_fails_is_logged(server, task, caplog):
    assert is_done(await meet(server, task, "list", 1, *[fault.status(500)] * 3))
    assert "E2B sandboxes could not be listed" in caplog.text


async def test_a_sandbox_that_ended_between_two_programs(server, task):
    async with E2BSandbox(settings(server), timing=TIMING) as sandbox:
        await sandbox.run("print(1)", task, LIMITS)
        server.evict("m0")
        with pytest.raises(SandboxError) as caught:
            await sandbox.run("print(1)", task, LIMITS)
        assert not caught.value.may_have_started
        assert (await sandbox.run("print(1)", task, LIMITS)).stdout == "1\n"
    assert started(server) == 2


async def test_a_sandbox_that_refuses_one_request_is_kept(server, task):
    async with E2BSandbox(settings(server), timing=TIMING) as sandbox:
        await sandbox.run("print(1)", task, LIMITS)
        server.order("write", fault.status(429, Retry_After="7"))
        with pytest.raises(SandboxError) as caught:
            await sandbox.run("print(1)", task, LIMITS)
        assert (caught.value.may_have_started, caught.value.retry_after_s) == (False, 7.0)
        assert (await sandbox.run("print(1)", task, LIMITS)).stdout == "1\n"
    assert started(server) == 1


async def test_a_worker_that_died_is_replaced(server, task):
    """Inside the sandbox: the process that runs programs is gone, the one that serves goes on."""
    async with E2BSandbox(settings(server), timing=TIMING) as sandbox:
        await sandbox.run("print(1)", task, LIMITS)
        (home,) = server.vms.values()
        fault.kill(home, "runner")
        try:
            assert (await sandbox.run("print(2)", task, LIMITS)).stdout == "2\n"
        except SandboxError as error:
            assert not error.may_have_started
        assert (await sandbox.run("print(3)", task, LIMITS)).stdout == "3\n"


@pytest.mark.slow
async def test_a_program_that_ends_the_worker_pays_for_it_where_it_can(server, task):
    """As in `LocalSandbox`, without the layer `signals`. As a fault, the program would escape its penalty."""
    sandbox = E2BSandbox(settings(server, max_sandboxes=1), timing=TIMING)
    sandbox._without = ("namespaces", "signals")
    async with asyncio.timeout(2 * HANG_S), sandbox:
        await sandbox.run("print(1)", task, LIMITS)
        (vm,) = server.vms.values()
        run = asyncio.create_task(sandbox.run(WAIT, task, LIMITS))
        await until(lambda: list(vm.home.rglob("begun")))
        fault.kill(vm, "runner")
        execution = await run
        assert (execution.status, execution.exit_code) == ("killed", None)
        assert 0 < execution.cpu_s <= execution.wall_s < HANG_S
        assert (await sandbox.run("print(2)", task, LIMITS)).stdout == "2\n"


async def test_a_fault_of_the_worker_before_the_start_is_retried(server, task):
    """The worker itself says that the program has not started: it lacks descriptors for the program's pipes."""
    pool = SandboxPool(E2BSandbox(settings(server, max_sandboxes=1), timing=TIMING), PoolConfig(progress="off"))
    async with asyncio.timeout(2 * HANG_S), pool:
        await pool.run("print(1)", task, LIMITS)
        (vm,) = server.vms.values()
        for pid in fault.interpreters(vm, "runner"):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (6, 1024))
        assert (await pool.run("print(2)", task, LIMITS)).stdout == "2\n"
        assert pool.counts.retried == 1
    assert started(server) == 2, "a faulty E2B sandbox is not used again"


async def test_a_worker_that_cannot_be_replaced_is_a_fault_before_the_start(server, task):
    """The server in the VM has no room for the folder of a new worker: the program has not been seen by anyone."""
    pool = SandboxPool(E2BSandbox(settings(server, max_sandboxes=1), timing=TIMING), PoolConfig(progress="off"))
    async with asyncio.timeout(2 * HANG_S), pool:
        await pool.run("print(1)", task, LIMITS)
        (vm,) = server.vms.values()
        (vm.home / "trl_mle" / "worker-2").write_text("in the way")
        for pid in fault.interpreters(vm, "runner"):
            os.kill(pid, signal.SIGKILL)
        assert (await pool.run("print(2)", task, LIMITS)).stdout == "2\n"
        assert pool.counts.retried == 1
    assert started(server) == 2


REWARDS = {
    "create 500": ("create", 1, fault.status(500)),
    "write 502 gone": ("write", 3, fault.gone),
    "program reset": ("start", 3, fault.reset),
    "evicted while running": ("start", 3, fault.evict_while_running),
    "runner killed": ("start", 3, fault.kill_while_running),
    "read 502 gone": ("read", 1, fault.gone),
}


async def test_a_fault_is_never_a_reward(task):
    async def reward_of(name, step, nth, what):
        with serving() as server:
            server.order(step, *[passing] * (nth - 1), what)
            sandbox = E2BSandbox(settings(server, request_timeout_s=REQUEST_S, max_sandboxes=1), timing=TIMING)
            reward = MLEReward(sandbox, reward=RewardConfig(infrastructure_retries=0), tasks={"toy": task})
            extra: dict[str, list] = {}
            rewards = []
            for _ in range(2):
                rewards += await reward([None], [PROGRAM], task=["toy"], log_extra=extra.__setitem__)
            await sandbox.__aexit__()
            assert rewards[0] is None, name
            assert rewards[1] > 0.9, name
            assert 0.5 < extra["action_duration"][0] < HANG_S, name

    await asyncio.gather(*(reward_of(name, *case) for name, case in REWARDS.items()))


PROGRAM = """```python
import pandas as pd, time
test = pd.read_csv("input/test.csv")
test["y"] = 2 * test["a"] - test["b"]
test[["id", "y"]].to_csv("submission.csv", index=False)
time.sleep(0.5)
```"""


def test_an_error_of_ours_passes_through():
    with pytest.raises(SandboxError, match="as it was"), explained("this"):
        raise SandboxError("as it was")
    with pytest.raises(asyncio.CancelledError), explained("this"):
        raise asyncio.CancelledError
