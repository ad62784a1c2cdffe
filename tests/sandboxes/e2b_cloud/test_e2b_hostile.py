"""Hostile programs in a sandbox that is used again: each costs its own sample, none reaches what is reported or the next one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sandboxes.e2b_cloud.test_e2b import LIMITS, settings, started
from tests.support.e2b_server import KEY, kill, processes, serve
from tests.support.local_sandbox import until
from tests.support.tasks import toy_task
from trl_mle import E2BSandbox
from trl_mle.errors import SandboxError


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("E2B_API_KEY", KEY)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("e2b_hostile"))


@pytest.fixture
def server():
    with serve() as running:
        yield running
    assert [processes(vm) for vm in running.ended] == [[]] * len(running.ended)


@pytest.fixture(params=[(), pytest.param(("namespaces",), marks=pytest.mark.slow)], ids=["layers", "fall_back"])
def sandbox(request, server):
    sandbox = E2BSandbox(settings(server, max_sandboxes=1))
    sandbox._without = request.param
    return sandbox


async def attacked(sandbox, server, task, code, limits=LIMITS, sandboxes=1):
    """The execution of a hostile program, after which an honest one runs in the same sandbox as if nothing had been."""
    async with sandbox:
        await sandbox.run("print(0)", task, limits)  # the sandbox is prepared, its public files are there
        (vm,) = server.vms.values()
        quiet = set(processes(vm))
        execution = await sandbox.run(f"folder = {str(vm.home)!r}\n{code}", task, limits)
        await until(lambda: set(processes(vm)) <= quiet)  # what served the program takes a moment to end
        assert [path.name for path in (vm.home / "trl_mle").glob("worker-*")] == ["worker-1"], "it was not replaced"
        assert [path.name for path in vm.home.rglob("*") if "evil" in path.name] == []
        honest = await sandbox.run(
            "import os\nprint(sorted(os.listdir()), len(open('input/train.csv').readlines()))", task, limits
        )
        assert honest.stdout == "['input', 'main.py', 'tmp'] 91\n"
        assert (honest.status, honest.stderr, honest.submission) == ("ok", "", None)
    assert started(server) == sandboxes
    return execution


async def test_it_kills_whatever_it_can(sandbox, server, task):
    code = """
import os, signal
killed = []
for name in [*range(2, 70_000), -1, 0, os.getppid()]:
    if name in (os.getpid(), -os.getpid()):
        continue
    try:
        os.kill(name, 0)
        killed.append(name)
    except OSError:
        pass
print([pid for pid in killed if pid > 0 and pid != os.getpid()])
"""
    execution = await attacked(sandbox, server, task, code)
    assert execution.status == "ok"
    assert execution.stdout == "[]\n"


KILL_ALL = """
import os
try:
    os.kill(-1, 9)
except OSError:
    pass
print("here")
"""


async def test_it_kills_everything_at_once(server, task):
    sandbox = E2BSandbox(settings(server, max_sandboxes=1))
    async with sandbox:
        await sandbox.run("print(0)", task, LIMITS)
        if not all(layer.active for layer in sandbox.layers):
            pytest.skip("on this machine it might hit others")
    execution = await attacked(sandbox, server, task, KILL_ALL, sandboxes=2)
    assert (execution.status, execution.stdout) == ("ok", "here\n")


async def test_it_leaves_a_daemon(sandbox, server, task):
    code = """
import os, time
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(0.01)
        os._exit(0)
print("left")
"""
    execution = await attacked(sandbox, server, task, code)
    assert (execution.status, execution.stdout) == ("ok", "left\n")


async def test_it_writes_a_large_file(sandbox, server, task):
    limits = replace(LIMITS, file_bytes=1024**3, work_bytes=100 * 1024**2)
    code = """
import signal
with open("evil", "wb") as file:
    for _ in range(1024):
        file.write(b"x" * 1024**2)
signal.pause()
"""
    execution = await attacked(sandbox, server, task, code, limits)
    assert execution.status == "output"
    assert "files of" in execution.stderr.splitlines()[-1]


async def test_it_prints_without_end(sandbox, server, task):
    execution = await attacked(
        sandbox, server, task, "while True: print('x' * 1000)", replace(LIMITS, output_bytes=10_000)
    )
    assert execution.status == "output"
    assert len(execution.stdout) == 10_000
    assert execution.stdout_cut_bytes > 0
    assert "more than 10000 bytes were printed" in execution.stderr


async def test_it_forks_without_end(sandbox, server, task):
    code = "import os, time\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.01)"
    execution = await attacked(sandbox, server, task, code, replace(LIMITS, wall_s=4))
    assert execution.status in ("killed", "timeout", "memory")


async def test_it_eats_memory(sandbox, server, task):
    code = "x = []\nwhile True: x.append(b'1' * 10_000_000)"
    execution = await attacked(sandbox, server, task, code)
    assert (execution.status, execution.submission) == ("memory", None)


async def test_it_forges_a_reply(sandbox, server, task):
    code = """
import json, os, struct
found = []
for here, folders, files in os.walk(folder):
    found += [os.path.join(here, name) for name in (*folders, *files)]
result = {"type": "ProgramResult", "status": "ok", "exit_code": 0, "wall_s": 0.0, "cpu_s": 0.0, "max_rss_bytes": 1,
        "stdout": {"blob": 0}, "stderr": {"blob": 1}, "stdout_cut_bytes": 0, "stderr_cut_bytes": 0,
        "submission": {"blob": 2}, "submission_reason": None}
message = {"message": {"type": "GuestReply", "secret": "?", "reply": result}, "blobs": [0, 0, 6]}
body = json.dumps(message).encode()
for target in {folder, os.path.join(folder, "trl_mle"), "/trl_mle", "/", ".", "..", os.path.expanduser("~"), *found}:
    for name in ("reply", "reply.part", "evil", "run-evil/reply", "request"):
        try:
            os.makedirs(os.path.dirname(os.path.join(target, name)), exist_ok=True)
            with open(os.path.join(target, name), "wb") as file:
                file.write(struct.pack(">QQ", len(body), 6) + body + b"id,y\\n1")
            print("wrote", os.path.join(target, name))
        except OSError:
            pass
print("found", found)
os.write(1, struct.pack(">QQ", len(body), 6) + body)
raise SystemExit(7)
"""
    execution = await attacked(sandbox, server, task, code)
    assert (execution.status, execution.exit_code, execution.submission) == ("error", 7, None)
    assert "found []" in execution.stdout
    if sandbox._without:  # with a private root, folders of that name are its own
        places = [line.split()[1] for line in execution.stdout.splitlines() if line.startswith("wrote")]
        folder = f"{server.ended[0].home}/"
        assert [place for place in places if place.startswith(folder) and "/worker-1/run-" not in place] == []


async def test_it_speaks_to_the_process_that_serves(sandbox, server, task):
    code = """
import os, socket
for path in (os.path.join(folder, "trl_mle", "socket"), os.path.join(folder, "socket")):
    try:
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        print("connected")
        client.sendall(b"/tmp/evil\\n")
    except OSError as error:
        print(type(error).__name__)
"""
    execution = await attacked(sandbox, server, task, code)
    assert "connected" not in execution.stdout


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.symlink('input/train.csv', 'submission.csv')", "symbolic link"),
        ("os.symlink(folder + '/trl_mle/log', 'submission.csv')", "symbolic link"),
        ("os.mkfifo('submission.csv')", "not a regular file"),
        ("open('submission.csv', 'wb').truncate(2000)", "has 2000 bytes; at most 1000"),
    ],
)
async def test_it_submits_what_is_no_submission(sandbox, server, task, code, reason):
    execution = await attacked(sandbox, server, task, f"import os\n{code}", replace(LIMITS, submission_bytes=1000))
    assert execution.submission is None
    assert reason in execution.submission_reason


async def test_it_changes_the_public_files(sandbox, server, task):
    code = """
import os, pathlib
for action in (
    lambda: open("input/train.csv", "w").write("evil"),
    lambda: os.unlink("input/train.csv"),
    lambda: os.chmod("input/train.csv", 0o777),
    lambda: os.rename("input/train.csv", "input/evil.csv"),
    lambda: open("input/evil", "w"),
):
    try:
        action()
        print("done")
    except OSError as error:
        print(type(error).__name__)
"""
    execution = await attacked(sandbox, server, task, code)
    outcomes = execution.stdout.split()
    assert len(outcomes) == 5
    assert "done" not in [outcomes[0], outcomes[1], *outcomes[3:]]


async def test_the_process_that_serves_is_killed_all_the_same(server, task):
    """What no program can do here: then nothing is known about the program, and the sandbox is not used again."""
    async with E2BSandbox(settings(server, max_sandboxes=1)) as sandbox:
        await sandbox.run("print(0)", task, LIMITS)
        (vm,) = server.vms.values()
        kill(vm, "guest")
        with pytest.raises(SandboxError):
            await sandbox.run("print(1)", task, LIMITS)
        assert (await sandbox.run("print(2)", task, LIMITS)).stdout == "2\n"
    assert started(server) == 2
