"""What a program cannot read, reach or leave behind."""

from __future__ import annotations

import ast
import os
import socket
from pathlib import Path

import psutil
import pytest

import trl_mle
from tests.support.local_sandbox import SECRET, left_over, worker_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

_READ = (
    "import sys\ntry:\n    print(open({path!r}).read())\nexcept OSError as error:\n    print(type(error).__name__)\n"
)


async def test_public_files_are_readable(bare, task, limits):
    execution = await bare.run("import os; print(sorted(os.listdir('input')), len(open('input/train.csv').read()))",
                               task, limits)  # fmt: skip
    size = (task.public_dir / "train.csv").stat().st_size
    assert execution.stdout == f"['test.csv', 'train.csv'] {size}\n"


async def test_public_files_cannot_be_changed(bare, task, limits):
    before = (task.public_dir / "train.csv").read_text()
    for code in ("open('input/train.csv', 'w')", "open('input/new', 'w')", "import os; os.unlink('input/train.csv')"):
        assert (await bare.run(code, task, limits)).status == "error"
    assert (task.public_dir / "train.csv").read_text() == before
    assert sorted(path.name for path in task.public_dir.iterdir()) == ["test.csv", "train.csv"]


async def test_answers_cannot_be_read(bare, task, limits):
    answers = task.folder / "private" / "answers.csv"
    assert answers.read_text() == SECRET
    for path in (str(answers), "input/../private/answers.csv", f"/proc/self/root{answers}"):
        execution = await bare.run(_READ.format(path=path), task, limits)
        assert SECRET not in execution.stdout + execution.stderr
        assert execution.stdout.strip() in ("PermissionError", "FileNotFoundError")


async def test_answers_cannot_be_linked_into_the_folder(bare, task, limits):
    answers = str(task.folder / "private" / "answers.csv")
    execution = await bare.run(f"import os; os.link({answers!r}, 'submission.csv')", task, limits)
    assert execution.status == "error"
    assert execution.submission is None


@pytest.mark.parametrize("place", ["home", "package", "host_environment", "parent_environment", "passwords"])
async def test_host_files_cannot_be_read(bare, task, limits, tmp_path_factory, place):
    home_file = Path(tmp_path_factory.mktemp("home")) / "token"
    home_file.write_text("host-secret")
    path = {
        "home": str(home_file),
        "package": str(Path(trl_mle.__file__)),
        "host_environment": f"/proc/{os.getpid()}/environ",
        "parent_environment": "/proc/{ppid}/environ",
        "passwords": "/etc/passwd",
    }[place]
    code = f"import os\npath = {path!r}.replace('{{ppid}}', str(os.getppid()))\n" + _READ.format(path="").replace(
        "open('')", "open(path)"
    )
    execution = await bare.run(code, task, limits)
    assert execution.stdout.strip() in ("PermissionError", "FileNotFoundError")


async def test_environment_holds_nothing_of_the_hosts(bare, task, limits, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "host-secret")
    execution = await bare.run("import os; print(dict(os.environ)); print(open('/proc/self/environ').read())",
                               task, limits)  # fmt: skip
    assert execution.status == "ok"
    assert "HF_TOKEN" not in execution.stdout
    assert "OMP_NUM_THREADS" in execution.stdout


async def test_no_capabilities_and_no_descriptors(bare, task, limits):
    code = """
import os
status = open("/proc/self/status").read()
print([line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "CapBnd", "NoNewPrivs"))])
print(sorted(int(name) for name in os.listdir("/proc/self/fd"))[:3], len(os.listdir("/proc/self/fd")))
"""
    execution = await bare.run(code, task, limits)
    capabilities, descriptors = execution.stdout.splitlines()
    permitted, effective, bounding, no_new = ast.literal_eval(capabilities)
    assert (permitted, effective, no_new) == ("0" * 16, "0" * 16, "1")
    if os.getuid() == 0 or "namespaces" not in bare._without:  # an ordinary user may not empty it, and need not
        assert bounding == "0" * 16
    assert descriptors == "[0, 1, 2] 4"  # the fourth lists the folder


async def test_tcp_is_refused_by_the_sandbox(bare, task, limits):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()  # it does listen
        code = f"import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 5)\nexcept OSError as e: print(e.errno)"
        execution = await bare.run(code, task, limits)
    assert execution.stdout in ("13\n", "101\n")  # EACCES, ENETUNREACH


async def test_udp_has_no_network(bare, task, limits):
    code = "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"
    assert "Permission denied" in (await bare.run(code, task, limits)).stderr


async def test_usual_commands_for_files_work(bare, task, limits):
    """They copy attributes and owners too, and complain where that is refused."""
    code = """
import os, shutil, subprocess, tarfile, tempfile
other = tempfile.gettempdir() + "/moved"
os.mkdir("d"); open("d/f", "w").write("a\\n"); os.chmod("d/f", 0o750); os.symlink("f", "d/g")
with tarfile.open("d.tgz", "w:gz") as archive:
    archive.add("d")
for command in ("cp -p d/f h", "install -m 755 h i", "cp -a d e", "sed -i s/a/b/ i", f"mv d {other}", f"mv {other} d",
                "tar xzf d.tgz", f"tar xzf d.tgz --owner={os.getuid()}", f"chown -R {os.getuid()}:{os.getgid()} e"):
    done = subprocess.run(command.split(), capture_output=True, text=True)
    print(done.returncode, done.stdout + done.stderr, end=" ")
shutil.copystat("i", "h"); shutil.chown("h", os.getuid(), os.getgid()); shutil.move("e", other)
print(open("i").read(), oct(os.stat("i").st_mode), os.path.islink(other + "/g"))
"""
    execution = await bare.run(code, task, limits)
    assert (execution.status, execution.stderr) == ("ok", "")
    results, last = execution.stdout.splitlines()
    assert results == f"{'0  ' * 9}b"
    mode, link = last.split()
    assert link == "True"
    assert mode == "0o100755" or "namespaces" in bare._without


async def test_modes_of_host_files_cannot_be_changed(bare, task, limits):
    if "namespaces" in bare._without:
        pytest.skip("only a read-only root protects modes; `describe()` says so")
    mode = (task.public_dir / "train.csv").stat().st_mode
    assert (await bare.run("import os; os.chmod('input/train.csv', 0)", task, limits)).status == "error"
    assert (task.public_dir / "train.csv").stat().st_mode == mode


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess; subprocess.Popen(['sleep', '1000'])",
        "import os, signal\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: signal.pause()\n    os._exit(0)",
        "import os, signal\nif os.fork() == 0:\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); signal.pause()",
    ],
    ids=["background", "daemon", "deaf"],
)
async def test_left_processes_are_killed_and_the_program_is_ok(bare, task, limits, code):
    execution = await bare.run(code, task, limits)
    assert (execution.status, execution.exit_code) == ("ok", 0)
    assert left_over(bare) == []


async def test_too_many_processes_cost_their_own_program_alone(bare, task, limits):
    # At most 2**7 processes, which end by themselves: a test must not be a danger to the machine that it runs on.
    code = "import os, time\nend = time.time() + 10\nfor _ in range(7): os.fork()\nwhile time.time() < end: time.sleep(.1)"
    execution = await bare.run(code, task, limits)
    if os.getuid() != 0 and "namespaces" not in bare._without:  # the kernel refuses the fork before the watch looks
        assert "BlockingIOError" in execution.stderr
    else:
        assert execution.status == "killed"
        assert "more than 64 processes" in execution.stderr
    assert left_over(bare) == []
    assert (await bare.run("print(1)", task, limits)).stdout == "1\n"


async def test_killing_the_parent_costs_nothing_but_the_program(bare, task, limits):
    code = """
import os
for process in (1, os.getppid()):
    for signal in (9, 15, 2):
        try: os.kill(process, signal)
        except OSError as error: print(error.errno)
"""
    await bare.run(code, task, limits)
    assert left_over(bare) == []
    assert (await bare.run("print(1)", task, limits)).stdout == "1\n"


async def test_processes_of_the_sandbox_may_not_open_a_billion_files(bare):
    """Some containers allow it, and a Python that cannot close a range of descriptors closes each number, for every program."""
    assert worker_of(bare).rlimit(psutil.RLIMIT_NOFILE)[0] <= 8192
