"""Attacks on what the kernel shares out per user or per machine: a program that takes all of it takes it from everyone."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest

from tests.sandboxes.attacks.hostile import CALL, make_limits, with_values
from tests.support.local_sandbox import make_task
from trl_mle.config import SandboxConfig
from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.modes import MODES

_MODES = {mode.name: mode for mode in MODES}

ON_THE_WAY = """
import os, socket, time
kept, held = [], 0
def send():
    global held
    while held < 4000:
        ends, files = socket.socketpair(), [os.open("/dev/null", 0) for _ in range(count)]
        kept.append(ends)
        socket.send_fds(ends[0], [b"x"], files)
        held += count
        for file in files: os.close(file)
attempt(send)
print("held", held, flush=True)
time.sleep(0.2)
"""


@pytest.fixture
def few_open_files():
    """The number of open files that many systems let a process have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    yield 1024
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_descriptors_on_their_way_do_not_stop_other_programs(tmp_path, few_open_files):
    """The kernel counts them per user: once there are as many as a process may have open files, it can send none."""
    task = make_task(tmp_path / "task", packages=())
    code = with_values(ON_THE_WAY, {"count": 253})
    async with asyncio.timeout(60), LocalSandbox(SandboxConfig(workers=2, preload=())) as sandbox:
        attack = asyncio.ensure_future(sandbox.run(code, task, make_limits({})))
        others = [await sandbox.run("print(1)", task)]
        while not attack.done():
            others.append(await sandbox.run("print(1)", task))
        execution = await attack
    assert "REFUSED" in execution.stdout  # it has taken what there was
    assert int(execution.stdout.split()[-1]) < few_open_files
    assert {(other.status, other.stdout) for other in others} == {("ok", "1\n")}


TAKES = {
    "instances_of_inotify": "[call(294, 0) for _ in range(20)]",
    "asynchronous_operations": "call(206, 100, ctypes.byref(ctypes.c_ulong()))",
    "threads_of_a_core": "checked(libc.prctl(62, 1, 0, 0, 0))",
    "timers": "[call(222, 1, None, ctypes.byref(ctypes.c_int())) for _ in range(2000)]",
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of system calls are those of x86-64")
@pytest.mark.parametrize("take", TAKES)
def test_what_users_share_is_not_taken(box, control, take):
    code = f"{CALL}attempt(lambda: {TAKES[take]})"
    outside = control(code)
    execution = box.run(code)
    assert "GOT" not in execution.stdout
    assert "REFUSED" in execution.stdout
    if not outside.succeeded:
        pytest.skip(f"refused, but so it is without the sandbox: {outside.stdout.strip()[:200]}")


def test_what_users_may_raise_programs_may_not(box):
    """Where a user may have a real-time priority, a program could take a core from everyone."""
    names = ("RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO")
    code = "import resource\nprint(*(resource.getrlimit(getattr(resource, name)) for name in names))"
    assert box.run(code, {"names": names}).stdout == "(0, 0) (0, 0) (0, 0)\n"


def test_watches_of_epoll_are_bounded(box, control):
    """When all that a user may have are taken, the event loop of the trainer can watch nothing new."""
    code = """
import os, select, time
read, write = os.pipe()
files = [os.dup(read) for _ in range(300)]
polls = []
for _ in range(300):
    polls.append(select.epoll())
    for file in files: polls[-1].register(file)
print("GOT", 300 * len(files), flush=True)
time.sleep(wait)
"""
    assert control(code, {"wait": 0}).succeeded
    execution = box.run(code, {"wait": 8})
    assert (execution.status, "watched by epoll" in execution.stderr) == ("killed", True)


def test_a_larger_buffer_of_a_socket_has_no_effect(box, control):
    code = "import socket\na, b = socket.socketpair()\na.setsockopt(1, 7, 100_000)\nprint('GOT', a.getsockopt(1, 7))"
    assert control(code).stdout == "GOT 200000\n"
    assert box.run(code).stdout == f"GOT {Path('/proc/sys/net/core/wmem_default').read_text()}"


_EMPTIES = """
import os
def empty(name):
    os.close(os.open(name, os.O_RDONLY | os.O_TRUNC))
    return os.stat(name).st_size
attempt(lambda: os.truncate(name, 0))
attempt(lambda: empty(name))
"""


async def test_no_file_is_emptied_where_landlock_does_not_hold_that_back(tmp_path, control):
    """Before version 3 Landlock knows no truncation: the answers were as good as writable."""
    task = make_task(tmp_path / "task", packages=())
    other = tmp_path / "other"
    files = [*task.public_dir.iterdir(), task.folder / "private/answers.csv"]
    before = {path: path.read_bytes() for path in files}
    sandbox = LocalSandbox(SandboxConfig(workers=1, preload=()))
    sandbox._without = (*_MODES["no_signals"].without, "truncation")
    async with asyncio.timeout(60), sandbox:
        for path in files:
            other.write_bytes(before[path])
            assert "GOT 0\n" in control(_EMPTIES, {"name": str(other), "of": str(path)}).stdout
            execution = await sandbox.run(with_values(_EMPTIES, {"name": str(path)}), task)
            assert execution.stdout.count("REFUSED") == 2
        own = "open('f', 'w').write('abc')\nwith open('f', 'r+') as f: f.truncate(2)\nopen('g', 'w').write(open('f').read())"
        execution = await sandbox.run(
            f"{own}\nopen('g', 'w').write('x')\nprint(open('f').read(), open('g').read())", task
        )
    assert execution.stdout == "ab x\n"
    assert {path: path.read_bytes() for path in files} == before
