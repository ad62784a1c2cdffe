"""Verification: whatever is more than printed marks is refused, and what the instrumenter makes is accepted."""

import ast
import copy
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from trl_mle.instrumentation import ASTInstrumenter, mark, verify_print_only
from trl_mle.instrumentation.verify import first_difference, parse, remove_marks
from trl_mle.types import MILESTONES, Program

NONCE = "0123456789abcdef0123456789abcdef"
ORIGINAL = '''"""Doc."""
import pandas as pd

@cached
def load(path="train.csv"):
    """Read."""
    return pd.read_csv(path)

train = load()
model = Ridge(alpha=1)
model.fit(train, 0)
'''


def line(milestone="loaded_data", nonce=NONCE) -> str:
    return f'print("{mark(nonce, milestone)}\\n", end="", flush=True)\n'


def reason(instrumented: str, original: str = ORIGINAL) -> str:
    verdict = verify_print_only(original, instrumented, NONCE)
    assert not verdict.ok
    assert verdict.inserted == ()
    return str(verdict.reason)


def test_marks_are_accepted_and_listed():
    marked = ORIGINAL.replace("train = load()\n", "train = load()\n" + line()) + line("trained_model")
    verdict = verify_print_only(ORIGINAL, marked, NONCE)
    assert verdict.ok
    assert verdict.inserted == ("loaded_data", "trained_model")


def test_layout_and_comments_do_not_matter():
    assert verify_print_only(ORIGINAL, ORIGINAL.replace("\n\n", "\n# comment\n\n") + line(), NONCE).ok


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model.fit(train, 0)\n", ""),
        ("alpha=1", "alpha=2"),
        ("alpha=1", "alpha=1.0"),
        ("alpha=1", "alpha=True"),
        ("model.fit(train, 0)", "model.fit(train, False)"),
        ("train = load()\nmodel = Ridge(alpha=1)\n", "model = Ridge(alpha=1)\ntrain = load()\n"),
        ("train = load()\n", "train = load()\ntrain = train[:10]\n"),
        ("@cached\n", ""),
        ('    """Read."""\n', ""),
        ('"""Doc."""', '"""Dock."""'),
        ("def load", "async def load"),
        ("model = ", "model: object = "),
        ('path="train.csv"', 'path="test.csv"'),
        ("import pandas as pd", "import pandas as pd, os"),
    ],
)
def test_changed_programs_are_refused(old, new):
    assert old in ORIGINAL
    assert reason(ORIGINAL.replace(old, new) + line())


@pytest.mark.parametrize(
    "statement",
    [
        line(nonce="f" * 32),
        line().replace("loaded_data", "no_such"),
        'print("loaded data")\n',
        line().replace("print(", "print(exit(), "),
        line().replace("flush=True", "flush=exit()"),
        line().replace("flush=True", "file=x, flush=True"),
        line().replace('end=""', 'end="!"'),
        line().replace("print", "exec"),
        line().replace('("', '(f"'),
        line().replace('("', '(b"'),
        f"x = {line()}",
        f"if True:\n    {line()}",
        f"await {line()}",
        line().replace("\\n", " extra\\n"),
        "pass\n",
    ],
)
def test_statements_that_are_not_exactly_a_mark_are_refused(statement):
    assert reason(ORIGINAL + statement)


def test_marks_that_would_change_the_meaning_by_their_place_are_refused():
    assert "docstring" in reason(line() + ORIGINAL)
    assert "docstring" in reason(ORIGINAL.replace('    """Read."""', f'    {line()}    """Read."""'))
    future = "from __future__ import annotations\nx = 1\n"
    assert "__future__" in reason(line() + future, future)


def test_a_mark_alone_in_a_suite_hides_no_removed_statement():
    assert reason(f"if x:\n    {line()}", "if x:\n    pass\n")


def test_comments_that_change_the_decoding_are_refused():
    assert "encoding" in reason("# coding: latin-1\n" + ORIGINAL + line())
    assert "encoding" in reason("\ufeff" + ORIGINAL + line())


@pytest.mark.parametrize("cookie", ["unicode_escape", "utf-7", "shift_jis", "utf-16", "hz", "a" * 99])
def test_an_encoding_in_which_ascii_is_other_text_is_refused(cookie):
    head = f"# coding: {cookie}\n"
    assert "another text" in reason(head + ORIGINAL + line(), head + ORIGINAL)


@pytest.mark.parametrize("cookie", ["utf-8", "utf8", "latin-1", "ISO-8859-15", "cp1252", "utf-8-unix", "us_ascii"])
def test_a_usual_encoding_is_accepted(cookie):
    head = f"# -*- coding: {cookie} -*-\n"
    assert verify_print_only(head + ORIGINAL, head + ORIGINAL + line(), NONCE).ok


def test_a_program_that_holds_marks_is_refused():
    assert "already contains" in reason(ORIGINAL + line() + line("trained_model"), ORIGINAL + line())


def test_unparsable_programs_are_refused_unless_nothing_changed():
    assert "does not parse" in reason(ORIGINAL + "(")
    assert verify_print_only("(", "(", NONCE).ok


# Random programs

EXPRESSIONS = st.sampled_from(
    ["model.fit(X, y)", 'pd.read_csv("train.csv")', "Ridge()", "scaler.fit_transform(X)", "helper(1)",
     "accuracy_score(y_val, model.predict(X_val))", 'sub.to_csv("submission.csv")', "x + 1", "other(X)",
     "[m.fit(X, y) for m in ms]", "loss.backward()", "opt.step()", "(lambda: model.fit(X, y))", "'ü\u2028'",
     "Ridge() if a else Lasso()", "a and b()",
     '"""two\n\tlines"""', "make_pipeline(StandardScaler(), SVC()).fit(X, y).score(X_val, y_val)", "1 \\\n + 2"]
)  # fmt: skip
SIMPLE = st.one_of(
    EXPRESSIONS,
    EXPRESSIONS.map("X = {}".format),
    EXPRESSIONS.map("df['a'] = {}".format),
    EXPRESSIONS.map("return {}".format),
    EXPRESSIONS.map("print({})".format),
    st.sampled_from(
        ["pass", "import numpy as np", "from sklearn import svm", "raise ValueError(1)", "w -= lr * grad"]
    ),
    st.sampled_from(["break", "continue", "print = 3", "global z", "del q", "yield", "assert model.fit(X, y)"]),
)
HEADERS = st.sampled_from(
    ["if a:", "for i in b:", "for i in range(3):", "while c:", "while True:", "with open('submission.csv', 'w') as f:",
     "def helper(k):", "class K:", "class N(nn.Module):", "async def other(k):", "@wraps\ndef third(model):",
     "with open('train.csv') as f:", "for row in csv.reader(f):", "if False:", "try:", "match s:", "if elif:"]
)  # fmt: skip


def indent(text: str, prefix: str) -> str:
    return prefix + text.replace("\n", "\n" + prefix)


@st.composite
def suites(draw, depth=3):
    statements = []
    tab = draw(st.sampled_from(["    ", "\t", "  "]))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 5))
        if depth and kind <= 2:
            header = draw(HEADERS)
            body = indent(draw(suites(depth=depth - 1)), tab)
            if header == "try:":
                other = indent(draw(suites(depth=depth - 1)), tab)
                tail = draw(st.sampled_from(["except ValueError:", "finally:", "except Exception as e:"]))
                statements.append(f"try:\n{body}\n{tail}\n{other}")
            elif header == "match s:":
                statements.append(
                    f"match s:\n{tab}case {draw(st.sampled_from(['1', '_', '[a, *_]']))}:\n{indent(body, tab)}"
                )
            elif header == "if elif:":
                other = indent(draw(suites(depth=depth - 1)), tab)
                middle = draw(st.sampled_from(["elif model.fit(X, y):", "else:", "elif b:"]))
                statements.append(f"if a:\n{body}\n{middle}\n{other}")
            else:
                statements.append(f"{header}\n{body}")
        elif kind == 3:
            statements.append(
                "; ".join(draw(st.lists(SIMPLE, min_size=2, max_size=3))) + draw(st.sampled_from(["", ";"]))
            )
        elif kind == 4:
            one_line = draw(st.sampled_from(["if a: ", "for i in b: ", "while c: ", "with d: ", "if a: \\\n  "]))
            statements.append(one_line + "; ".join(draw(st.lists(SIMPLE, min_size=1, max_size=2))))
        else:
            statements.append(draw(SIMPLE) + draw(st.sampled_from(["", "  # model.fit(X, y)", " \\\n", "\n\n"])))
    return "\n".join(statements)


@st.composite
def programs(draw):
    start = draw(
        st.sampled_from(["", '"""Doc."""\n', "# coding: utf-8\n", "\ufeff", "from __future__ import annotations\n"])
    )
    end = draw(st.sampled_from(["", "\n", "\n\n", "\n# end", "\nhelper(2)\n"]))
    code = start + draw(suites()) + end
    return code.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


def parses(code: str) -> bool:
    try:
        parse(code)
    except SyntaxError:
        return False
    return True


def compiles(code: str) -> bool:
    try:
        compile(code.removeprefix("\ufeff"), "main.py", "exec")
    except SyntaxError:
        return False
    return True


@settings(max_examples=examples(300), deadline=None)
@given(programs())
def test_instrumentation_of_any_program_is_print_only(code):
    result = ASTInstrumenter().instrument(Program("", code), NONCE)
    if not parses(code):
        assert result.code == code
        assert "does not parse" in result.fallback_reason
        return
    assert result.fallback_reason in (None, "no statement reaches a milestone")
    tree = parse(result.code)
    removed = remove_marks(tree, NONCE)
    assert ast.dump(tree) == ast.dump(parse(code))
    assert {milestone for milestone, _ in removed} == set(result.inserted)
    assert compiles(result.code) == compiles(code)
    if "\\" not in code:  # otherwise a mark may have no place in the text, and the tree is written anew
        printed = (
            r"(?:print|__import__\(\"builtins\"\)\.print)\(\"\[\[trl_mle:[0-9a-f]{32}:\w+\]\]\\n\", end=\"\", "
            r"(?:file=__import__\(\"sys\"\)\.__stdout__, )?flush=True\)"
        )
        without = re.sub(rf"; {printed}|(?m:^)[ \t\f]*{printed}(?:\r?\n|\Z)", "", result.code)
        assert without == code or without.rstrip("\r\n") == code


@st.composite
def mutated(draw):
    """A parsable program and a copy with one node removed, replaced or swapped."""
    code = draw(programs().filter(parses))
    tree = parse(code)
    lists = [
        value
        for node in ast.walk(tree)
        for _, value in ast.iter_fields(node)
        if isinstance(value, list) and len(value) > 1 and isinstance(value[0], ast.stmt)
    ]
    changed = False
    original = ast.dump(tree)
    if lists and draw(st.booleans()):
        suite = draw(st.sampled_from(lists))
        position = draw(st.integers(0, len(suite) - 1))
        taken = suite.pop(position)
        if draw(st.booleans()):
            suite.insert(draw(st.integers(0, len(suite))), taken)
        changed = True
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    if not changed and constants:
        draw(st.sampled_from(constants)).value = draw(st.sampled_from([7, "other", None, b"x", 2.5]))
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    if names and draw(st.booleans()):
        draw(st.sampled_from(names)).id = "renamed"
    return code, tree, original != ast.dump(tree)


@settings(max_examples=examples(200), deadline=None)
@given(mutated(), st.sampled_from(MILESTONES))
def test_any_other_change_is_refused(change, milestone):
    code, tree, differs = change
    text = ast.unparse(tree) + "\n"
    if not parses(text) or ast.dump(parse(text)) == ast.dump(parse(code)):
        return
    start = "\ufeff" if code.startswith("\ufeff") else ""
    assert differs
    assert not verify_print_only(code, start + text + line(milestone), NONCE).ok


@settings(max_examples=examples(100), deadline=None)
@given(programs().filter(parses), programs().filter(parses))
def test_comparison_agrees_with_the_dumped_trees(left, right):
    a, b = parse(left), parse(right)
    assert (first_difference(a, b) is None) == (ast.dump(a) == ast.dump(b))
    assert first_difference(a, copy.deepcopy(a)) is None


@settings(max_examples=examples(200), deadline=None)
@given(st.text())
def test_any_text_runs_as_it_is_or_instrumented(code):
    result = ASTInstrumenter().instrument(Program("", code), NONCE)
    assert result.code == code or verify_print_only(code, result.code, NONCE).ok
