"""Named metrics: reported by a statement that cannot change what the program does, and parsed from its output."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.errors import UserError
from trl_mle.instrumentation import mark, parse_metrics, parse_milestones, strip_marks, verify_print_only
from trl_mle.instrumentation.analysis.bound_variables import BoundVariables, metric_hazard
from trl_mle.instrumentation.mark_statements import metric_source
from trl_mle.instrumentation.marks import metric_prefix
from trl_mle.instrumentation.verify import parse
from trl_mle.types import PROGRAM_METRICS

NONCE = "0123456789abcdef0123456789abcdef"


def report(variable="score", metric="validation_score", nonce=NONCE) -> str:
    return metric_source(nonce, metric, variable) + "\n"


def printed(setup: str, capsys) -> str:
    exec(setup + report(), {"__builtins__": __builtins__})
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.25", 0.25), ("-1e-300", -1e-300), ("3", 3.0), ("True", 1.0), ("2**62", 2.0**62), ("float('inf')", None),
        ("float('nan')", None), ("10**5000", None), ("None", None), ("'0.5'", None), ("[0.5]", None), ("object", None),
        ("__import__('numpy').float64(0.5)", 0.5), ("__import__('numpy').float32(0.5)", None),
        ("__import__('numpy').arange(3)", None), ("__import__('fractions').Fraction(1, 2)", None),
    ],
)  # fmt: skip
def test_numbers_are_reported_and_nothing_else(value, expected, capsys):
    out = printed(f"score = {value}\n", capsys)
    assert parse_metrics(out, NONCE) == ((("validation_score", expected),) if expected is not None else ())
    assert strip_marks(out, NONCE) == ""


HOSTILE = """
calls = []
def note(*args, **kwargs):
    calls.append(1)
    raise SystemExit("ran")
class Meta(type):
    __instancecheck__ = __subclasscheck__ = __eq__ = __hash__ = __getattribute__ = note
class Any(metaclass=Meta):
    pass
class Hidden(object):
    __class__ = property(note)
    __float__ = __repr__ = __str__ = __format__ = __index__ = __eq__ = __bool__ = __getattribute__ = note
class Float(float):
    __repr__ = __str__ = __format__ = __float__ = __getattribute__ = __class__ = note
class Int(int):
    __repr__ = __str__ = __format__ = bit_length = __lt__ = __getattribute__ = note
"""


@pytest.mark.parametrize("value", ["Hidden()", "Float(0.5)", "Int(3)", "Any", "Hidden", "Meta"])
def test_the_report_runs_no_code_of_the_program(value, capsys):
    space = {}
    exec(f"{HOSTILE}\nscore = {value}\ncalls.clear()\n{report()}\ncount = len(calls)\n", space)
    assert space["count"] == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_report_is_accepted_and_listed():
    code = "score = f()\nother = g()\n"
    marked = code + report() + report("other", "training_loss")
    verdict = verify_print_only(code, marked, NONCE)
    assert verdict.ok
    assert verdict.metrics == ("training_loss", "validation_score")
    assert verdict.inserted == ()


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("def f():\n    score = 1\n", "global where it is local"),
        ("if a:\n    score = f()\n", "bound on one path only"),
        ("for score in b:\n    pass\n", "a loop that may not run"),
        ("with a as b:\n    score = f()\n", "a block that may swallow"),
        ("try:\n    score = f()\nexcept E:\n    pass\n", "in a try"),
        ("score = f()\ndel score\n", "deleted"),
        ("score = f()\ndef g():\n    global score\n    del score\n", "deleted elsewhere"),
        ("score = f()\ntry:\n    pass\nexcept E as score:\n    pass\n", "unbound by a handler"),
        ("score: float\n", "only annotated"),
        ("print = f\nscore = g()\n", "print replaced"),
        ("def float(x): return h()\nscore = g()\n", "float replaced"),
        ("from x import *\nscore = g()\n", "anything replaced"),
        ("import builtins\nbuiltins.type = f\nscore = g()\n", "type replaced"),
        ("import sys\nsys.stdout = f\nscore = g()\n", "output replaced"),
        ("score = g()\nglobals().pop('score')\n", "globals"),
        ("score = g()\nexec('del score')\n", "exec"),
        ("import x as issubclass\nscore = g()\n", "issubclass replaced"),
    ],
)
def test_a_report_that_could_raise_or_run_code_is_refused(code, place):
    assert not verify_print_only(code, code + report(), NONCE).ok


def test_a_report_in_the_body_of_a_class_is_refused():
    code = "class A(metaclass=M):\n    score = f()\n"
    assert not verify_print_only(code, code + "    " + report(), NONCE).ok


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    score = g()\n    {}\n    return 3\n",
        "score = f()\nfor i in x:\n    if i:\n        {}\n        pass\n",
        "a, (score, b) = f()\n{}\n",
        "score = 0\nscore += f()\n{}\n",
        "score: float = f()\n{}\n",
        "try:\n    score = f()\n    {}\nexcept E as e:\n    pass\n",
        "score = f()\ntry:\n    g()\nexcept E as e:\n    {}\n    pass\n",
        "score = f()\nmatch a:\n    case 1:\n        {}\n        pass\n",
        "async def f():\n    score = await g()\n    {}\n",
    ],
)
def test_a_report_where_the_variable_is_certainly_bound_is_accepted(code):
    original = "\n".join(line for line in code.splitlines() if "{}" not in line) + "\n"
    assert verify_print_only(original, code.replace("{}", report().strip()), NONCE).ok


@pytest.mark.parametrize(
    "statement",
    [
        report(nonce="f" * 32),
        report().replace("validation_score", "no_such"),
        report().replace("(score)", "(score, f())", 1),
        report().replace("score)", "other)", 1),
        report().replace('"none"', "exit()"),
        report().replace("< 64", "< f()"),
        report().replace("flush=True", "flush=exit()"),
        report().replace("print(", "print(exit(), ", 1),
        report().replace("float.__repr__", "eval", 1),
        report("f()"),
        report("score.x"),
        report("score[0]"),
    ],
)
def test_statements_that_are_not_exactly_a_report_are_refused(statement):
    assert not verify_print_only("score = f()\n", f"score = f()\n{statement}", NONCE).ok


def test_variables_hold_their_last_value():
    tree = parse("score = 1\nscore = f(score)\nx = y = 2\n")
    found = BoundVariables(tree).after(tree.body[2])
    assert set(found) == {"score", "x", "y"}
    assert type(found["score"]).__name__ == "Call"
    assert set(BoundVariables(tree).after(tree.body[0])) == {"score"}


def test_an_ordinary_program_has_no_hazard():
    assert metric_hazard(parse("import pandas as pd\nx = pd.read_csv('a')\nprint(type(x), float(3))\n")) is None


def test_text_without_the_key_is_no_metric():
    learned = mark(NONCE, "loaded_data").split(":")[1]
    text = f"[[trl_mle:{learned}:validation_score=0.5]]\n" + metric_prefix("f" * 32, "validation_score") + "0.5]]\n"
    assert parse_metrics(text, NONCE) == ()
    assert strip_marks(text, NONCE) == text
    with pytest.raises(UserError, match="validation_score"):
        metric_prefix(NONCE, "speed")
    with pytest.raises(UserError, match="Nonce"):
        parse_metrics("", "short")


def test_a_metric_is_no_milestone_and_none_reads_as_another():
    prefixes = [metric_prefix(NONCE, metric) for metric in PROGRAM_METRICS]
    assert len({prefix.split(":")[1] for prefix in prefixes}) == len(PROGRAM_METRICS)
    assert parse_milestones("".join(f"{prefix}1.0]]\n" for prefix in prefixes), NONCE) == ()


@given(
    st.lists(st.tuples(st.sampled_from(PROGRAM_METRICS), st.floats() | st.integers(-(2**63), 2**63)), max_size=6),
    st.text(),
)
def test_values_come_back_in_order_and_leave_no_trace(values, text):
    lines = [f"{metric_prefix(NONCE, name)}{value!r}]]\n" for name, value in values]
    out = text + "\n" + "".join(line + "between\n" for line in lines)
    assert parse_metrics(out, NONCE) == tuple((name, float(v)) for name, v in values if math.isfinite(v))
    assert strip_marks(out, NONCE) == text + "\n" + "between\n" * len(values)


@given(st.sampled_from(PROGRAM_METRICS), st.floats(), st.integers(20, 120))
def test_a_report_cut_by_the_output_limit_is_removed(metric, value, length):
    whole = f"epoch 1\n{metric_prefix(NONCE, metric)}{value!r}]]\n"
    assert strip_marks(whole[: 8 + length], NONCE) == "epoch 1\n"
