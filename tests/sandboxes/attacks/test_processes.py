"""Attacks by processes and signals: to outlive the run, to reach another process, to pass for the sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.sandboxes.attacks.hostile import CALL, TAG, processes, settles_at
from tests.support.hang import HANG_S

LEFT = {
    "background": "subprocess.Popen(['sh', '-c', 'sleep 600; echo ' + TAG])",
    "shell_job": "subprocess.run(['sh', '-c', f'nohup sh -c \"sleep 600; echo {TAG}\" >/dev/null 2>&1 &'])",
    "daemon": "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(600)\n    os._exit(0)",
    "deaf": "if os.fork() == 0:\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(600)",
    "stopped": "if os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)",
    "own_group": "if os.fork() == 0: os.setpgid(0, 0); time.sleep(600)",
    "restarting": "def again(*_):\n    if os.fork() == 0: time.sleep(600)\nif os.fork() == 0:\n"
    "    signal.signal(signal.SIGTERM, again); time.sleep(600)",
    "running_away": "end = time.time() + 10\nif os.fork() == 0:\n    while time.time() < end:\n        if os.fork(): os._exit(0)",
    "other_name": "if os.fork() == 0:\n    libc.prctl(15, b') R 1 1 1', 0, 0, 0); time.sleep(600)",
    "name_with_a_line": "if os.fork() == 0:\n    libc.prctl(15, b'a\\n1 (b) R 1', 0, 0, 0); time.sleep(600)",
    "mourning": "if os.fork() == 0:\n    libc.prctl(1, 0, 0, 0, 0); libc.prctl(36, 1, 0, 0, 0)\n"
    "    if os.fork() == 0: os.setsid()\n    time.sleep(600)",
    "thread": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "replaced": "if os.fork() == 0: os.execlp('sleep', 'sleep', '600')",
    "holds_output": "if os.fork() == 0: os.dup2(1, 99); time.sleep(600)",
    "ends_while_its_child_works": "if os.fork() == 0:\n    while True: open('submission.csv', 'a').write('x'); time.sleep(.1)\n"
    "os._exit(0)",
    "reads_for_ever": "if os.fork() == 0: os.mkfifo('f'); open('f')",
    "in_a_closed_folder": "os.mkdir('d')\nif os.fork() == 0: os.chdir('d'); os.chmod('.', 0); time.sleep(600)",
}


@pytest.mark.parametrize("left", LEFT)
def test_no_process_outlives_the_run(box, well, left):
    before, began = processes(), time.monotonic()
    execution = box.run(f"{CALL}import signal, subprocess, threading, time\n{LEFT[left]}", {"TAG": TAG})
    assert execution.status == "ok"
    assert time.monotonic() - began < HANG_S
    assert settles_at(before)
    assert not [
        p.pid for p in psutil.process_iter(["cmdline"]) if any(TAG in word for word in p.info["cmdline"] or ())
    ]


def test_a_process_that_outlives_a_timeout_is_killed_too(box, well):
    code = "import os, time\nif os.fork() == 0: os.setsid(); time.sleep(600)\ntime.sleep(600)"
    before = processes()
    assert box.run(code, wall_s=0.3).status == "timeout"
    assert settles_at(before)


@pytest.fixture
def outsider():
    """A process of the host that a program might want to end."""
    with subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


_OWNED = (
    "[fcntl.ioctl(a, {request}, struct.pack('i', pid)), fcntl.fcntl(a, 10, 9), "
    "fcntl.fcntl(a, fcntl.F_SETFL, 0o24000), b.send(b'x')]"
)
SENDERS = {
    "kill": "os.kill(pid, signal.SIGKILL)",
    "stop": "os.kill(pid, signal.SIGSTOP)",
    "to_a_thread": "call(234, pid, pid, 9)",
    "to_a_thread_alone": "call(200, pid, 9)",
    "by_descriptor": "call(424, call(434, pid, 0), 9, None, 0)",
    "queued": "call(129, pid, 9, struct.pack('3i116x', 9, 0, -1))",
    "by_name": "subprocess.run(['kill', '-9', str(pid)], check=True)",
    "limit": "resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1))",
    "priority": "os.setpriority(os.PRIO_PROCESS, pid, 19)",
    "cores": "os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})",
    "scheduler": "os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))",
    "owner_of_a_pipe": "[fcntl.fcntl(r, fcntl.F_SETOWN, pid), fcntl.fcntl(r, 10, 9), fcntl.fcntl(r, fcntl.F_SETFL, 0o20000), "
    "os.write(w, b'x')]",
    "owner_of_a_socket": _OWNED.format(request=0x8901),
    "group_of_a_socket": _OWNED.format(request=0x8902),
}
_MAY_SUCCEED = ("owner_of_a_pipe", "owner_of_a_socket", "group_of_a_socket", "cores")
"""What a program is told to have done, without an effect on another process."""


@pytest.mark.parametrize("sender", SENDERS)
def test_no_process_outside_is_reached(box, well, control, outsider, sender):
    head = f"{CALL}import fcntl, resource, signal, socket, struct, subprocess\nr, w = os.pipe()\na, b = socket.socketpair()\n"
    code = f"{head}attempt(lambda: {SENDERS[sender]})"
    execution = box.run(code, {"pid": outsider.pid})
    assert execution.status == "ok"
    assert state(outsider) == state_before(outsider)
    if sender not in _MAY_SUCCEED:
        assert "GOT" not in execution.stdout
    control(code, {"pid": outsider.pid})
    time.sleep(0.05)
    if state(outsider) == state_before(outsider):
        pytest.skip("refused, but so it is without the sandbox")


def state(process: subprocess.Popen) -> tuple:
    """What a program could have changed of `process`."""
    if process.poll() is not None:
        return (process.returncode,)
    seen = psutil.Process(process.pid)
    return (seen.status() == psutil.STATUS_STOPPED, seen.nice(), len(seen.cpu_affinity()),
            os.sched_getscheduler(process.pid), seen.rlimit(psutil.RLIMIT_CPU))  # fmt: skip


def state_before(process: subprocess.Popen) -> tuple:
    """`state` as it is by itself: that of this process."""
    own = psutil.Process()
    return (False, own.nice(), len(own.cpu_affinity()), os.sched_getscheduler(0), own.rlimit(psutil.RLIMIT_CPU))


def test_minus_one_reaches_no_process_outside(box, well, outsider):
    """With the one signal that harms nobody: a stopped process would go on. Not tried without the sandbox all the same."""
    outsider.send_signal(signal.SIGSTOP)
    while psutil.Process(outsider.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.001)
    assert box.run("import os, signal\nattempt(lambda: os.kill(-1, signal.SIGCONT))").stdout
    assert psutil.Process(outsider.pid).status() == psutil.STATUS_STOPPED
    outsider.send_signal(signal.SIGCONT)
    while psutil.Process(outsider.pid).status() == psutil.STATUS_STOPPED:
        time.sleep(0.001)


TARGETS = {
    "parent": "os.getppid()",
    "first": "1",
    "group_of_the_parent": "-os.getpgid(os.getppid())",
    "session": "-os.getsid(os.getppid())",
}


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGSTOP", "SIGCHLD", "SIGINT", "SIGUSR1", "SIGALRM"])
@pytest.mark.parametrize("target", TARGETS)
def test_signals_to_the_sandbox_cost_nothing_but_the_program(box, well, target, number):
    if target == "first" and box.fall_back:
        pytest.skip("process 1 is the machine's own: not asked of a kernel that might let it through")
    code = f"import os, signal, time\nattempt(lambda: os.kill({TARGETS[target]}, signal.{number}))\ntime.sleep(0.05)\nprint('end')"
    began = time.monotonic()
    execution = box.run(code, wall_s=0.5)
    assert time.monotonic() - began < HANG_S
    # Seen from a namespace, a group outside of it has the number 0, which stands for the program's own.
    assert execution.status in ("ok", "killed", "error", "timeout")
    if execution.status == "ok":
        assert execution.stdout.endswith("end\n")


def test_an_end_by_the_own_hand_is_not_passed_for_another(box, well):
    """The exit code of a child is not taken for the program's."""
    code = "import os, sys\nif os.fork() == 0: os._exit(0)\nos.wait()\nif os.fork() == 0: os._exit(0)\nos._exit(9)"
    execution = box.run(code)
    assert (execution.status, execution.exit_code) == ("error", 9)


def test_reports_to_the_sandbox_are_not_forged(box, well):
    """Lines like those that the sandbox's own processes exchange, to every descriptor that there is."""
    code = """
import json, os, sys
line = json.dumps({"ended": 1e9, "code": 0, "cpu_s": 0.0, "max_rss_bytes": 0, "started": 0.0, "setup_cpu_s": 99,
                   "status": "ok", "wall_s": 0.0, "fault": "none", "blobs": [0, 0]}).encode() + b"\\n"
for number in range(3, 4096):
    try: os.write(number, line)
    except OSError: pass
for name in os.listdir("/proc/self/fd"):
    if int(name) > 2:
        try: open(f"/proc/self/fd/{name}", "wb", buffering=0).write(line)
        except OSError: pass
os._exit(5)
"""
    execution = box.run(code)
    assert (execution.status, execution.exit_code) == ("error", 5)
    assert 0 < execution.wall_s < HANG_S


def test_the_parents_output_is_not_written(box, well):
    """The output of the processes above is the sandbox's own."""
    code = "import os\nfor n in range(64): attempt(lambda: open(f'/proc/{os.getppid()}/fd/{n}', 'wb').write(b'x'))"
    execution = box.run(code)
    assert execution.status == "ok"
    assert "GOT" not in execution.stdout


def test_the_terminal_of_the_host_gets_no_input(box, well):
    """`TIOCSTI` would type a command at the terminal from which the training was started."""
    code = "import fcntl, os\nfor n in (0, 1, 2): attempt(lambda: fcntl.ioctl(n, 0x5412, b'x'))\nattempt(lambda: os.ttyname(0))"
    execution = box.run(code)
    assert "GOT" not in execution.stdout


def test_signals_that_the_program_ignores_do_not_hold_the_run(box, well):
    code = """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: pass
"""
    began = time.monotonic()
    assert box.run(code, wall_s=0.3).status == "timeout"
    assert time.monotonic() - began < HANG_S


def test_an_end_by_every_signal_has_the_right_status(box, well):
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT, signal.SIGPIPE):
        execution = box.run(f"import os, signal\nsignal.signal({int(number)}, signal.SIG_DFL) if {int(number)} != 9 else 0\n"
                            f"os.kill(os.getpid(), {int(number)})")  # fmt: skip
        assert execution.status in ("killed", "error")
        assert execution.exit_code == -number


def test_a_child_of_the_fork_server_cannot_be_made(box, well):
    """A sibling, which nobody below the fork server can reap, would keep the namespaces from ending."""
    flags = 0x8000 | signal.SIGCHLD  # CLONE_PARENT
    code = (
        f"{CALL}import time\nif os.uname().machine == 'x86_64':\n    made = libc.syscall(56, {flags}, 0, 0, 0, 0)\n"
        + ("    if made == 0: time.sleep(600)\n    print('MADE' if made > 0 else 'REFUSED')")
    )
    before, began = processes(), time.monotonic()
    execution = box.run(code)
    assert execution.status == "ok"
    assert "MADE" not in execution.stdout
    assert time.monotonic() - began < HANG_S
    assert settles_at(before)


@pytest.mark.parametrize("file", ["input/train.csv", "os.__file__"])
def test_nobody_waits_for_a_lease(box, file):
    """Who opens a file on which a program has a lease waits until it lets go, up to 45 seconds."""
    path = file if file.startswith("os.") else repr(file)
    code = (
        f"import fcntl, os, signal\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\nfile = os.open({path}, os.O_RDONLY)\n"
        + (
            "try: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK); print('GOT')\nexcept OSError as error: print(error)"
        )
    )
    execution = box.run(code)
    assert execution.status == "ok"
    assert "GOT" not in execution.stdout


def test_a_signal_of_its_own_is_no_time_out(box):
    """A time-out is censored, so a program must not get one for nothing."""
    execution = box.run("import os, signal\nos.kill(os.getpid(), signal.SIGXCPU)")
    assert (execution.status, execution.exit_code) == ("error", -signal.SIGXCPU)


def test_cpu_time_of_all_processes_together_is_bounded(box, well):
    code = (
        "import os, time\nend = time.time() + 20\nfor _ in range(3):\n    if os.fork() == 0: os.setsid(); break\n"
        + ("while time.time() < end: pass")
    )
    execution = box.run(code, wall_s=1.5)
    assert execution.status == "timeout"
    assert execution.cpu_s < 1.5 * (os.cpu_count() or 1) + 6
