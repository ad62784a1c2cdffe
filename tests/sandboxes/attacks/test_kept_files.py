"""Attacks by the files that a program leaves for the next run.

They are read by a process that may do more than the program, and lie in the next program's folder before its first line.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from tests.sandboxes.attacks.hostile import SECRET, Box, make_limits, with_values
from trl_mle import ASTInstrumenter, Program
from trl_mle.instrumentation import new_nonce, parse_milestones
from trl_mle.types import Execution

KEEP = 1 << 20


def run(box: Box, code: str, files: Mapping[str, bytes] | None = None, **limits: Any) -> Execution:
    given = make_limits({"keep_bytes": KEEP, **limits})
    return box.runner.run(box.sandbox.run(code, box.task, given, files=files))


def test_files_are_there_in_the_next_run_and_only_there(box: Box):
    first = run(
        box, "import os; os.makedirs('a/b'); open('a/b/x', 'w').write('1'); open('y', 'wb').write(bytes(range(256)))"
    )
    assert (first.files, first.files_cut) == ({"a/b/x": b"1", "y": bytes(range(256))}, 0)
    look = "import os; print(sorted(n for n in os.listdir() if n not in ('input', 'main.py', 'tmp')))\n"
    change = "open('a/b/x', 'a').write('2'); os.remove('y'); os.makedirs('a/c'); os.rename('a/b/x', 'a/c/z')"
    second = run(box, look + change, first.files)
    assert (second.status, second.stdout, second.files) == ("ok", "['a', 'y']\n", {"a/c/z": b"12"})
    assert run(box, look).stdout == "[]\n"
    assert run(box, "open('x', 'w')", first.files, keep_bytes=0).files == {}


def test_files_are_kept_however_the_program_ends(box: Box):
    write = "open('checkpoint', 'w').write('1')\n"
    ends = {
        "error": "raise SystemExit(3)",
        "timeout": "while True: pass",
        "output": "print('x' * 10**6)",
        "killed": "import os; os.kill(os.getpid(), 9)",
    }
    for status, end in ends.items():
        execution = run(box, write + end, wall_s=0.5)
        assert (execution.status, execution.files) == (status, {"checkpoint": b"1"})


LEFT_OUT = {
    "symlink": ("os.symlink('/etc/passwd', 'x')", 1),
    "symlink_to_public_files": ("os.symlink('input', 'x'); os.symlink('input/train.csv', 'y')", 2),
    "symlink_to_the_answers": ("os.symlink(answers, 'x')", 1),
    "hard_links": ("open('x', 'w'); os.link('x', 'y')", 2),
    "fifo": ("os.mkfifo('x')", 1),
    "socket": ("import socket; socket.socket(socket.AF_UNIX).bind('x')", 1),
    "device": ("os.symlink('/dev/zero', 'x'); os.symlink('/proc/self/mem', 'y')", 2),
    "large": ("open('x', 'wb').write(bytes(2 << 20))", 1),
    "sparse": ("open('x', 'wb').truncate(4 << 20)", 1),
    "line_break": ("open('x\\ny', 'w'); os.mkdir('\\r'); open('\\r/x', 'w')", 2),
    "no_utf_8": ("open(b'\\xff', 'w'); open('\\udcfe', 'w')", 2),
    "dots": ("open('...', 'w').write('1'); open('..x', 'w'); open('\\\\..', 'w'); open(' ', 'w')", 0),
    "long_name": ("open('x' * 255, 'w'); os.mkdir('y' * 200); open('y' * 200 + '/' + 'z' * 100, 'w')", 1),
    "deep": ("\nfor _ in range(300): os.mkdir('d'); os.chdir('d')\nopen('x', 'w')", 1),
    "own_names": ("open('main.py', 'w'); open('submission.csv', 'w'); open('tmp/x', 'w'); open('Main.py', 'w')", 1),
    "own_names_as_folders": (
        "os.remove('main.py'); os.mkdir('main.py'); os.mkdir('submission.csv'); open('main.py/x', 'w')",
        0,
    ),
    "bytecode": (
        "os.mkdir('__pycache__'); open('__pycache__/helper.cpython-311.pyc', 'w'); open('__pycache__x', 'w')",
        0,
    ),
    "many": ("\nfor n in range(1500): open(f'{n:04}', 'w')", 501),
    "without_rights": (
        "open('x', 'w'); os.chmod('x', 0); os.mkdir('d'); os.chmod('d', 0); os.chmod('.', 0)",
        None,
    ),
}


@pytest.mark.parametrize("left", LEFT_OUT)
def test_what_is_no_ordinary_file_is_left_out(box: Box, answers: str, left):
    """Nothing of it is read, the rest is kept, and the next run starts."""
    code, cut = LEFT_OUT[left]
    execution = run(box, with_values(f"import os\nopen('good', 'w').write('1')\n{code}", {"answers": answers}))
    assert execution.status == "ok", execution.stderr
    assert left == "many" or execution.files["good"] == b"1"
    assert cut is None or execution.files_cut == cut
    assert SECRET.encode() not in b"".join(execution.files.values()) and b"root:" not in b"".join(
        execution.files.values()
    )
    assert run(box, "print(1)", execution.files).stdout == "1\n"


@pytest.mark.slow
def test_a_hundred_thousand_files_are_no_fault(box: Box):
    code = "import os\nfor n in range(100_000): open(f'{n}', 'w').close()"
    execution = run(box, code)
    # In memory the file system is full, on disk the program is stopped.
    assert execution.status in ("error", "output")
    assert len(execution.files) <= 1000 and execution.files_cut > 15_000
    assert run(box, "print(1)", execution.files).stdout == "1\n"


def test_a_full_folder_is_no_fault_of_the_next_run(box: Box):
    """Small files take whole blocks: more than what may be kept must not keep the next program from starting."""
    code = "for n in range(1000):\n    with open(f'{n:04}', 'wb') as file: file.write(b'1' * (SIZE))"
    for size in ("1", "n * 5", "4097", "40_000"):
        try_ = f"try:\n    exec({code.replace('SIZE', size)!r})\nexcept OSError: pass"
        execution = run(box, try_, work_bytes=1 << 20, keep_bytes=1 << 19)
        assert execution.status in ("ok", "output") and execution.files
        next_one = run(box, "print(1)", execution.files, work_bytes=1 << 20, keep_bytes=1 << 19)
        assert (next_one.status, next_one.stdout) == ("ok", "1\n")


def test_processes_that_go_on_do_not_change_what_is_kept(box: Box):
    """They are gone before anything is read."""
    code = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        while True:
            with open("x", "r+b" if os.path.exists("x") else "wb") as file:
                file.write(os.urandom(1) * 50_000)
            os.symlink("/etc/passwd", "y"); os.rename("y", "x")
            os.remove("x")
while not os.path.exists("x") and not os.path.islink("x"): pass
"""
    for _ in range(5):
        execution = run(box, code)
        assert set(execution.files) <= {"x"} and b"root:" not in execution.files.get("x", b"")


MODULES = ("json", "numpy", "sitecustomize", "usercustomize", "encodings", "random", "tempfile", "site", "os")


def test_no_kept_file_runs_before_the_program_or_in_place_of_a_module(box: Box):
    """Neither in the program, nor in an interpreter that it starts, nor in the place of the program itself."""
    first = run(
        box,
        f"""
import os
for name in {MODULES!r}:
    open(f"{{name}}.py", "w").write("print('instead')")
    os.mkdir(name)
    open(f"{{name}}/__init__.py", "w").write("print('instead')")
    open(f"{{name}}/data.csv", "w").write("1")
open("x.pth", "w").write("import os; print('instead')")
open("helper.py", "w").write("print('helper')")
open("__main__.py", "w").write("print('instead')")
open("main.py", "w").write("print('instead')")
""",
    )
    assert set(first.files) == {"x.pth", "helper.py", "__main__.py", *(f"{name}/data.csv" for name in MODULES)}
    second = run(
        box,
        """
import json, random, tempfile, subprocess, sys, numpy
import helper
print(len(open("main.py").read()) > 100, flush=True)
for options in ([], ["-E"]):
    command = [sys.executable, *options, "-c", "import json, random, tempfile, helper"]
    print(subprocess.run(command, stdout=subprocess.PIPE).stdout.decode(), end="", flush=True)
""",
        first.files,
    )
    assert (second.status, second.stdout) == ("ok", "helper\nTrue\nhelper\nhelper\n"), second.stderr


DIG = """
import os, re, sys
def walk(code, found):
    for constant in getattr(code, "co_" + "consts"):
        if isinstance(constant, str): found += re.findall(r"\\[\\[trl_" + r"mle:[0-9a-f]+:\\w+\\]\\]", constant)
        elif type(constant).__name__ == "code": walk(constant, found)
frame, found = getattr(sys, "_get" + "frame")(), []
while frame is not None:
    walk(getattr(frame, "f_" + "code"), found)
    frame = getattr(frame, "f_" + "back")
print(*found, sep="\\n")
import builtins
before = builtins.print
def replayed(*texts, **options):
    before(*texts, **options)
    for name in ("loaded_data", "trained_model", "wrote_predictions", "imported_libraries"):
        before(*(re.sub(r":\\w+\\]\\]", f":{name}]]", str(text)) for text in texts))
builtins.print = replayed
"""
BODY = """
import sys
import pandas as pd
if len(sys.argv) > 5:
    train = pd.read_csv("input/train.csv")
"""


def test_a_kept_module_knows_no_more_of_the_marks_than_the_program_itself(warm: Box):
    """It digs marks out of the program that imports it, and replays printed ones. One program can write such a module, too."""

    def claimed(code: str, files: Mapping[str, bytes] | None = None) -> set[str]:
        program = ASTInstrumenter().instrument(Program("", code), new_nonce())
        execution = warm.runner.run(
            warm.sandbox.run(program.code, warm.task, make_limits({"keep_bytes": KEEP}), source=code, files=files)
        )
        assert execution.status == "ok", execution.stderr
        marks = set(parse_milestones(execution.stdout, program.nonce))
        assert marks <= set(program.inserted), "a mark that was not inserted has a key that nobody can know"
        return marks

    left = run(warm, f"open('helper.py', 'w').write({DIG!r})")
    hidden = base64.b64encode(DIG.encode())
    one_program = claimed(
        f"import base64\nopen('helper.py', 'wb').write(base64.b64decode({hidden!r}))\nimport helper\n{BODY}"
    )
    assert claimed(f"import helper\n{BODY}", left.files) == one_program
    assert one_program == {"imported_libraries", "loaded_data"}, "statements that it has, reached or not"
