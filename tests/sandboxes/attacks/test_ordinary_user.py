"""The whole suite once more, as a user without privileges."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.sandboxes.attacks.hostile import AS_USER

REPOSITORY = Path(__file__).parents[3]
USER = 65534
"""`nobody` of most systems; it owns nothing."""

# Root shows the user, in a mount namespace that ends with the process, the folders that it needs and may not enter.
_BECOME_USER = """
import ctypes, os, sys
user, closed, needed, command = eval(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def mount(*arguments):
    if libc.mount(*(a.encode() if isinstance(a, str) else a for a in arguments)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), arguments[1])
if closed:
    if libc.unshare(0x20000) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    mount(None, "/", None, 0x44000, None)
    opened = [(path, os.open(path, os.O_PATH)) for path in needed]
    for path in closed:
        mount("tmpfs", path, "tmpfs", 0, "mode=755")
    for path, descriptor in opened:
        os.makedirs(path)
        mount(f"/proc/self/fd/{descriptor}", path, None, 0x1000, None)
os.setgroups([]); os.setgid(user); os.setuid(user)
os.execve(command[0], command, os.environ)
"""


def closed_folders(paths: Iterable[str]) -> list[str]:
    """The outermost folders above `paths` that others may not enter."""
    found = set()
    for path in paths:
        for parent in reversed(Path(path).parents):
            if not os.stat(parent).st_mode & 0o001:
                found.add(str(parent))
                break
    return sorted(found)


@pytest.fixture
def place():
    """A folder of the user's own, where it can be reached: pytest keeps its folders to their owner."""
    folder = Path(tempfile.mkdtemp(prefix="attacks-", dir="/tmp"))
    os.chown(folder, USER, USER)
    (folder / "home").mkdir()
    os.chown(folder / "home", USER, USER)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.skipif(AS_USER in os.environ, reason="this is that run")
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the suite already")
@pytest.mark.timeout(600)
def test_suite_passes_as_an_ordinary_user(place, record_property):
    # What the interpreter and the tests are read from; links on the way to the interpreter lead into these.
    needed = sorted({os.path.realpath(path) for path in (sys.base_prefix, sys.prefix, REPOSITORY)})
    closed = closed_folders([*needed, sys.executable])
    needed = [path for path in needed if any(path.startswith(folder + os.sep) for folder in closed)]
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ},
        **{"HOME": str(place / "home"), "TMPDIR": str(place / "home"), AS_USER: "1"},
        **{"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    }
    tests = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", str(Path(__file__).parent)]

    def run(command: list[str], timeout_s: int) -> subprocess.CompletedProcess[str]:
        become = [sys.executable, "-S", "-c", _BECOME_USER, repr((USER, closed, needed, command))]
        return subprocess.run(
            become, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=timeout_s
        )

    trial = run([sys.executable, "-c", "import os, pytest, trl_mle; print(os.getresuid(), trl_mle.__file__)"], 60)
    if trial.returncode != 0:
        pytest.skip(f"user {USER} cannot run the tests here: {(trial.stderr.strip().splitlines() or ['?'])[-1]}")
    assert trial.stdout == f"({USER}, {USER}, {USER}) {REPOSITORY / 'trl_mle/__init__.py'}\n"
    command = [*tests, "-q", "--collect-only"]
    here = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, AS_USER: "1"}, capture_output=True, text=True, timeout=120
    )
    done = run([*tests, "-q", "-rs", "--tb=short", f"--basetemp={place / 'base'}"], 500)
    skips = re.findall(r"^SKIPPED \[(\d+)\] (.*)$", done.stdout, re.MULTILINE)
    documented = sum(int(number) for number, reason in skips if "documented: " in reason)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    numbers = {
        word: int(number) for number, word in re.findall(r"(\d+) (passed|skipped|collected|tests)", done.stdout)
    }
    assert numbers["passed"] + numbers["skipped"] == int(re.findall(r"(\d+) tests collected", here.stdout)[0])
    kinds = {"held": numbers["passed"], "documented": documented, "not askable": numbers["skipped"] - documented}
    record_property("as an ordinary user", json.dumps(kinds))  # read by benchmarks/attack_modes.py
    assert numbers["skipped"] < numbers["passed"] / 3
    assert all(": " in reason for _, reason in skips)
