"""The real SDK against a loopback server: what an E2B sandbox is given, what comes back, and that none is left."""

from __future__ import annotations

import ast
import asyncio
import gzip
import io
import logging
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import trl_mle
from tests.support import e2b_server
from tests.support.e2b_server import KEY, processes, room_for, serve, slow
from tests.support.hang import HANG_S
from tests.support.tasks import toy_task
from trl_mle import E2BConfig, E2BSandbox, PoolConfig, SandboxPool
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError, UserError
from trl_mle.sandboxes import python_version
from trl_mle.sandboxes.e2b_cloud import bundle, guest
from trl_mle.sandboxes.e2b_cloud.timing import E2BTiming
from trl_mle.sandboxes.e2b_cloud.vm import VM
from trl_mle.sandboxes.e2b_cloud.vm_pool import VMPool
from trl_mle.sandboxes.local import runner
from trl_mle.types import Limits

LIMITS = Limits(wall_s=20, memory_bytes=400 * 1024**2)
WAIT = "import time\nopen('begun', 'w').close()\nwhile True: time.sleep(0.01)"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("E2B_API_KEY", KEY)


@pytest.fixture
def server():
    with serve() as running:
        yield running
    assert [processes(vm) for vm in running.ended] == [[]] * len(running.ended)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("e2b"))


def settings(server, **changes) -> E2BConfig:
    return E2BConfig(
        **{"api_url": server.url, "sandbox_url": server.url, "python": sys.executable, "preload": (), **changes}
    )


def started(server) -> int:
    return len(server.vms) + len(server.ended)


def runs(vm) -> int:
    return sum(" run " in command for command in vm.commands)


async def until(condition) -> None:
    async with asyncio.timeout(2 * HANG_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_a_program_finds_and_what_comes_back(server, task):
    code = """
import os, sys
print(sorted(os.listdir()), sorted(os.listdir("input")))
print(open("main.py").read() == source, file=sys.stderr) if (source := "the source") else None
try:
    open("input/train.csv", "a")
except OSError as error:
    print(type(error).__name__)
open("submission.csv", "w").write("id,y\\n")
sys.exit(3)
"""
    async with E2BSandbox(settings(server)) as sandbox:
        execution = await sandbox.run(code, task, LIMITS, source="the source")
    assert (execution.status, execution.exit_code) == ("error", 3)
    assert execution.stdout.splitlines()[0] == (
        "['input', 'main.py', 'tmp'] ['sample_submission.csv', 'test.csv', 'train.csv']"
    )
    assert execution.stdout.splitlines()[1] in ("OSError", "PermissionError")
    assert execution.stderr == "True\n"
    assert execution.submission == b"id,y\n"
    assert 0 < execution.wall_s < LIMITS.wall_s
    assert server.vms == {}


async def test_lines_are_those_of_the_source(server, task):
    async with E2BSandbox(settings(server)) as sandbox:
        added = "print('added\\n', end='')\n"  # as marks are
        execution = await sandbox.run(f"{added}x = 1\n{added}1 / 0\n", task, source="x = 1\n1 / 0\n")
    assert 'File "main.py", line 2, in <module>\n    1 / 0\n' in execution.stderr
    assert execution.stdout == "added\n", "each mark is written once"


async def test_time_is_the_programs_own(server, task):
    server.order("start", slow(0.1), slow(0.1), slow(4))
    code = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\ntime.sleep(0.2)"
    async with E2BSandbox(settings(server)) as sandbox:
        began = time.monotonic()
        execution = await sandbox.run(code, task, LIMITS)
        seconds = time.monotonic() - began
        assert 0.15 <= execution.cpu_s <= execution.wall_s - 0.15  # sleep takes no CPU time
        assert execution.wall_s < seconds - 4  # its start took 4.2 s more
        (factor,) = sandbox.speed_factors.values()
    assert 0.01 < factor < 100


async def test_a_time_out_keeps_its_output_and_says_why(server, task):
    async with E2BSandbox(settings(server)) as sandbox:
        execution = await sandbox.run("print('before')\nwhile True: pass", task, replace(LIMITS, wall_s=2.0))
        assert (execution.status, execution.stdout) == ("timeout", "before\n")
        assert execution.stderr.splitlines()[-1] == "Stopped by the sandbox: the wall-clock limit of 2 s has passed."
        assert (await sandbox.run("print(1)", task, LIMITS)).stdout == "1\n"
    assert started(server) == 1


async def test_public_files_are_uploaded_once_and_answers_never(server, task):
    answers = (task.folder / "private" / "answers.csv").read_bytes()
    async with E2BSandbox(settings(server, max_sandboxes=1)) as sandbox:
        for _ in range(3):
            await sandbox.run("print(1)", task, LIMITS)
    (vm,) = server.ended
    archives = [content for path, content in vm.uploads if path.endswith(".tar.gz")]
    assert len(archives) == 1
    names = subprocess.run(["tar", "-tz"], input=archives[0], capture_output=True, check=True).stdout.decode().split()
    assert sorted(names) == ["sample_submission.csv", "test.csv", "train.csv"]
    sent = [gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content for _, content in vm.uploads]
    assert not any(answers in content or str(task.folder).encode() in content for content in sent)


async def test_changed_public_files_are_uploaded_again(server, tmp_path):
    task = toy_task(tmp_path)
    async with E2BSandbox(settings(server)) as sandbox:
        await sandbox.run("print(1)", task, LIMITS)
        (task.public_dir / "more.csv").write_text("new")
        (task.public_dir / "link.csv").symlink_to(task.public_dir / "more.csv")
        execution = await sandbox.run(
            "print(open('input/more.csv').read(), open('input/link.csv').read())", task, LIMITS
        )
    assert execution.stdout == "new new\n"


@pytest.mark.parametrize(("reuse", "expected"), [(True, 1), (False, 3)])
async def test_reuse(server, task, reuse, expected):
    async with E2BSandbox(settings(server, reuse=reuse)) as sandbox:
        for number in range(3):
            execution = await sandbox.run(
                f"import os\nopen('/tmp/left', 'x').close()\nopen('left{number}', 'w').close()\nprint(len(os.listdir()))",
                task,
            )
            assert (execution.stdout, execution.stderr) == ("4\n", "")
    assert started(server) == expected
    assert server.vms == {}


async def test_never_more_sandboxes_than_allowed(server, task):
    async with E2BSandbox(settings(server, max_sandboxes=2)) as sandbox:
        executions = await asyncio.gather(*(sandbox.run(f"print({n})", task, LIMITS) for n in range(8)))
    assert [execution.stdout for execution in executions] == [f"{n}\n" for n in range(8)]
    assert server.most_at_once <= 2
    assert sum(map(runs, server.ended)) == 8


@pytest.mark.slow
async def test_an_account_with_room_for_fewer(server, task):
    server.order("create", *[room_for(2, "2 sandboxes at most")] * 1000)
    async with E2BSandbox(settings(server, max_sandboxes=4)) as sandbox:
        executions = await asyncio.gather(*(sandbox.run(f"print({n})", task, LIMITS) for n in range(6)))
        assert [execution.stdout for execution in executions] == [f"{n}\n" for n in range(6)]
        assert server.most_at_once == 2
    async with E2BSandbox(settings(server, max_sandboxes=4, reuse=False)) as sandbox:
        executions = await asyncio.gather(*(sandbox.run(f"print({n})", task, LIMITS) for n in range(4)))
        assert [execution.stdout for execution in executions] == [f"{n}\n" for n in range(4)]
    assert server.most_at_once == 2
    for _ in range(2):
        server.create({"timeout": 1000})
    async with E2BSandbox(settings(server)) as sandbox:  # none of them is its own
        with pytest.raises(SandboxError, match="2 sandboxes at most") as caught:
            await sandbox.run("print(1)", task, LIMITS)
    assert not caught.value.may_have_started


async def test_a_program_for_which_the_account_has_no_room_waits_in_the_pool(server, task):
    """It must not wait inside until the pool takes it for one that was never answered."""
    server.order("create", *[room_for(1, "1 sandbox at most")] * 1000)
    config = PoolConfig(progress="off", slack_s=300)
    timing = E2BTiming(capacity_wait_s=0.3)
    sandbox = E2BSandbox(settings(server, max_sandboxes=3), timing=timing)
    async with SandboxPool(sandbox, config) as pool:
        assert pool.workers == 3
        codes = [f"import time\ntime.sleep(0.5)\nprint({n})" for n in range(5)]
        executions = await asyncio.gather(*(pool.run(code, task, LIMITS) for code in codes))
        assert [execution.stdout for execution in executions] == [f"{n}\n" for n in range(5)]
        assert pool.workers == 1
        taken = pool.take_metrics()
        assert (taken["sandbox/nodes"], taken["sandbox/workers"]) == (1, 1)
        assert 0 < taken["sandbox/speed_min"] == taken["sandbox/speed_max"]
        assert pool.counts.faults == {}
        assert 1 <= pool.counts.retried <= 3, "those that had come before the first refusal"
        sandbox._vms.timing = replace(timing, grow_s=1e-3)
        assert pool.workers == 3, "the account may have room again"


async def test_an_older_sandbox(server, task, monkeypatch):
    monkeypatch.setattr(e2b_server, "ENVD", "0.3.5")  # other uploads, other defaults
    async with E2BSandbox(settings(server)) as sandbox:
        assert (await sandbox.run("print(len(open('input/train.csv').read()) > 1000)", task)).stdout == "True\n"


def test_what_is_uploaded_uses_the_standard_library_alone():
    folders = [Path(runner.__file__).parent, Path(guest.__file__).parent]
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module)
            roots = {name.partition(".")[0] for name in names}
            # What a worker warms up is there or it is not asked for.
            warmed = {"pandas", "sklearn"} if path.name == "preload.py" else set()
            allowed = {"runner", "trl_mle_runner", "guest", *warmed}
            assert roots <= {*sys.stdlib_module_names, *allowed}, path


async def test_a_sandbox_whose_session_is_too_short_is_replaced(server, task):
    async with E2BSandbox(settings(server, session_s=205)) as sandbox:
        await sandbox.run("print(1)", task, LIMITS)
        for vm in sandbox._vms._idle:
            vm.ends_at -= 30
        await sandbox.run("print(1)", task, LIMITS)
        assert len(server.vms) == 1
        with pytest.raises(SandboxUnavailableError, match=r"session_s.*205.*at least 380"):
            await sandbox.run("print(1)", task, replace(LIMITS, wall_s=200))
    assert started(server) == 2


async def test_requests_of_a_new_sandbox(server, task):
    config = settings(server, template="mine", session_s=700.0)
    async with E2BSandbox(config) as sandbox:
        await sandbox.run("print(1)", task, LIMITS)
    (vm,) = server.ended
    assert (vm.request["templateID"], vm.request["timeout"]) == ("mine", 700)
    assert vm.request["allow_internet_access"] is False
    assert set(vm.metadata) == {"trl_mle_run", "trl_mle_start"}


async def test_the_key_goes_to_the_api_alone(server, task, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    look = (
        "import os\nprint(dict(os.environ))\nprint(open('/proc/self/environ').read())\nprint(os.popen('env').read())"
    )
    async with E2BSandbox(settings(server)) as sandbox:
        execution = await sandbox.run(look, task, LIMITS)
        assert KEY not in repr(vars(sandbox))
    assert KEY not in execution.stdout + execution.stderr + caplog.text
    assert "E2B" not in execution.stdout
    (vm,) = server.ended
    assert KEY.encode() not in b"".join(content for _, content in vm.uploads)
    assert KEY not in "".join(vm.commands) + str(vm.request)
    with_key = {path for _, path, headers in server.requests if KEY in str(headers)}
    assert with_key == {"/v2/sandboxes", f"/sandboxes/{vm.id}"}


async def test_cancelling_kills_the_sandbox(server, task):
    async with E2BSandbox(settings(server)) as sandbox:
        running = asyncio.create_task(sandbox.run(WAIT, task, LIMITS))
        await until(lambda: any(map(runs, server.vms.values())))
        await asyncio.sleep(0.2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert server.vms == {}
        assert processes(server.ended[0]) == []
        assert (await sandbox.run("print(1)", task, LIMITS)).stdout == "1\n"


async def test_cancelling_while_a_sandbox_is_created_leaves_none(server, task):
    server.order("create", slow(0.5))
    async with E2BSandbox(settings(server)) as sandbox:
        running = asyncio.create_task(sandbox.run("print(1)", task, LIMITS))
        await until(lambda: server.requests)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: (started(server), server.vms) == (1, {}))
    assert server.vms == {}


async def test_leaving_ends_what_runs_and_what_waits(server, task):
    sandbox = E2BSandbox(settings(server, max_sandboxes=1))
    await sandbox.__aenter__()
    results = [asyncio.create_task(sandbox.run(WAIT, task, LIMITS)) for _ in range(3)]
    await until(lambda: any(map(runs, server.vms.values())))
    await sandbox.__aexit__(None, None, None)
    errors = await asyncio.gather(*results, return_exceptions=True)
    assert all(isinstance(error, SandboxError) for error in errors)
    assert [error.may_have_started for error in errors] == [True, False, False]
    assert server.vms == {}
    assert started(server) == 1


async def test_leaving_while_a_sandbox_is_created(server, task):
    server.order("create", slow(0.5))
    sandbox = E2BSandbox(settings(server))
    await sandbox.__aenter__()
    result = asyncio.create_task(sandbox.run("print(1)", task, LIMITS))
    await until(lambda: server.requests)
    await sandbox.__aexit__(None, None, None)
    with pytest.raises(SandboxError) as caught:
        await result
    assert not caught.value.may_have_started
    await until(lambda: (started(server), server.vms) == (1, {}))


async def test_the_end_finds_lost_sandboxes_of_this_run_and_no_others(server, task, caplog):
    server.create({"timeout": 1000, "metadata": {"trl_mle_run": "another"}})
    async with E2BSandbox(settings(server)) as sandbox:
        server.create({"timeout": 1000, "metadata": {"trl_mle_run": sandbox._vms.run_id}})
    assert [vm.metadata["trl_mle_run"] for vm in server.vms.values()] == ["another"]
    assert "1 E2B sandboxes were left" in caplog.text


async def test_without_a_key(server, monkeypatch):
    monkeypatch.delenv("E2B_API_KEY")
    with pytest.raises(SandboxUnavailableError, match="E2B_API_KEY"):
        await E2BSandbox(settings(server)).__aenter__()


async def test_with_a_wrong_key(server, task, monkeypatch):
    wrong = "e2b_" + "f" * 40
    monkeypatch.setenv("E2B_API_KEY", wrong)
    async with E2BSandbox(settings(server)) as sandbox:
        with pytest.raises(SandboxUnavailableError, match="E2B_API_KEY") as caught:
            await sandbox.run("print(1)", task, LIMITS)
    assert wrong not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_outside_of_its_context(server, task):
    sandbox = E2BSandbox(settings(server))
    with pytest.raises(SandboxUnavailableError, match="not running"):
        await sandbox.run("print(1)", task)
    async with sandbox:
        with pytest.raises(SandboxUnavailableError, match="running already"):
            await sandbox.__aenter__()
    async with sandbox:  # again
        assert (await sandbox.run("print(1)", task, LIMITS)).stdout == "1\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"python": "python-of-nobody"}, "no Python 3.11 or newer named 'python-of-nobody'"),
        ({"preload": ("module_of_nobody",)}, "cannot import what `E2BConfig.preload` names.*module_of_nobody"),
    ],
)
async def test_a_template_that_will_not_do(server, task, changes, words):
    async with E2BSandbox(settings(server, **changes)) as sandbox:
        with pytest.raises(SandboxUnavailableError, match=words):
            await sandbox.run("print(1)", task, LIMITS)
    assert server.vms == {}


async def test_a_task_whose_packages_are_missing(server, task):
    async with E2BSandbox(settings(server)) as sandbox:
        with pytest.raises(SandboxUnavailableError, match="'package-of-nobody' is not installed"):
            await sandbox.run("print(1)", replace(task, packages=("package-of-nobody",)), LIMITS)


async def test_a_sandbox_without_isolation_is_refused_unless_asked_for(server, task, caplog):
    everything = ("namespaces", "private_root", "landlock")
    sandbox = E2BSandbox(settings(server))
    sandbox._without = everything
    async with sandbox:
        for _ in range(2):
            with pytest.raises(SandboxUnavailableError, match="isolation"):
                await sandbox.run("print(1)", task, LIMITS)
    assert server.vms == {}
    assert sum(map(runs, server.ended)) == 0
    sandbox = E2BSandbox(settings(server, isolation="none"))
    sandbox._without = everything
    async with sandbox:
        assert (await sandbox.run("print(1)", task, LIMITS)).stdout == "1\n"
    assert "lack the layer landlock" in caplog.text


async def test_a_template_with_little_memory_or_another_python_is_named(server, task, caplog, monkeypatch):
    monkeypatch.setattr(python_version, "STATED", "3.1")
    code = "x = []\nwhile True: x.append(b'1' * 10_000_000)"
    async with E2BSandbox(settings(server)) as sandbox:
        await sandbox.run("print(1)", task, LIMITS)
        sandbox._vms._idle[0].memory_bytes = 512 * 1024**2
        execution = await sandbox.run(code, task, LIMITS)
        await asyncio.gather(*(sandbox.run("print(1)", task, LIMITS) for _ in range(2)))  # in another VM as well
        assert len(server.vms) == 2
    assert execution.status == "memory"
    assert "limit of 268435456" in execution.stderr
    assert "have 512 MiB of memory" in caplog.text
    assert caplog.text.count("The template has Python 3.") == caplog.text.count("but prompts state Python 3.1,") == 1


def test_settings():
    with pytest.raises(ConfigError, match=r"reuse.*False"):
        E2BSandbox(E2BConfig(), reuse=False)
    with pytest.raises(ConfigError, match="max_sandboxes"):
        E2BSandbox(max_sandboxes=0)
    with pytest.raises(ConfigError, match="session_s"):
        E2BConfig(session_s=float("nan"))
    with pytest.raises(ConfigError) as caught:
        E2BConfig(api_url="https://me:secret@example.org")
    assert "secret" not in str(caught.value)
    config = E2BSandbox(template="t", session_s=900, wall_s=3, memory_bytes=5).config
    assert config == E2BConfig(template="t", session_s=900, wall_s=3, memory_bytes=5)


def test_importing_the_package_does_not_import_the_sdk():
    script = "import sys, trl_mle\nfrom trl_mle import E2BSandbox\nE2BSandbox()\nprint('e2b' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(trl_mle.__file__))},
    )  # fmt: skip
    assert result.stdout.strip() == "False"


async def test_without_the_sdk(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "e2b_code_interpreter", None)
    with pytest.raises(UserError, match=r"pip install 'trl_mle\[e2b\]'"):
        await E2BSandbox(settings(server)).__aenter__()


def test_the_margin_holds_what_a_program_may_take():
    assert E2BTiming().margin_s > 1.5 * E2BTiming().answer_s


def test_the_pool_waits_for_as_long_as_the_steps_of_a_program_may_take(tmp_path):
    """Files that take ten minutes on a slow line are no missing answer."""
    task, large = toy_task(tmp_path), toy_task(tmp_path / "large")
    sandbox, timing = E2BSandbox(E2BConfig(request_timeout_s=7.0)), E2BTiming()
    before = sandbox.overhead_s(task, LIMITS)
    assert before > timing.capacity_wait_s + timing.startup_s + 1.5 * timing.answer_s + 7 * 7.0
    with (large.public_dir / "large.bin").open("wb") as file:
        file.truncate(600 * 1024**2)
    assert sandbox.overhead_s(large, LIMITS) > before + 4700


async def test_what_lies_in_memory_has_the_time_that_its_size_takes():
    """The SDK ends such a request after `request_timeout`, however much there is to send."""
    times = []

    async def write(path, data, user, request_timeout):
        times.append(request_timeout)

    sandbox = SimpleNamespace(sandbox_id="x", files=SimpleNamespace(write=write))
    vm = VM(sandbox, E2BConfig(request_timeout_s=60.0), E2BTiming(), ends_at=0.0)
    await vm._write("path", b"", 0)
    await vm._write("path", b"", 256 * 1024 * 100)
    assert times == [60.0, 160.0]


_GUEST = """
import sys
sys.path.insert(0, sys.argv[1])
from guest import commands, serve
"""


@pytest.fixture(scope="module")
def in_guest(tmp_path_factory):
    """Runs code beside the modules of the guest, in an interpreter of its own."""
    folder = tmp_path_factory.mktemp("guest")
    with zipfile.ZipFile(io.BytesIO(bundle.modules())) as archive:
        archive.extractall(folder)
    return lambda code, *arguments: (
        subprocess.run(
            [sys.executable, "-c", _GUEST + code, folder, *arguments], check=True, capture_output=True, text=True
        ).stdout
    )


def test_public_files_are_unpacked_by_a_python_without_filters(in_guest, task, tmp_path):
    """Python 3.11.0 to 3.11.3, which a template may have."""
    code = """
import tarfile
newer = tarfile.TarFile.extractall
def extractall(self, path=".", members=None, *, numeric_owner=False):
    newer(self, path, members, numeric_owner=numeric_owner)
tarfile.TarFile.extractall = extractall
commands.unpack(sys.argv[2], sys.argv[3])
"""
    archive = bundle.pack(task.public_dir, tmp_path / "public.tar.gz")
    in_guest(code, archive, tmp_path / "public")
    assert sorted(os.listdir(tmp_path / "public")) == sorted(os.listdir(task.public_dir))


def test_a_reply_waits_for_the_space_that_a_program_has_left(in_guest, tmp_path):
    """Else a program that fills the disk would be a fault, which costs less than its penalty."""
    code = """
import builtins, errno
from runner.protocol import GuestReply, ProgramFault
opened, left = builtins.open, [1, 2]
def full(path, mode):
    if left:
        left.pop()
        raise OSError(errno.ENOSPC, "No space left on device")
    return opened(path, mode)
builtins.open = full
serve._write(sys.argv[2], GuestReply("secret", ProgramFault("", False, False)))
"""
    in_guest(code, tmp_path)
    assert os.listdir(tmp_path) == ["reply"]


def test_speeds_are_those_of_prepared_vms():
    pool = VMPool(E2BConfig(), lambda vm: None)
    vm = VM(SimpleNamespace(sandbox_id="m0"), E2BConfig(), E2BTiming(), 0.0)
    pool._all.add(vm)
    assert pool.speeds == []
    vm.is_prepared, vm.speed_factor = True, 1.5
    assert pool.speeds == [1.5]
