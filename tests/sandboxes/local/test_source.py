"""An instrumented program finds itself as it was written."""

from __future__ import annotations

import ast
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.instrumentation import ASTInstrumenter, new_nonce
from trl_mle.sandboxes.local.runner.interpreter.line_numbers import compile_program
from trl_mle.types import Program

SOURCE = """\
import pandas as pd, inspect, linecache, sys

def load(path):
    frame = pd.read_csv(path)
    return frame

train = load("input/train.csv")
from sklearn.linear_model import Ridge
model = Ridge()
model.fit(train[["a", "b"]], train["y"])
print(open("main.py").read() == open(__file__).read() == "".join(linecache.getlines(__file__)))
mark = "[" + "[trl_mle:"
print(mark in open("main.py").read(), mark in inspect.getsource(load), inspect.getsourcelines(load)[1])
1 / 0
"""


@pytest.mark.asyncio(loop_scope="module")
async def test_the_file_and_the_lines_are_those_of_the_source(warm, task):
    instrumented = ASTInstrumenter().instrument(Program("", SOURCE), new_nonce())
    assert len(instrumented.inserted) >= 4
    execution = await warm.run(instrumented.code, task, source=SOURCE)
    assert execution.stdout.splitlines()[-2:] == ["True", "False False 3"]
    assert execution.stdout.count("[[trl_mle:") >= 4
    assert 'File "main.py", line 14, in <module>\n    1 / 0\n' in execution.stderr


@pytest.mark.asyncio(loop_scope="module")
async def test_code_that_is_no_copy_of_the_source_still_runs(warm, task):
    execution = await warm.run("print(2)\nprint(open('main.py').read())", task, source="x = 1")
    assert execution.stdout == "2\nx = 1\n"


@pytest.mark.asyncio(loop_scope="module")
async def test_warnings_of_the_compiler_are_those_of_the_source(warm, task):
    source = "import csv\nx = 1\nif x is 1 and '\\d':\n    assert (x, 'always')\n"
    marked = ASTInstrumenter().instrument(Program("", source), new_nonce())
    assert marked.inserted
    plain, instrumented = [await warm.run(code, task, source=source) for code in (source, marked.code)]
    assert plain.stderr.count("SyntaxWarning") == 2
    assert instrumented.stderr == plain.stderr


STATEMENTS = st.sampled_from(
    [
        "x = 1",
        "print('a')",
        "f(x)",
        "if x:\n    f(x)\n    print('a')\nelse:\n    pass",
        "for i in y:\n    print(i)",
        "def g(a):\n    'text'\n    return a",
        "try:\n    f(x)\nexcept E:\n    print('a')\nfinally:\n    g()",
        "with a as b:\n    print('a')",
        "@wrap\nclass C:\n    z = 1",
        "match x:\n    case 1:\n        f(x)",
        "h = [\n    1,\n    lambda: 2,\n]",
    ]
)


@given(parts=st.lists(STATEMENTS, min_size=1, max_size=6), data=st.data())
def test_every_line_keeps_its_number(parts, data):
    source = "\n".join(parts) + "\n"
    lines = []
    for line in source.splitlines():
        before = line[: len(line) - len(line.lstrip())]
        if line.lstrip() in ("f(x)", "x = 1", "print('a')") and data.draw(st.booleans()):
            lines.append(f"{before}print('added')")
        lines.append(line)
    code = "\n".join(lines) + "\n"
    compiled = compile_program(code.encode(), source.encode(), "main.py")
    expected = compile(source, "main.py", "exec")
    assert positions(compiled, without="added") == positions(expected, without="added")


def positions(code, without: str) -> set[tuple[str, int | None]]:
    """Lines at which names are loaded and stored, in all of the code objects."""
    import dis

    found = {
        (instruction.argrepr, instruction.positions.lineno)
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("STORE_NAME", "STORE_FAST", "IMPORT_NAME", "LOAD_GLOBAL")
        and without not in instruction.argrepr
    }
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            found |= positions(constant, without)
    return found


@pytest.mark.parametrize("code", ["x = = 1", "(" * 500, "x = '\x00'", "def f(:\n  pass"])
def test_what_does_not_parse_fails_as_it_would(code):
    with pytest.raises((SyntaxError, ValueError, MemoryError, RecursionError)):
        compile_program(code.encode(), b"x = 1", "main.py")


def test_a_statement_added_to_the_end_and_to_the_start():
    source = textwrap.dedent("f()\ng()\n")
    tree = ast.parse("print(1)\n" * 3 + source + "print(2)\n" * 3)
    compiled = compile_program(ast.unparse(tree).encode(), source.encode(), "main.py")
    assert {line for *_, line in compiled.co_lines() if line} <= {0, 1, 2}
