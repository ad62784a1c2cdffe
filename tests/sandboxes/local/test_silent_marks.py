"""In the sandbox, marks change no run, whatever a program does to `print`, the builtins, its streams and its descriptors."""

from __future__ import annotations

import pytest

from trl_mle.instrumentation.mark_statements import mark_source, metric_source
from trl_mle.instrumentation.marks import new_nonce, parse_metrics, parse_milestones, strip_marks

HEAD = "import os, sys\nother = lambda *args, **kwargs: os.write(2, str(len(args)).encode())\n"
TAIL = """
import pandas as pd
train = pd.read_csv("input/train.csv")
def load():
    frame = pd.read_csv("input/train.csv")
    return frame
again = load()
open("submission.csv", "w").write(str(train.shape))
"""
NO_PRINT = "\nprint = lambda *args: None"
# Programs that text does not give away.
PROGRAMS = {
    "module_of_print": "sys.modules[print.__module__].print = other",
    "variables_of_builtins": "vars(sys.modules[len.__module__])['print'] = other",
    "import_of_a_made_name": "__import__('buil' + 'tins').print = other",
    "import_module_of_a_made_name": "import importlib\nimportlib.import_module('buil' + 'tins').print = other",
    "eval": "eval(\"setattr(__import__('buil' + 'tins'), 'pri' + 'nt', other)\")",
    "no_import": "b = __import__('buil' + 'tins')\nimport pandas\nsetattr(b, '__imp' + 'ort__', other)\n__import__ = None",
    "no_print": "delattr(sys.modules[len.__module__], 'pri' + 'nt')",
    "exits_in_print": "setattr(sys.modules[len.__module__], 'pri' + 'nt', lambda *a, **k: sys.exit(3))",
    "closed_in_a_pair": "o, e = sys.stdout, sys.stderr\no.close()" + NO_PRINT,
    "closed_in_a_dict": "d = {'o': sys.stdout}\nd['o'].close()" + NO_PRINT,
    "closed_in_a_loop": "for s in (sys.stdout, sys.stderr): s.close()" + NO_PRINT,
    "closed_by_getattr": "getattr(sys, 'stdout').close()" + NO_PRINT,
    "closed_by_a_function": "def end(s): s.close()\nend(sys.stdout)" + NO_PRINT,
    "closed_by_a_walrus": "(o := sys.stdout).close()" + NO_PRINT,
    "closed_by_a_tee": "class Tee:\n    def __init__(self, *f): self.f = f\n    def close(self): [f.close() for f in self.f]\n"
    "Tee(sys.stdout, open('log', 'w')).close()" + NO_PRINT,
    "closed_by_a_codec": "import codecs\ncodecs.getwriter('utf-8')(sys.stdout.buffer).close()" + NO_PRINT,
    "closed_number": "os.close(2 - 1)" + NO_PRINT,
    "closed_by_map": "list(map(os.close, [1]))" + NO_PRINT,
    "file_at_its_number": "os.close(2 - 1)\nout = os.open('out.bin', os.O_CREAT | os.O_WRONLY)" + NO_PRINT,
    "file_by_duplicate": "getattr(os, 'du' + 'p2')(os.open('out.bin', os.O_CREAT | os.O_WRONLY), 1)" + NO_PRINT,
    "no_os": "os.write = os.fstat = None",
    "recursion": "def deep(n):\n    try: return deep(n + 1)\n    except RecursionError: return n\n"
    "def deeper():\n    import pandas as pd\n    pd.read_csv('input/train.csv') if len(sys.argv) > 5 else deeper()\n"
    "try: deeper()\nexcept RecursionError: pass",
}
LOOK = "\nif os.path.exists('out.bin'): os.write(2, str(os.path.getsize('out.bin')).encode())"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_runs_as_without_marks(warm, task, name):
    code, nonce = HEAD + PROGRAMS[name] + TAIL + LOOK, new_nonce()
    marked = with_marks(code, nonce)
    plain, instrumented = [await warm.run(text, task, source=code) for text in (code, marked)]
    assert (instrumented.status, instrumented.exit_code) == (plain.status, plain.exit_code)
    assert strip_marks(instrumented.stdout, nonce) == plain.stdout
    assert instrumented.stderr == plain.stderr
    assert instrumented.submission == plain.submission


@pytest.mark.asyncio(loop_scope="module")
async def test_marks_do_not_need_what_the_program_replaces(warm, task):
    nonce = new_nonce()
    code = HEAD + PROGRAMS["no_print"] + "\nsys.stdout = sys.__stdout__ = None" + TAIL
    execution = await warm.run(with_marks(code, nonce), task, source=code)
    assert set(parse_milestones(execution.stdout, nonce)) == {"imported_libraries", "loaded_data"}
    assert execution.status == "ok" and execution.submission


@pytest.mark.asyncio(loop_scope="module")
async def test_marks_do_not_flood_the_output_however_often_they_run(warm, task):
    """A method that is called by a name that the program makes: no analysis knows how often."""
    nonce = new_nonce()
    code = "class A:\n    def step(self):\n        m = 1\nfor _ in range(20000): getattr(A(), 'st' + 'ep')()\nprint('end')\n"
    marked = code.replace("m = 1\n", f"m = 1\n        {mark_source(nonce, 'defined_model', robust=False)}\n")
    execution = await warm.run(marked, task, source=code)
    assert (execution.status, strip_marks(execution.stdout, nonce)) == ("ok", "end\n")
    assert parse_milestones(execution.stdout, nonce) == ("defined_model",)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_last_value_of_a_metric_is_written_though_it_was_written_before(warm, task):
    nonce = new_nonce()
    code = "for score in (0.5, 0.7, 0.5):\n    pass\n"
    report = metric_source(nonce, "validation_score", "score")
    execution = await warm.run(f"{code}    {report}\n", task, source=code)
    assert [value for _, value in parse_metrics(execution.stdout, nonce)] == [0.5, 0.7, 0.5]


@pytest.mark.asyncio(loop_scope="module")
async def test_many_values_of_metrics_cost_no_milestone(warm, task):
    nonce = new_nonce()
    code = "for score in range(3000):\n    pass\n"
    report, mark = metric_source(nonce, "validation_score", "score"), mark_source(nonce, "trained_model", robust=False)
    execution = await warm.run(f"{code}    {report}\n{mark}\n", task, source=code)
    assert len(parse_metrics(execution.stdout, nonce)) == 1000
    assert parse_milestones(execution.stdout, nonce) == ("trained_model",)


def with_marks(code: str, nonce: str) -> str:
    """The program with marks at its end. An instrumenter leaves out programs whose text gives them away."""
    head, tail = code.split(TAIL)
    mark = {name: mark_source(nonce, name, robust=False) for name in ("imported_libraries", "loaded_data")}
    marked = TAIL.replace("as pd\n", f"as pd\n{mark['imported_libraries']}\n").replace(
        "    return", f"    {mark['loaded_data']}\n    return"
    )
    return head + marked + tail
