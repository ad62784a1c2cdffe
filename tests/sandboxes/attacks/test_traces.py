"""Attacks on the next program: something is left for it, or it looks for what the last one had."""

from __future__ import annotations

import secrets

import pytest

from tests.sandboxes.attacks.hostile import CALL, KEY, MEMORY, TAG, Box, halves, places

HEAD = f"""{CALL}
import builtins, glob, json, os, socket, struct, subprocess, sys, tempfile
from multiprocessing import shared_memory
def semaphore(name, flags):
    libc.sem_open.restype = ctypes.c_void_p
    if not libc.sem_open(b"/" + name.encode(), flags, 0o600, 1):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return name
"""

# What the first program leaves and how the second one looks for it; `SIGN` is what it must not find.
LEGACIES = {
    "own_folder": ("open(SIGN, 'w').close()", "os.listdir()"),
    "home": ("open(os.path.expanduser('~/' + SIGN), 'w').close()", "os.listdir(os.path.expanduser('~'))"),
    "temporary_folder": ("open(tempfile.gettempdir() + '/' + SIGN, 'w').close()", "os.listdir(tempfile.gettempdir())"),
    "slash_tmp": ("open('/tmp/' + SIGN, 'w').close()", "os.listdir('/tmp')"),
    "var_tmp": ("open('/var/tmp/' + SIGN, 'w').close()", "os.listdir('/var/tmp')"),
    "shared_memory": ("open('/dev/shm/' + SIGN, 'w').close()", "os.listdir('/dev/shm')"),
    "posix_memory": (
        "shared_memory.SharedMemory(SIGN, create=True, size=64)",
        "bytes(shared_memory.SharedMemory(SIGN).buf) and SIGN",
    ),
    "posix_semaphore": ("semaphore(SIGN, 0o100)", "semaphore(SIGN, 0)"),
    "message_queue": (
        "call(240, SIGN.encode(), 0o102, 0o600, None)",
        "call(240, SIGN.encode(), 2, 0o600, None) and SIGN",
    ),
    "system_v_memory": ("call(29, KEY, 4096, 0o1600)", "call(29, KEY, 4096, 0o600) and SIGN"),
    "system_v_semaphore": ("call(64, KEY, 1, 0o1600)", "call(64, KEY, 1, 0o600) and SIGN"),
    "system_v_queue": ("call(68, KEY, 0o1600)", "call(68, KEY, 0o600) and SIGN"),
    "keyring": (
        "call(248, b'user', SIGN.encode(), b'x', 1, -4)",
        "call(249, b'user', SIGN.encode(), None, 0) and SIGN",
    ),
    "session_keyring": (
        "call(248, b'user', SIGN.encode(), b'x', 1, -3)",
        "[call(250, 10, -3, b'user', SIGN.encode(), 0)] and SIGN",
    ),
    "public_files": ("open('input/' + SIGN, 'w').close()", "os.listdir('input')"),
    "attribute": ("os.setxattr('input/train.csv', 'user.' + SIGN, b'x')", "os.listxattr('input/train.csv')"),
    "variable": ("os.environ.__setitem__(SIGN, SIGN)", "dict(os.environ)"),
    "builtin": ("setattr(builtins, 'left', SIGN)", "builtins.left"),
    "module": ("sys.modules.__setitem__(SIGN, sys)", "list(sys.modules)"),
    "patched_library": ("setattr(json, 'dumps', lambda *a: SIGN)", "json.dumps(1)"),
    "path": ("sys.path.insert(0, '/' + SIGN)", "sys.path"),
    "hook": (
        "setattr(sys, 'excepthook', lambda *a: SIGN)",
        "sys.excepthook() if 'lambda' in str(sys.excepthook) else None",
    ),
    "start_hook": (
        "[open(p + '/sitecustomize.py', 'a').write(f'print({SIGN!r})') for p in os.environ['PYTHONPATH'].split(':')]",
        "subprocess.run([sys.executable, '-c', ''], capture_output=True)",
    ),
    "module_on_the_path": (
        "[open(p + '/left.py', 'w').write(f'x = {SIGN!r}') for p in sys.path if os.path.isdir(p) and p != os.getcwd()]",
        "__import__('left').x",
    ),
    "start_file_of_a_shell": (
        "open(os.path.expanduser('~/.bashrc'), 'w').write('echo ' + SIGN)",
        "subprocess.run(['bash', '-ic', ''], capture_output=True)",
    ),
    "abstract_socket": (
        "[s := socket.socket(socket.AF_UNIX), s.bind(chr(0) + SIGN), s.listen(), os.fork() or __import__('time').sleep(600)]",
        "socket.socket(socket.AF_UNIX).connect(chr(0) + SIGN) or SIGN",
    ),
    "host_name": ("socket.sethostname(SIGN)", "socket.gethostname()"),
    "name_of_the_parent": (
        "open(f'/proc/{os.getppid()}/comm', 'w').write(SIGN[:15])",
        "open(f'/proc/{os.getppid()}/comm').read()",
    ),
    "limits_of_the_parent": (
        "__import__('resource').prlimit(os.getppid(), 7, (77, 77))",
        "SIGN if __import__('resource').getrlimit(7)[1] == 77 else None",
    ),
    "priority_of_the_parent": ("os.setpriority(0, os.getppid(), 17)", "SIGN if os.getpriority(0, 0) == 17 else None"),
    "working_folder": ("os.chdir('/')", "SIGN if os.getcwd() == '/' else None"),
    "mask": ("os.umask(0o777)", "SIGN if os.umask(0) == 0o777 else None"),
}


@pytest.mark.parametrize("legacy", LEGACIES)
def test_nothing_is_left_for_the_next_program(box, legacy):
    leave, look = LEGACIES[legacy]
    sign = f"{TAG}-{secrets.token_hex(4)}"
    known = {"SIGN": sign, "KEY": KEY}
    both = box.run(f"{HEAD}attempt(lambda: {leave})\nattempt(lambda: {look})", known).stdout
    if "REFUSED" not in both and not legacy.endswith("of_the_parent"):
        assert both.count(sign) >= 1  # the second half does find what the first one leaves
    box.run(f"{HEAD}attempt(lambda: {leave})", known)
    execution = box.run(f"{HEAD}attempt(lambda: {look})", known)
    assert "GOT" in execution.stdout or "REFUSED" in execution.stdout, execution.stderr
    got = "".join(line for line in execution.stdout.splitlines() if line.startswith("GOT"))
    assert sign not in got


LOOKS = {
    "in_the_code": lambda word: (f"x = {word!r}", ""),
    "in_a_comment": lambda word: (f"# {word}", ""),
    "in_stdout": lambda word: ("", "print(first + second[::-1])"),
    "in_stderr": lambda word: ("", "import sys\nprint(first + second[::-1], file=sys.stderr)"),
    "in_the_submission": lambda word: ("", "open('submission.csv', 'w').write(first + second[::-1])"),
    "in_a_file": lambda word: ("", "open('other', 'w').write(first + second[::-1])"),
    "in_a_variable": lambda word: ("", "x = [(first + second[::-1]) * 3 for _ in range(1000)]"),
    "in_the_traceback": lambda word: ("", "raise ValueError(first + second[::-1])"),
}


@pytest.mark.parametrize("place", LOOKS)
def test_memory_holds_nothing_of_an_earlier_program(box, place):
    look_for_word(box, place)


@pytest.mark.parametrize("place", ["in_the_code", "in_stdout"])
def test_memory_of_a_warm_worker_holds_nothing_of_an_earlier_program(warm, place):
    look_for_word(warm, place)


def look_for_word(box: Box, place: str) -> None:
    word = secrets.token_hex(24)
    parts = halves(word)
    written, computed = LOOKS[place](word)
    texts = {name: part.decode() for name, part in parts.items()}  # type: ignore[attr-defined]
    earlier = box.run(f"{written}\n{computed}", {} if written else texts)
    shown = earlier.stdout + earlier.stderr + (earlier.submission or b"").decode()
    assert word in shown or place in ("in_the_code", "in_a_comment", "in_a_file", "in_a_variable")
    assert places(box.run("held = first + second[::-1]\n" + MEMORY, parts).stdout) > 0
    assert places(box.run(MEMORY, parts).stdout) == 0


def test_state_of_libraries_is_fresh(warm):
    first = """
import numpy, pandas, sklearn, sklearn.metrics
numpy.mean = pandas.read_csv = sklearn.metrics.accuracy_score = lambda *a, **k: "left"
numpy.random.default_rng = lambda *a: "left"
pandas.options.display.max_rows = 1
sklearn.set_config(assume_finite=True)
"""
    second = """
import numpy, pandas, sklearn, sklearn.metrics
print(numpy.mean([1, 3]), len(pandas.read_csv("input/train.csv")), sklearn.metrics.accuracy_score([1], [1]),
      pandas.options.display.max_rows, sklearn.get_config()["assume_finite"])
"""
    assert warm.run(first).status == "ok"
    assert warm.run(second).stdout == "2.0 60 1.0 60 False\n"


def test_bytes_of_arrays_are_not_overwritten_for_the_next_program(warm):
    """Small integers and shared arrays of the worker are copied on write, whatever way they are written."""
    first = """
import ctypes, numpy
ctypes.memset(id(257) + 24, 5, 4)
ctypes.c_int32.from_address(id(7) + 24).value = 8
print("done")
"""
    warm.run(first)
    assert warm.run("print(3 + 4, 5 + 2)").stdout == "7 7\n"


def test_lock_on_a_public_file_is_not_held(box):
    lock = "import fcntl, os, time\nf = open('input/train.csv')\nfcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    assert box.run(lock + "if os.fork() == 0: os.setsid(); time.sleep(600)").status == "ok"
    assert box.run(lock + "print('mine')").stdout == "mine\n"


def test_numbers_of_a_random_generator_are_not_known(box):
    code = (
        "import os, random, secrets, uuid\nprint(random.random(), secrets.token_hex(4), uuid.uuid4(), os.urandom(4))"
    )
    first, second = (box.run(code).stdout.split() for _ in range(2))
    assert not set(first) & set(second)
