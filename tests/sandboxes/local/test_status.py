"""What a program did becomes the right status, output and submission."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.local_sandbox import left_over

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [
        ("print('hello')", "ok", 0),
        ("import sys; sys.exit()", "ok", 0),
        ("import sys; sys.exit(3)", "error", 3),
        ("import os; os._exit(7)", "error", 7),
        ("1 / 0", "error", 1),
        ("x = = 1", "error", 1),
        ("import ctypes; ctypes.string_at(0)", "error", -11),
        ("import os; os.abort()", "error", -6),
        ("import os; os.kill(os.getpid(), 9)", "killed", -9),
    ],
)
async def test_status_and_exit_code(bare, task, limits, code, status, exit_code):
    execution = await bare.run(code, task, limits)
    assert (execution.status, execution.exit_code) == (status, exit_code)
    assert left_over(bare) == []


async def test_traceback_shows_the_programs_lines_alone(bare, task, limits):
    execution = await bare.run("def f():\n    return 1 / 0\n\nf()\n", task, limits)
    lines = execution.stderr.splitlines()
    assert [line.strip() for line in lines if "File" in line] == [
        'File "main.py", line 4, in <module>',
        'File "main.py", line 2, in f',
    ]
    assert "    return 1 / 0" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"


async def test_exit_message_goes_to_stderr(bare, task, limits):
    execution = await bare.run("import sys; sys.exit('no data')", task, limits)
    assert (execution.status, execution.exit_code, execution.stderr) == ("error", 1, "no data\n")


async def test_timeout_stops_a_program_that_ignores_signals_and_keeps_its_output(bare, task, limits):
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('before')\nwhile True: pass"
    execution = await bare.run(code, task, replace(limits, wall_s=2.0))
    assert (execution.status, execution.exit_code, execution.stdout) == ("timeout", None, "before\n")
    assert execution.wall_s >= 2.0
    assert "wall-clock limit of 2 s" in execution.stderr
    assert left_over(bare) == []


async def test_memory_of_one_process(bare, task, limits):
    execution = await bare.run("x = []\nwhile True: x.append(b'1' * 10_000_000)", task, limits)
    assert (execution.status, execution.exit_code) == ("memory", None)
    assert execution.max_rss_bytes > limits.memory_bytes


async def test_memory_of_children_counts(bare, task, limits):
    code = """
import os, signal
for _ in range(4):
    if os.fork() == 0:
        x = b"1" * (limit // 3)
        signal.pause()
signal.pause()
"""
    execution = await bare.run(f"limit = {limits.memory_bytes}\n{code}", task, limits)
    assert execution.status == "memory"
    assert left_over(bare) == []


@pytest.mark.parametrize(("descriptor", "name"), [(1, "stdout"), (2, "stderr")])
async def test_output_is_capped(bare, task, limits, descriptor, name):
    execution = await bare.run(f"import os\nwhile True: os.write({descriptor}, b'x' * 4096)", task, limits)
    assert (execution.status, execution.exit_code) == ("output", None)
    assert getattr(execution, name).count("x") >= limits.output_bytes
    assert len(getattr(execution, name)) < limits.output_bytes + 200
    assert getattr(execution, f"{name}_cut_bytes") > 0


async def test_output_below_the_cap_is_whole(bare, task, limits):
    execution = await bare.run(f"print('x' * {limits.output_bytes - 1})", task, limits)
    assert execution.status == "ok"
    assert (len(execution.stdout), execution.stdout_cut_bytes) == (limits.output_bytes, 0)


async def test_one_file_is_bounded(bare, task, limits):
    code = f"with open('f', 'wb') as file: file.write(b'x' * {2 * limits.file_bytes})"
    execution = await bare.run(code, task, limits)
    assert execution.status == "error"
    assert "File too large" in execution.stderr


@pytest.mark.parametrize("unlink", ["", "os.unlink(name)"], ids=["named", "unnamed"])
async def test_all_files_together_are_bounded(bare, task, limits, unlink):
    code = f"""
import os, signal
kept = []
for number in range(60):
    name = f"f{{number}}"
    file = open(name, "wb", buffering=0)
    file.write(b"x" * 1_000_000)
    {unlink}
    kept.append(file)
signal.pause()
"""
    execution = await bare.run(code, task, limits)
    if "namespaces" in bare._without:  # on disk, watched
        assert execution.status == "output"
        assert "files of" in execution.stderr
    else:  # a file system of that size
        assert execution.status == "error"
        assert "No space left on device" in execution.stderr


async def test_submission_is_returned(bare, task, limits):
    code = "open('submission.csv', 'w').write('id,y\\n0,1\\n')"
    execution = await bare.run(code, task, limits)
    assert (execution.submission, execution.submission_reason) == (b"id,y\n0,1\n", None)


async def test_file_left_open_is_flushed_and_handlers_run_at_the_end(bare, task, limits):
    code = """
import atexit, threading
file = open("submission.csv", "w")
file.write("id,y\\n")
atexit.register(print, "handler")
threading.Thread(target=print, args=("thread",)).start()
"""
    execution = await bare.run(code, task, limits)
    assert execution.submission == b"id,y\n"
    assert execution.stdout == "thread\nhandler\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", None),
        ("import os; os.symlink('/etc/hostname', 'submission.csv')", "symbolic link"),
        ("import os; os.symlink('input/train.csv', 'submission.csv')", "symbolic link"),
        ("import os; os.mkfifo('submission.csv')", "not a regular file"),
        ("import os; os.mkdir('submission.csv')", "not a regular file"),
        ("open('a', 'w').close(); import os; os.link('a', 'submission.csv')", "hard link"),
        ("open('submission.csv', 'wb').truncate(5000)", "has 5000 bytes; at most 1000"),
    ],
)
async def test_what_is_no_submission(bare, task, limits, code, reason):
    execution = await bare.run(code, task, replace(limits, submission_bytes=1000))
    assert execution.status == "ok"
    assert execution.submission is None
    assert execution.submission_reason is None if reason is None else reason in execution.submission_reason


async def test_folder_goes_away_whatever_is_in_it(bare, task, limits):
    code = """
import os
os.mkdir("closed"); open("closed/file", "w").close(); os.chmod("closed", 0)
for _ in range(1500):
    os.mkdir("d"); os.chdir("d")
"""
    execution = await bare.run(code, task, limits)
    assert execution.status == "ok"
    assert left_over(bare) == []


async def test_seconds_are_the_programs_own(bare, task, limits):
    execution = await bare.run("import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass",
                               task, limits)  # fmt: skip
    assert 0.15 <= execution.cpu_s <= execution.wall_s + 0.05
