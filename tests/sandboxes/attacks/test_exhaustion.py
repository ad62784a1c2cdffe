"""Attacks that use up the machine. Each is bounded by itself: a test must be no danger to the machine that it runs on."""

from __future__ import annotations

import time

import pytest

from tests.sandboxes.attacks.hostile import LIMITS, processes, settles_at
from tests.support.hang import HANG_S

BOMBS = {
    # At most 2**8 processes, which end within 10 seconds.
    "doubling": "for _ in range(8): os.fork()\nwhile time.time() < end: time.sleep(0.05)",
    "wide": "for _ in range(300):\n    if os.fork() == 0:\n        while time.time() < end: time.sleep(0.05)\n"
    "        os._exit(0)\ntime.sleep(8)",
    "chain": "for _ in range(300):\n    if os.fork(): break\nwhile time.time() < end: time.sleep(0.05)",
    "daemons": "for _ in range(300):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
    "            while time.time() < end: time.sleep(0.05)\n        os._exit(0)\ntime.sleep(8)",
    "dead_children": "for _ in range(300):\n    if os.fork() == 0: os._exit(0)\nprint('made', flush=True)\ntime.sleep(8)",
    "threads": "for _ in range(300): threading.Thread(target=time.sleep, args=(8,), daemon=True).start()\ntime.sleep(8)",
    "started_programs": "for _ in range(300): subprocess.Popen(['sleep', '8'])\ntime.sleep(8)",
    "fork_and_exit": "for _ in range(300):\n    if os.fork(): os._exit(0)\nwhile time.time() < end: time.sleep(0.05)",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_too_many_processes_cost_their_own_program_alone(box, well, bomb):
    before, began = processes(), time.monotonic()
    execution = box.run(
        f"import os, subprocess, threading, time\nend = time.time() + 8\n{BOMBS[bomb]}",
        wall_s=30,
        processes=24,
        memory_bytes=2**30,
    )
    assert time.monotonic() - began < HANG_S
    refused = "BlockingIOError" in execution.stderr or "can't start new thread" in execution.stderr
    if bomb == "fork_and_exit":  # never more than two alive, and the first one's end is the program's
        assert execution.status == "ok"
    elif not refused:
        assert execution.status == "killed"
        assert "processes" in execution.stderr
    assert settles_at(before)


HOGS = {
    "list": "kept = [bytearray(2**20 * 8) for _ in range(128)]",
    "map": "m = mmap.mmap(-1, 2**30, flags=mmap.MAP_PRIVATE)\nfor at in range(0, 2**30, 4096): m[at] = 1",
    "shared_map": "m = mmap.mmap(-1, 2**30, flags=mmap.MAP_SHARED)\nfor at in range(0, 2**30, 4096): m[at] = 1",
    "memory_file": "f = os.memfd_create('m')\nfor _ in range(1024): os.write(f, bytes(2**20))",
    "memory_files": "for _ in range(512): os.write(os.memfd_create('m'), bytes(2 * 2**20))",
    "children": "for _ in range(16):\n    if os.fork() == 0:\n        kept = bytearray(b'1' * 2**26); time.sleep(60)\n"
    "        os._exit(0)\n",
    "orphans": "for _ in range(16):\n    if os.fork() == 0:\n        if os.fork() == 0:\n"
    "            os.setsid(); kept = bytearray(b'1' * 2**26); time.sleep(60)\n        os._exit(0)\n",
    "shared_memory": "f = open('/dev/shm/hog', 'wb')\nfor _ in range(1024): f.write(bytes(2**20))",
    "locked": "import ctypes\nctypes.CDLL(None).mlockall(7)\nkept = bytearray(b'1' * 2**30)",
    # The pages of these are in no process's resident memory.
    "shared_map_let_go": "m = mmap.mmap(-1, 2**30)\nfor at in range(0, 2**30, 2**25):\n"
    "    m[at : at + 2**25] = bytes(2**25); m.madvise(mmap.MADV_DONTNEED, at, 2**25)",
    "shared_map_of_dead_children": "m = mmap.mmap(-1, 2**30)\nfor at in range(0, 2**30, 2**25):\n"
    "    if os.fork() == 0: m[at : at + 2**25] = bytes(2**25); os._exit(0)\n    os.wait()",
    "map_of_the_zero_device": "f = os.open('/dev/zero', os.O_RDWR)\nm = mmap.mmap(f, 2**30)\nfor at in range(0, 2**30, 2**25):\n"
    "    m[at : at + 2**25] = bytes(2**25); m.madvise(mmap.MADV_DONTNEED, at, 2**25)",
    "memory_files_mapped": "kept = []\nfor _ in range(256):\n    f = os.memfd_create('m'); os.write(f, bytes(2**22))\n"
    "    kept.append(mmap.mmap(f, 4096)); os.close(f)",
    "memory_files_on_the_way": "import socket\nkept = []\nfor _ in range(256):\n    f = os.memfd_create('m')\n"
    "    os.write(f, bytes(2**22)); a, b = socket.socketpair(); socket.send_fds(a, [b'x'], [f]); os.close(f)\n"
    "    kept.append((a, b))",
    "page_tables": "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.mmap.restype = ctypes.c_void_p\nlibc.mmap.argtypes = "
    "[ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]\n"
    "start = libc.mmap(None, 2**39, 1, 0x4022, -1, 0)\nif start == 2**64 - 1: raise MemoryError\n"
    "libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(2**39), 15)\n"
    "for at in range(start, start + 2**39, 2**21): ctypes.c_byte.from_address(at).value",
    "one_page_many_times": "f = os.open('f', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 2**22); os.pwrite(f, bytes(2**22), 0)\n"
    "kept = []\nfor _ in range(2**14): kept.append(mmap.mmap(f, 2**22, prot=1)); kept[-1][:: 2**12]",
    "huge_pages_in_pipes": "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.mmap.restype = ctypes.c_void_p\n"
    "class Piece(ctypes.Structure): _fields_ = [('at', ctypes.c_void_p), ('n', ctypes.c_size_t)]\nkept, size = [], 2**21\n"
    "for n in range(512):\n    if n % 16 == 0: kept.append(os.pipe())\n    start = libc.mmap(None, ctypes.c_size_t(2 * size), 3, "
    "0x22, -1, ctypes.c_long(0))\n    at = -(-start // size) * size\n    libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(size), "
    "14)\n    ctypes.memset(at, 1, 1)\n    if libc.vmsplice(kept[-1][1], ctypes.byref(Piece(at, 4096)), ctypes.c_ulong(1), 0) < 0:"
    " raise OSError(ctypes.get_errno(), 'not permitted')\n    libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(2 * size))",
    "pages_of_files_in_pipes": "kept = []\nfor n in range(256):\n    if n % 8 == 0: kept.append(os.pipe())\n"
    "    f = os.open('f', os.O_RDWR | os.O_CREAT); os.write(f, bytes(2**22)); os.unlink('f')\n"
    "    for at in (0, 2**21): os.sendfile(kept[-1][1], f, at, 1)\n    os.close(f)",
    "sockets_of_children": "import socket\nfor _ in range(12):\n    if os.fork() == 0:\n        kept = []\n"
    "        for _ in range(350):\n            kept.append(socket.socketpair()); kept[-1][0].setblocking(False)\n"
    "            try:\n                while True: kept[-1][0].send(bytes(2**16))\n            except OSError: pass\n"
    "        time.sleep(8); os._exit(0)",
    "temporary_files": "f = [open(f'/tmp/{n}', 'wb') for n in range(512)]\nfor one in f: one.write(bytes(2 * 2**20)); one.flush()",
}


@pytest.mark.parametrize("hog", HOGS)
def test_memory_is_bounded(box, well, hog):
    """Each takes 1 GiB in another way, and none gets there."""
    # Page tables take a while to be made.
    wall_s = 60 if hog == "page_tables" else 30
    execution = box.run(f"import mmap, os, time\n{HOGS[hog]}\ntime.sleep(60)", wall_s=wall_s)
    assert execution.status in ("memory", "output", "error", "killed")
    if execution.status == "error":
        assert any(reason in execution.stderr for reason in REFUSALS), execution.stderr


_MAPS = """
import mmap, time
with open("x", "wb") as file:
    for _ in range(80): file.write(bytes(2**20))
file = open("x", "r+b")
m = mmap.mmap(file.fileno(), 0)
for at in range(0, len(m), 4096): m[at] = 1
kept = b"1" * more
for _ in range(2000 if more else 10): time.sleep(0.03)
"""


@pytest.mark.parametrize(("more", "status"), [(0, "ok"), (60 * 2**20, "memory")])
def test_a_mapped_file_counts_once_and_hides_nothing(box, more, status):
    """As numpy and joblib map arrays. In memory, the file and its mapped pages are the same pages."""
    sizes = {"file_bytes": 100 * 2**20, "work_bytes": 100 * 2**20, "memory_bytes": 128 * 2**20}
    execution = box.run(_MAPS, {"more": more}, **sizes)
    assert execution.status == status, execution.stderr


REFUSALS = (
    "MemoryError",
    "No space left",
    "File too large",
    "Permission denied",
    "No such file",
    "Read-only",
    "not permitted",
    "not implemented",
)

BUFFERS = {
    "pipes": "ends = os.pipe()[::-1]\n    try: fcntl.fcntl(ends[0], 1031, 2**20)\n    except OSError: pass",
    "sockets": "ends = [one.detach() for one in socket.socketpair()]",
    "datagrams": "ends = [one.detach() for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)]",
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_memory_of_the_kernel_is_bounded(box, well, kind):
    """What waits in pipes and sockets is nobody's resident memory."""
    code = f"""
import fcntl, os, socket
held = 0
for _ in range(500):
    {BUFFERS[kind]}
    os.set_blocking(ends[0], False)
    try:
        while True: held += os.write(ends[0], bytes(65536))
    except OSError: pass
print(held)
"""
    execution = box.run(code)
    assert execution.status in ("ok", "error", "memory", "output")
    assert int(execution.stdout or 0) < LIMITS.memory_bytes


FILLS = {
    "one_file": "with open('f', 'wb') as f:\n    for _ in range(1024): f.write(bytes(2**20))",
    "many_files": "for n in range(512): open(f'f{n}', 'wb').write(b'x' * 2 * 2**20)\ntime.sleep(60)",
    "unnamed_files": "kept = []\nfor n in range(512):\n    f = open('f', 'wb', buffering=0); os.unlink('f')\n"
    "    f.write(b'x' * 2 * 2**20); kept.append(f)\ntime.sleep(60)",
    "files_of_a_hidden_process": "import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\nkept = []\nfor n in range(512):\n"
    "    f = open('f', 'wb', buffering=0); os.unlink('f')\n    f.write(b'x' * 2 * 2**20); kept.append(f)\ntime.sleep(60)",
    # It executes a file that it may not read, so an ordinary user may not look at the process.
    "files_of_an_unreadable_program": "f = os.open('shell', os.O_CREAT | os.O_WRONLY, 0o111)\n"
    "os.write(f, open('/bin/bash', 'rb').read()); os.close(f); os.mkfifo('p')\nfor n in range(10, 130):\n"
    "    f = os.open('f', os.O_CREAT | os.O_WRONLY); os.unlink('f'); os.dup2(f, n); f in range(10, 130) or os.close(f)\n"
    "os.execv('./shell', ['shell', '-c', "
    "'big=x; while [ ${#big} -lt 2000000 ]; do big=$big$big; done; for n in {10..129}; do printf %s $big >&$n || exit 1; done; "
    "read x < p'])",
    "folder_of_temporary_files": "for n in range(512): open(f\"{os.environ['TMPDIR']}/f{n}\", 'wb').write(bytes(2 * 2**20))\n"
    "time.sleep(60)",
    "many_names": "for n in range(110_000): os.close(os.open(f'f{n}', os.O_CREAT))\ntime.sleep(60)",
    "allocated": "for n in range(512):\n    f = os.open(f'f{n}', os.O_CREAT | os.O_WRONLY)\n"
    "    os.posix_fallocate(f, 0, 2 * 2**20); os.close(f)\ntime.sleep(60)",
    "deep_folders": "for _ in range(60): os.mkdir('d' * 100); os.chdir('d' * 100)\n"
    "for n in range(512): open(f'f{n}', 'wb').write(bytes(2 * 2**20))\ntime.sleep(60)",
    "closed_folders": "os.makedirs('d/e'); f = os.open('d/e', 0); os.chmod('d', 0)\n"
    "for n in range(512): os.write(os.open(f'f{n}', os.O_CREAT | os.O_WRONLY, dir_fd=f), bytes(2 * 2**20))\ntime.sleep(60)",
    "long_names": "for n in range(10_000): os.symlink('x' * 4000, f'{n}')\ntime.sleep(60)",
}


@pytest.mark.parametrize("fill", FILLS)
def test_disk_is_bounded(box, well, fill):
    """Each takes far more than all files of a program together may have."""
    if fill == "long_names":
        box.skip_if_documented("slow_removal")
    execution = box.run(f"import os, time\n{FILLS[fill]}", wall_s=3 if fill == "many_names" else 30)
    if fill == "files_of_an_unreadable_program" and execution.status == "killed":
        return
    assert execution.status in ("output", "error", "memory") or (
        # On a slow disk it does not get to so many.
        fill == "many_names" and execution.status == "timeout"
    )
    if execution.status == "error":
        assert any(words in execution.stderr for words in ("File too large", "No space left", "Disk quota"))


def test_sparse_file_is_no_submission(box, well):
    huge = "import os\nopen('submission.csv', 'w').close()\nattempt(lambda: os.truncate('submission.csv', 2**50))"
    execution = box.run(huge)
    assert "REFUSED" in execution.stdout or execution.exit_code == -25  # SIGXFSZ
    assert execution.submission in (None, b"")
    sparse = box.run("open('submission.csv', 'wb').truncate(size)", {"size": 2**22}, submission_bytes=2**20)
    assert (sparse.submission, sparse.status) == (None, "ok")


def test_deep_folders_are_removed(box, well):
    code = "import os\nfor _ in range(400): os.mkdir('d' * 100); os.chdir('d' * 100)"
    assert box.run(code).status in ("ok", "error", "output")


FLOODS = {
    "stdout": "while True: os.write(1, b'x' * 65536)",
    "stderr": "while True: os.write(2, b'x' * 65536)",
    "both": "while True: os.write(1, b'x' * 999); os.write(2, b'y' * 999)",
    "short_lines": "while True: os.write(1, b'\\n' * 4096)",
    "bytes_that_are_no_text": "while True: os.write(1, bytes(range(256)) * 16)",
    "children": "for _ in range(5): os.fork()\nwhile True: os.write(1, b'x' * 65536)",
    "by_name": "f = open('/proc/self/fd/1', 'wb', buffering=0)\nwhile True: f.write(b'x' * 65536)",
    "at_the_end": "import atexit\natexit.register(lambda: [os.write(1, b'x' * 65536) for _ in range(1000)])",
    "one_large_write": "os.write(1, b'x' * 100_000_000)",
    "traceback": "raise ValueError('x' * 10_000_000)",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_output_is_bounded(box, well, flood):
    execution = box.run(f"import os\n{FLOODS[flood]}", wall_s=30)
    assert execution.status == "output"
    for text in (execution.stdout, execution.stderr):
        assert len(text.encode()) <= 4 * (LIMITS.output_bytes + 300)  # what is no text becomes a character of 3 bytes


def test_closed_output_is_no_fault(box, well):
    execution = box.run("import os\nos.close(1); os.close(2)\nos.open('/dev/null', os.O_WRONLY)\nprint('x')\n1 / 0")
    assert execution.status == "error"


def test_blocked_output_of_a_child_does_not_hold_the_run(box, well):
    """The child keeps the program's output open and never writes; the run ends with the program."""
    code = "import os, time\nif os.fork() == 0: time.sleep(600)\nprint('end')"
    began = time.monotonic()
    assert box.run(code).status == "ok"
    assert time.monotonic() - began < HANG_S


RESOURCES = {
    "descriptors": "kept = []\nwhile True: kept.append(os.open('.', 0))",
    "sockets": "import socket\nkept = []\nwhile True: kept.extend(socket.socketpair())",
    "processor_time": "while True: pass",
    "processor_time_of_children": "for _ in range(8): os.fork()\nwhile True: pass",
    "regular_expression": "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    "integer": "10 ** 10 ** 9",
    "import_loop": "open('loop.py', 'w').write('import importlib, sys\\nwhile True: importlib.reload(sys)')\nimport loop",
    "signals": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\nsignal.setitimer(0, 1e-5, 1e-5)\nwhile True: pass",
    "sleep_without_end": "time.sleep(1e6)",
    "deadlock": "import threading\nlock = threading.Lock(); lock.acquire(); lock.acquire()",
    "nested_data": "x = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    "compiler": "compile('(' * 10**5 + ')' * 10**5, 'x', 'eval')",
    "end_that_never_ends": "import atexit\natexit.register(time.sleep, 1e6)",
    "thread_that_never_ends": "import threading\nthreading.Thread(target=time.sleep, args=(1e6,)).start()",
    "destructor_that_never_ends": "class A:\n    def __del__(self, sleep=time.sleep): sleep(1e6)\na = A()",
}


@pytest.mark.parametrize("resource", RESOURCES)
def test_run_ends_in_time(box, well, resource):
    began = time.monotonic()
    execution = box.run(f"import os, time\n{RESOURCES[resource]}", wall_s=0.2)
    assert execution.status != "ok"
    assert time.monotonic() - began < HANG_S
