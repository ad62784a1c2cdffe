"""The files of the machine that a program finds: an allow list, on which nothing helps with a task."""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path

import pytest

from trl_mle.sandboxes.local.runner.interpreter.packages import HIDDEN_DATA
from trl_mle.sandboxes.local.runner.isolation.libraries import find_libraries
from trl_mle.types import Limits

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = {"bin", "dev", "etc", "lib", "lib32", "lib64", "packages", "proc", "program", "sys", "tmp", "usr"}
SHARED = {"fontconfig", "fonts", "terminfo", "zoneinfo"}
TEXTS = (".mo", ".po", ".dic", ".aff", ".dict", ".hyp", ".wordlist", ".spl")
"""Endings of translations and word lists."""

WALK = """
import json, os
found = {}
for root, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(root, name) not in ("/proc", "/sys", "/program", "/packages")]
    for name in files:
        if os.path.exists(os.path.join(root, name)):
            found.setdefault(root, []).append(name)
print(json.dumps([sorted(os.listdir("/")), found]))
"""
OPEN = """
import json
def readable(path):
    try:
        return bool(open(path, "rb").read(1))
    except OSError:
        return False
print(json.dumps([path for path in PATHS if readable(path)]))
"""


def first_file(folder: Path) -> str | None:
    """A file with content anywhere below `folder`."""
    for root, _, names in islice(os.walk(folder), 200):
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path):
                return path
    return None


async def test_every_visible_file_is_on_the_list(bare, task):
    execution = await bare.run(WALK, task, Limits(wall_s=60, output_bytes=2**24))
    if execution.status == "error" and "PermissionError" in execution.stderr:
        pytest.skip("without a private root no program can list `/`; the test below opens files")
    names, found = json.loads(execution.stdout)
    machine = {Path(os.path.realpath(path)).parts[1] for path in (sys.base_prefix, sys.prefix)}
    assert set(names) <= ROOT | machine
    assert set(found.get("/etc", [])) <= {"ld.so.cache", "nsswitch.conf"}
    assert not [path for path in found if path.startswith("/etc/")]
    shared = {path.split("/")[3] for path in found if path.startswith("/usr/share/")}
    assert shared <= SHARED
    assert "/usr/share" not in found
    assert not [path for path in found if path.startswith("/usr/lib/locale/") and "/C." not in path]
    texts = [f"{root}/{name}" for root, files in found.items() for name in files if name.endswith(TEXTS)]
    assert texts == []
    data = [root for root in found if any(f"{root}/".endswith(f"/{name}/") for name in HIDDEN_DATA)]
    assert data == []
    tests = [root for root in found if root.endswith(("/lib2to3/tests", "/idlelib", "/pydoc_data", "/unittest/test"))]
    assert tests == []


async def test_files_of_the_machine_cannot_be_opened(bare, task):
    folders = [
        *Path("/usr/share").iterdir(),
        *Path("/usr/lib").iterdir(),
        Path("/etc"),
        Path("/usr/include"),
        Path("/var"),
        Path("/opt"),
    ]
    kept = SHARED | {"gcc", "locale", "ssl"} | {path.name for path in Path("/usr/lib").glob("*-linux-*")}
    python = Path(os.path.realpath(os.__file__)).parent
    candidates = [folder for folder in folders if folder.is_dir() and folder.name not in kept and folder != python]
    paths = [path for folder in candidates if (path := first_file(folder)) is not None]
    paths += ["/etc/passwd", "/etc/os-release", "/etc/timezone", "/usr/lib/os-release"]
    execution = await bare.run(OPEN.replace("PATHS", repr(paths)), task, Limits(wall_s=60))
    shown = json.loads(execution.stdout)
    allowed = os.path.realpath(sys.base_prefix)
    assert [path for path in shown if not os.path.realpath(path).startswith(allowed) or allowed == "/usr"] == []
    assert any(os.access(path, os.R_OK) for path in paths)  # the control: here they can be read


async def test_the_environment_is_the_same_on_every_machine(bare, task, monkeypatch):
    for name, value in (
        ("TZ", "Asia/Tokyo"),
        ("LANG", "de_DE.UTF-8"),
        ("LC_ALL", "de_DE.UTF-8"),
        ("PYTHONHASHSEED", "7"),
    ):
        monkeypatch.setenv(name, value)
    code = "import os, sys, time; print(time.tzname, sys.stdout.encoding, hash('a'))"
    execution = await bare.run(code + "; print(sorted(os.environ))", task)
    first, variables = execution.stdout.splitlines()
    assert first.startswith("('UTC', 'UTC') utf-8 ")
    assert "LC_ALL" not in variables
    assert (await bare.run(code, task)).stdout.strip() == first


@pytest.fixture
def usr(tmp_path):
    """Folders of libraries as Debian has them (`lib`), and as the image `python` has them (`local`)."""
    for name in (
        *("lib/x86_64-linux-gnu/libm.so.6", "lib/x86_64-linux-gnu/gconv/a.so", "lib/x86_64-linux-gnu/perl/words"),
        *("lib/aspell/de.dic", "lib/python3/dist-packages/x.py", "lib/gcc/a", "lib/locale/de_DE/LC_TIME"),
        *(
            "local/libpython3.11.so.1.0",
            "local/python3.11/os.py",
            "local/python3.11/test/words",
            "local/node_modules/x",
        ),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


async def test_of_a_folder_without_libraries_only_listed_ones_are_shown(usr):
    found = find_libraries((f"{usr}/lib", f"{usr}/missing"), ())
    assert set(found.shown) == {f"{usr}/lib/gcc", f"{usr}/lib/x86_64-linux-gnu"}
    assert set(found.hidden) == {f"{usr}/lib/x86_64-linux-gnu/perl"}


async def test_the_standard_library_stays_although_it_lies_beside_libraries(usr):
    found = find_libraries((f"{usr}/local",), (f"{usr}/local/python3.11",))
    assert found.shown == (f"{usr}/local",)
    assert set(found.hidden) == {f"{usr}/local/node_modules", f"{usr}/local/python3.11/test"}
