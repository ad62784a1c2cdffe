"""Attacks on the measured seconds: to look faster than one is, or slower."""

from __future__ import annotations

import time

import pytest

from tests.sandboxes.attacks.hostile import CALL
from tests.support.hang import HANG_S

BURN = "def burn(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass\n"


def test_sleep_is_wall_time_and_no_processor_time(box, well):
    execution = box.run("import time\ntime.sleep(0.5)")
    assert execution.wall_s >= 0.5
    assert execution.cpu_s < 0.3


def test_work_is_both(box, well):
    execution = box.run(f"import time\n{BURN}burn(0.4)")
    assert 0.35 <= execution.cpu_s <= execution.wall_s + 0.1


# The program waits until the work is done, however long a loaded machine takes.
_WORK = "burn(0.3); os.write(done, b'.')"
# A child that nobody waits for is measured by looking at it, so it must still be there when it is looked at.
WORKERS = {
    "waited_for": f"if os.fork() == 0: {_WORK}; os._exit(0)\nos.wait()",
    "not_waited_for": f"if os.fork() == 0: {_WORK}; os._exit(0)\nos.read(wait, 1)",
    "orphan": f"if os.fork() == 0:\n    if os.fork() == 0: {_WORK}\n    os._exit(0)\nos.read(wait, 1)",
    "daemon": f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: {_WORK}\n    os._exit(0)\nos.read(wait, 1)",
    "ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    + f"if os.fork() == 0: {_WORK}; time.sleep(0.5); os._exit(0)\nos.read(wait, 1)",
    "thread": "threading.Thread(target=burn, args=(0.3,)).start()",
    "killed_at_the_end": f"if os.fork() == 0: {_WORK}; burn(60)\nos.read(wait, 1)",
    "started_program": "subprocess.run([sys.executable, '-S', '-c', 'import time\\nwhile time.process_time() < 0.3: pass'])",
}


@pytest.mark.parametrize("worker", WORKERS)
def test_work_of_children_counts(box, well, worker):
    head = f"import os, signal, subprocess, sys, threading, time\n{BURN}wait, done = os.pipe()\n"
    execution = box.run(head + WORKERS[worker])
    assert execution.status == "ok"
    assert execution.cpu_s >= 0.2


def test_program_that_ends_early_gains_nothing_by_a_child_that_works_on(box, well):
    """The clock stops at the program's end, and so does the child: what it would have written is not there."""
    code = """
import os, time
open("submission.csv", "w").write("id,y\\n")
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
    open("submission.csv", "w").write("id,y\\n1,1\\n")
    os._exit(0)
print("end", flush=True)
os._exit(0)
"""
    execution = box.run(code, wall_s=2 * HANG_S)
    assert execution.status == "ok"
    assert execution.wall_s < HANG_S
    assert execution.submission == b"id,y\n"


CLOCKS = {
    "functions": "for name in ('time', 'monotonic', 'perf_counter', 'process_time'): setattr(time, name, lambda: 0.0)",
    "clock": "attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0))",
    "library": "attempt(lambda: call(227, 0, bytes(16)))",
    "time_of_day": "attempt(lambda: call(164, bytes(16), None))",
    "adjustment": "attempt(lambda: call(159, struct.pack('Iq', 1, 10**6) + bytes(208)))",
    "offsets": "attempt(lambda: open('/proc/self/timens_offsets', 'w').write('monotonic -1 0'))",
    "namespace": "attempt(lambda: checked(libc.unshare(0x80)))",
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_clocks_are_not_changed(box, well, clock):
    before = time.time() - time.monotonic()
    execution = box.run(f"{CALL}import struct, time\nsleep = time.sleep\n{CLOCKS[clock]}\nsleep(0.3)")
    assert execution.status == "ok"
    assert "GOT" not in execution.stdout
    assert 0.3 <= execution.wall_s < HANG_S
    assert abs(time.time() - time.monotonic() - before) < 1


def test_stopped_program_is_not_shorter(box, well):
    """A child stops the program, which then takes no processor time, and lets it go on."""
    code = """
import os, signal, time
parent = os.getpid()
if os.fork() == 0:
    os.kill(parent, signal.SIGSTOP); time.sleep(0.4); os.kill(parent, signal.SIGCONT); os._exit(0)
os.wait()
"""
    execution = box.run(code)
    assert execution.status == "ok"
    assert execution.wall_s >= 0.4


def test_program_that_stops_itself_is_a_timeout(box, well):
    execution = box.run("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", wall_s=0.4)
    assert execution.status == "timeout"
    assert execution.wall_s >= 0.4


def test_work_after_the_end_counts(box, well):
    """Handlers at exit are the program's own time."""
    execution = box.run(f"import atexit, time\n{BURN}atexit.register(burn, 0.4)")
    assert execution.cpu_s >= 0.35
    assert execution.wall_s >= 0.35


def test_quick_exit_is_measured_as_such(box, well):
    execution = box.run("import os\nos._exit(0)")
    assert 0 <= execution.wall_s < HANG_S
    assert 0 <= execution.cpu_s < HANG_S


def test_exec_does_not_restart_the_clock(box, well):
    code = "import os, sys, time\ntime.sleep(0.4)\nos.execv(sys.executable, [sys.executable, '-S', '-c', 'print(1)'])"
    execution = box.run(code)
    assert (execution.status, execution.stdout) == ("ok", "1\n")
    assert execution.wall_s >= 0.4
