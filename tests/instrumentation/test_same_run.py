"""An instrumented program runs as without marks, whatever it does to `print`, to the builtins and to standard output."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trl_mle.instrumentation import ASTInstrumenter
from trl_mle.instrumentation.analysis.hazards import find_hazard
from trl_mle.instrumentation.marks import new_nonce, strip_marks
from trl_mle.instrumentation.verify import parse
from trl_mle.types import Program

PANDAS = "class Frame:\n    shape = (3, 2)\ndef read_csv(path): return Frame()\n"
RICH = "def print(*args): import sys; sys.stdout.write('rich ' + ' '.join(map(str, args)) + '\\n')\n"
TAIL = """
import pandas as pd
train = pd.read_csv("input/train.csv")
print(train.shape)
def load():
    frame = pd.read_csv("input/train.csv")
    return frame
again = load()
print("end")
"""
OTHER = "other = lambda *args: sys.stdout.write('mine ' + ' '.join(map(str, args)) + '\\n')\nimport sys\n"
HEADS = {
    "builtins": "import builtins\nbuiltins.print = other",
    "builtins_renamed": "import builtins as b\nb.print = other",
    "builtins_member": "from builtins import print as p, __dict__ as d\nd['print'] = other",
    "builtins_deleted": "import builtins\np = print\ndel builtins.print\nglobals()['print'] = other",
    "builtins_dict": "import builtins\nbuiltins.__dict__['print'] = other",
    "builtins_vars": "import builtins\nvars(builtins).update(print=other)",
    "builtins_setattr": "import builtins\nsetattr(builtins, 'print', other)",
    "dunder_builtins": "__builtins__.print = other",
    "dunder_builtins_new": "__builtins__ = {'print': other, '__import__': __import__, 'len': len}",
    "modules_builtins": "sys.modules['builtins'].print = other",
    "import_module": "import importlib\nimportlib.import_module('builtins').print = other",
    "dunder_import": "__import__('builtins').print = other",
    "self_of_print": "print.__self__.print = other",
    "self_of_len": "setattr(len.__self__, 'pri' + 'nt', other)",
    "in_exec": "exec('import builtins; builtins.print = other')",
    "in_exec_made": "exec('import buil' + 'tins; buil' + 'tins.print = other')",
    "import_replaced": "import builtins\nreal = builtins.__import__\nbuiltins.__import__ = lambda n, *a: other(n) or real(n, *a)",
    "import_shadowed": "def __import__(*args): raise ValueError\nprint = other",
    "float_and_type": "import builtins\nbuiltins.float = builtins.type = builtins.int = None",
    "mock": "from unittest import mock\nmock.patch('builtins.print', other).start()",
    "helper": "open('helper.py', 'w').write('import builtins; builtins.print = lambda *a: None')\nimport helper",
    "global_name": "print = other",
    "definition": "def print(*args): other('def', *args)",
    "class": "class print:\n    def __init__(self, *args): other('class', *args)",
    "loop": "for print in [other]: pass",
    "walrus": "(print := other)",
    "capture": "match other:\n    case print: pass",
    "deleted_global": "print = other\ndel print",
    "globals": "globals()['print'] = other",
    "globals_update": "globals().update(print=other)",
    "of_function": "(lambda: 0).__globals__['print'] = other",
    "setitem": "import operator\noperator.setitem(load_globals(), 'print', other)\n".replace(
        "load_globals", "globals"
    ),
    "main": "import __main__\n__main__.print = other",
    "main_setattr": "setattr(sys.modules['__main__'], 'print', other)",
    "main_setattr_method": "import types\ntypes.ModuleType.__setattr__(sys.modules[__name__], 'print', other)",
    "exec_plain": "exec('print = other')",
    "rich": "from rich import print",
    "star": "from rich import *",
    "stdout_none": "sys.stdout = None",
    "stdout_stringio": "import io\nsys.stdout = io.StringIO()",
    "stdout_no_flush": "class T:\n    def write(self, t): sys.__stdout__.write(t.upper())\nsys.stdout = T()",
    "stdout_raises": "class T:\n    def write(self, t): raise ValueError\nsys.stdout = T()\nprint = lambda *a: None",
    "stdout_deleted": "del sys.stdout\nprint = lambda *a: None",
    "stdout_closed": "sys.stdout.close()\nprint = lambda *a: None",
    "stdout_closed_name": "from sys import stdout as o\no.close()\nprint = lambda *a: None",
    "stdout_with": "with sys.stdout: pass\nprint = lambda *a: None",
    "stdout_closing": "import contextlib\nwith contextlib.closing(sys.stdout): pass\nprint = lambda *a: None",
    "stdout_detached": "b = sys.stdout.detach()\nprint = lambda *a: b.write(b'x')",
    "stdout_method": "sys.stdout.write = lambda t: None",
    "stdout_number_closed": "import os\nos.close(1)\nprint = lambda *a: None",
    "stdout_fileno_closed": "import os\nn = sys.stdout.fileno()\nos.close(n)\nprint = lambda *a: None",
    "stdout_loop_closed": "import os\nfor n in (0, 1): os.close(n)\nprint = lambda *a: None",
    "stdout_opened": "f = open(1, 'w')\nf.close()\nprint = lambda *a: None",
    "stdout_fdopen": "import os\nos.fdopen(sys.stdout.fileno(), 'w').close()\nprint = lambda *a: None",
    "stdout_wrapper_forgotten": "import io\nio.TextIOWrapper(sys.stdout.buffer)\nprint = lambda *a: None",
    "stdout_wrapper_twice": "import io\nfor _ in range(2): sys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint = len",
    "stdout_dup2": "import os\nos.dup2(os.open('out.txt', os.O_CREAT | os.O_WRONLY), 1)",
    "stdout_original": "sys.__stdout__ = None\nsys.stdout = None",
    "stdout_setattr": "sys.__setattr__('stdout', None)",
    "modules_cleared": "sys.stdout = None\nkept = dict(sys.modules)\nsys.modules.clear()\nsys.modules.update(kept)",
    "newline": "sys.stdout.reconfigure(newline='\\r')",
    "utf16": "sys.stdout.reconfigure(encoding='utf-16')",
    "traced": "import atexit\ncalls = []\nsys.setprofile(lambda *a: calls.append(a))\natexit.register(lambda: other(len(calls)))",
    "profiled": "import atexit, cProfile\np = cProfile.Profile()\np.enable()\natexit.register(lambda: other(len(p.getstats())))",
}
MARKED = {
    "redirected_renamed": "import io\nfrom contextlib import redirect_stdout as r\nbuffer = io.StringIO()\n"
    "with r(buffer):\n    print('x')\n    import csv\nprint(repr(buffer.getvalue()))",
    "doctest": 'import doctest\ndef f(x):\n    """\n    >>> f(1)\n    1\n    """\n    import csv\n    return x\nf(2)\n'
    "print(doctest.testmod(sys.modules['__main__']))",
    "plain": "",
    "redirected": "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): print('x')",
    "own_print": "def print(*args): sys.stdout.write('mine\\n')",
    "stringio": "import io\nold, sys.stdout = sys.stdout, io.StringIO()\nsys.stdout = old",
    "wrapper": "import io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')",
    "reconfigured": "sys.stdout.reconfigure(encoding='utf-8', line_buffering=True)",
    "logging": "import logging\nlogging.basicConfig(stream=sys.stdout)\nlogging.warning('x')",
    "temporary": "import os, tempfile\nfd, path = tempfile.mkstemp()\nos.close(fd)",
    "keeps_open": "out = open(sys.stdout.fileno(), 'w', closefd=False)",
    "figure": "class plt:\n    close = staticmethod(lambda figure: None)\nfigure = 1\nplt.close(figure)",
    "settings": "import argparse\nsettings = vars(argparse.Namespace(a=1))",
}


ROBUST = {
    "global_name", "definition", "class", "loop", "walrus", "capture", "deleted_global", "globals", "globals_update",
    "of_function", "setitem", "main", "main_setattr", "main_setattr_method", "exec_plain", "rich", "star", "stdout_none",
    "stdout_stringio", "stdout_no_flush", "stdout_raises", "stdout_deleted", "stdout_setattr",
}  # fmt: skip
"""Heads of programs that are instrumented all the same. All others are hazards, which run as they are written."""


def run(code: str, folder: Path) -> tuple[int, str, str]:
    folder.mkdir(parents=True)
    for name, text in (("pandas.py", PANDAS), ("rich.py", RICH), ("main.py", code)):
        (folder / name).write_text(text)
    command = [sys.executable, "-S", "-E", "main.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Name -> (instrumented program, its run, the run of the program as it is)."""
    folder = tmp_path_factory.mktemp("runs")
    nonce = new_nonce()

    def both(name: str, head: str):
        code = OTHER + head + "\n" + TAIL
        instrumented = ASTInstrumenter().instrument(Program("", code), nonce)
        marked = run(instrumented.code, folder / name / "marked")
        return instrumented, (marked[0], strip_marks(marked[1], nonce), marked[2]), run(code, folder / name / "plain")

    heads = HEADS | MARKED
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(heads, pool.map(both, heads, heads.values()), strict=True))


def without_places(run: tuple[int, str, str]) -> tuple[int, str, str]:
    """A run without the lines of tracebacks, which name lines of the instrumented text outside of the sandbox."""
    code, out, err = run
    return code, out, err.strip().rpartition("\n")[2]


@pytest.mark.parametrize("name", HEADS | MARKED)
def test_a_program_runs_as_without_marks(runs, name):
    _, marked, plain = runs[name]
    assert without_places(marked) == without_places(plain)


@pytest.mark.parametrize("name", HEADS)
def test_what_is_replaced_decides_whether_there_are_marks(runs, name):
    instrumented, _, _ = runs[name]
    assert bool(instrumented.inserted) == (name in ROBUST)
    assert instrumented.fallback_kind == (None if name in ROBUST else "hazard")


@pytest.mark.parametrize("name", MARKED)
def test_honest_programs_keep_their_marks(runs, name):
    instrumented, _, plain = runs[name]
    assert instrumented.inserted
    assert instrumented.fallback_reason is None
    assert plain[0] == 0, plain


@pytest.mark.parametrize(
    "code",
    [
        "from numpy import trace\nimport os as o\nmodel.modules()\ndf.close(x)",
        "import sys\nprint(sys.modules)\nfile.close()\nsys.stdout.flush()\nfigure.flush()",
        "data.reconfigure(newline='x')\nopen('1')\nopen(path)\nplt.close(1)",
        "x.apply(eval)\nre.compile('a')\nmodel.eval()\nsetattr(a, 'b', 1)",
        "monitoring = True\nprint('Using builtin features')\ndf['builtins']\nx = 'replaces builtins.print'",
        "import os, fcntl\nfor fd in fds: os.close(fd)\nfcntl.flock(f, 1)\nos.close(descriptors.pop())",
        "tqdm.write = log\nw.write = None\nmodel.fit.__self__",
    ],
)
def test_what_honest_programs_do_is_no_hazard(code):
    assert find_hazard(parse(code)) is None


@pytest.mark.parametrize(
    "code", ["import os, bdb", "import cProfile as c", "from trace import Trace", "sys.monitoring.get_tool(1)"]
)
def test_what_watches_statements_is_a_hazard(code):
    assert find_hazard(parse(code)) is not None
