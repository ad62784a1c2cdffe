"""Random programs from a grammar of statements, expressions and the usual steps of machine learning: nearly all parse."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.support.hostile_texts import FENCE

NAMES = (
    "train", "test", "df", "data", "X", "y", "X_train", "X_val", "y_train", "y_val", "X_test", "features", "model", "clf",
    "models",
    "m", "preds", "p", "sub", "submission", "score", "scaler", "scores", "f", "path", "i", "k", "x", "row", "rows", "fit", "main",
    "load", "é", "_", "self", "ß1", "print_", "read_csv", "cv", "best", "loss", "opt", "params", "fold", "name", "np", "pd", "oof",
)  # fmt: skip
ATTRIBUTES = (
    "fit", "predict", "values", "T", "shape", "columns", "iloc", "loc", "score", "mean", "copy", "drop", "fillna", "items",
    "to_csv",
    "transform", "fit_transform", "best_score_", "append", "sum", "close", "write", "read", "step", "x", "predict_proba",
)  # fmt: skip
FILES = ("'input/train.csv'", "'train.csv'", "'input/test.csv'", "'submission.csv'", "'./sub.csv'", "path", "f'{d}/train.csv'",
         "os.path.join('input', 'train.csv')", "Path('input') / 'train.csv'")  # fmt: skip
MODELS = ("Ridge", "RandomForestClassifier", "lgb.LGBMRegressor", "XGBClassifier", "LogisticRegression", "SVC", "Net",
          "KNeighborsRegressor",
          "nn.Linear", "GridSearchCV", "make_pipeline", "MyModel", "linear_model.Lasso")  # fmt: skip
METRICS = (
    "accuracy_score",
    "mean_squared_error",
    "metrics.f1_score",
    "roc_auc_score",
    "np.mean",
    "r2_score",
    "np.sqrt",
)
IMPORTS = (
    "import pandas as pd", "import numpy as np", "import os, sys, csv", "from sklearn.linear_model import Ridge, Lasso as L",
    "from sklearn.ensemble import *", "import lightgbm as lgb", "import xgboost", "from pathlib import Path",
    "import torch.nn as nn",
    "from sklearn.model_selection import (\n    KFold,\n    train_test_split as split,\n)", "from . import x", "import a.b.c as d",
    "from sklearn import metrics, linear_model", "from sklearn.metrics import accuracy_score, mean_squared_error, roc_auc_score",
    "try:\n    import torch\nexcept ImportError:\n    torch = None",
)  # fmt: skip
HAZARDS = (
    "print = log", "sys.stdout = open('o', 'w')", "exec(x)", "globals()['a'] = 1", "os.dup2(1, 2)", "import builtins", "eval('x')",
    "sys.settrace(f)", "os.fork()", "setattr(x, 'y', z)", "vars(x)[y] = z", "print(open(__file__).read())", "os._exit(0)",
    "from contextlib import redirect_stdout", "os.close(1)", "inspect.getsource(f)", "x = '[[mle:'",
    "multiprocessing.Process(target=f).start()",
)  # fmt: skip
NUMBERS = ("0", "1", "42", "0.5", "1e-3", "1e999", "-1", "0x_ff", "1j", "10**6", "True", "None", "...", "0b1", "1_000")

Lines = list[str]


class ProgramWriter:
    """Writes one program of about `size` characters."""

    def __init__(self, source: random.Random, size: int):
        self.random = source.random
        self.left = size
        self.indent = self.pick(("    ", "    ", "    ", "  ", " ", "\t"))
        few = max(3, int(len(NAMES) * self.random()))
        # Programs with few names bind them again and again, from each other.
        self.names = tuple(self.pick(NAMES) for _ in range(few))
        self.wild = self.random() < 0.15  # has statements that are far too long, wide or deep
        self.hazardous = self.random() < 0.08
        self.deepest = self.pick((2, 3, 4, 8, 17))

    def pick(self, options):
        return options[int(self.random() * len(options))]

    def number(self, most: int) -> int:
        """From 1 to `most`, mostly small."""
        return 1 + int(most * self.random() ** 3)

    def program(self) -> str:
        lines: Lines = self.simple("from __future__ import annotations") if self.random() < 0.02 else []
        while self.random() < 0.85:
            lines += self.simple(self.pick(IMPORTS))
        while self.left > 0:
            lines += self.statement(0)
        return "\n".join(lines) + "\n"

    def simple(self, text: str) -> Lines:
        self.left -= len(text) + 1
        return text.split("\n")

    def statement(self, depth: int) -> Lines:
        if self.left > 0 and depth < self.deepest and self.random() < 0.3:
            return self.pick(COMPOUND)(self, depth)
        if self.wild and self.left > 0 and self.random() < 0.05:
            return self.pick(WILD)(self)
        if self.hazardous and self.random() < 0.1:
            return self.simple(self.pick(HAZARDS))
        comment = self.simple(self.pick(("# a comment", "", "\f", "#é\u2028"))) if self.random() < 0.05 else []
        return comment + self.simple(self.pick(SIMPLE)(self))

    def block(self, head: str, depth: int) -> Lines:
        """`head` and an indented suite."""
        self.left -= len(head) + 1
        if self.random() < 0.05:
            return [f"{head} {self.pick(SIMPLE[:8])(self)}"]
        suite: Lines = []
        for _ in range(self.number(6)):
            suite += self.statement(depth + 1)
        self.left -= len(suite) * (depth + 1) * len(self.indent)
        return [head, *(self.indent + line for line in suite)]

    # Expressions

    def name(self) -> str:
        return self.pick(self.names)

    def atom(self) -> str:
        chosen = self.random()
        if chosen < 0.6:
            return self.pick(self.names)
        return self.pick(NUMBERS) if chosen < 0.8 else self.pick(FILES) if chosen < 0.85 else "'y'"

    def expression(self, depth: int = 2) -> str:
        if depth <= 0 or self.random() < 0.3:
            return self.atom()
        return self.pick(EXPRESSIONS)(self, depth - 1)

    def arguments(self, depth: int) -> str:
        parts = [self.expression(depth) for _ in range(int(4 * self.random()))]
        if self.random() < 0.3:
            parts.append(
                self.pick(("index=False", "axis=1", "**k", "path_or_buf='submission.csv'", "cv=5", "*x", "mode='w'"))
            )
        return ", ".join(parts)

    def target(self) -> str:
        chosen = self.random()
        if chosen < 0.75:
            return self.name()
        options = (
            "{0}, {1}",
            "{0}['y']",
            "{0}.x",
            "*{0}, {1}",
            "[{0}, ({1}, *{2})]",
            "{0}[{1}:{2}]",
            "{0}.loc[{1}, 'y']",
        )
        return self.pick(options).format(self.name(), self.name(), self.name())

    def pattern(self, depth: int = 2) -> str:
        if depth == 0 or self.random() < 0.4:
            return self.pick(("_", "1", "'a'", "x", "None", "-1.5", "np.a"))
        inner = [self.pattern(depth - 1) for _ in range(2)]
        return self.pick(
            ("[{0}, *_]", "{{'a': {0}, **rest}}", "Point(x={0})", "({0}, {1})", "1 | 2", "[*_]", "int(k)")
        ).format(*inner)


def _binary(w: ProgramWriter, d: int) -> str:
    operator = w.pick(
        ("+", "-", "*", "/", "//", "%", "**", "@", "and", "or", "<", "==", "!=", "in", "not in", "is not", "&", "|")
    )
    return f"({w.expression(d)} {operator} {w.expression(d)})"


def _comprehension(w: ProgramWriter, d: int) -> str:
    loops = "".join(
        f" for {w.name()} in {w.expression(d)}" + (f" if {w.expression(d)}" if w.random() < 0.3 else "")
        for _ in range(w.number(3))
    )
    body = w.expression(d)
    return w.pick(("[{0}{1}]", "{{{0}{1}}}", "({0}{1})", "{{{0}: 1{1}}}", "list({0}{1})", "dict(({0}, 1){1})")).format(
        body, loops
    )


EXPRESSIONS: tuple[Callable[[ProgramWriter, int], str], ...] = (
    lambda w, d: f"({w.expression(d)}).{w.pick(ATTRIBUTES)}",
    lambda w, d: f"{w.name()}.{w.pick(ATTRIBUTES)}({w.arguments(d)})",
    lambda w, d: f"{w.name()}({w.arguments(d)})",
    lambda w, d: f"{w.pick(MODELS)}({w.arguments(d)})",
    lambda w, d: f"pd.read_csv({w.pick(FILES)})",
    lambda w, d: f"{w.pick(METRICS)}({w.expression(d)}, {w.expression(d)})",
    lambda w, d: f"{w.name()}[{w.expression(d)}]",
    lambda w, d: f"{w.name()}[{w.name()} == {w.expression(d)}]",
    _binary,
    _binary,
    _comprehension,
    lambda w, d: f"[{w.arguments(d)[:0]}{', '.join(w.expression(d) for _ in range(w.number(5)))}]",
    lambda w, d: f"({w.expression(d)}, *{w.name()})",
    lambda w, d: f"{{'a': {w.expression(d)}, **{w.name()}}}",
    lambda w, d: f"(lambda {w.name()}, *a, k=1: {w.expression(d)})",
    lambda w, d: f"({w.expression(d)} if {w.expression(d)} else {w.expression(d)})",
    lambda w, d: f"({w.name()} := {w.expression(d)})",
    lambda w, d: f"-{w.expression(d)}",
    lambda w, d: f'f"{{{w.name()}!r:>{{{w.name()}}}}} {{{w.name()}.x}}"',
    lambda w, d: f"{w.name()}[{w.name()}:, ::2]",
)

SIMPLE: tuple[Callable[[ProgramWriter], str], ...] = (
    lambda w: f"{w.target()} = {w.expression(3)}",
    lambda w: f"{w.name()} = {w.name()}",
    lambda w: f"{w.name()} = {w.target()} = {w.expression()}",
    lambda w: f"{w.name()} {w.pick(('+', '-', '@', '//'))}= {w.expression()}",
    lambda w: f"{w.name()}: {w.name()} = {w.expression()}",
    lambda w: w.expression(3),
    lambda w: f"{w.name()}({w.arguments(2)})",
    lambda w: f"{w.name()} = pd.read_csv({w.pick(FILES)})",
    lambda w: f"{w.name()} = {w.name()}.drop(columns=['y']).fillna({w.atom()})",
    lambda w: f"{w.name()}, {w.name()}, {w.name()}, {w.name()} = train_test_split({w.name()}, {w.name()})",
    lambda w: f"{w.name()} = {w.pick(MODELS)}({w.arguments(1)})",
    lambda w: f"{w.name()}.fit({w.name()}, {w.name()})",
    lambda w: f"{w.name()} = {w.name()}.fit({w.name()}, {w.name()}).predict({w.name()})",
    lambda w: f"print({w.pick(METRICS)}(y_val, {w.expression(1)}))",
    lambda w: f"{w.name()} = {w.pick(METRICS)}({w.name()} - y_val)",
    lambda w: f"{w.name()}.to_csv({w.pick(FILES)}, index=False)",
    lambda w: f"pd.DataFrame({w.expression()}).to_csv('submission.csv')",
    lambda w: f"open('submission.csv', 'w').write({w.expression(1)})",
    lambda w: f"{w.name()} = open({w.pick(FILES)}); {w.name()}.close()",
    lambda w: f"shutil.copy({w.pick(FILES)}, 'submission.csv')",
    lambda w: w.pick(IMPORTS),
    lambda w: f"del {w.name()}",
    lambda w: f"assert {w.expression()}, {w.expression(1)}",
    lambda w: w.pick(
        ("pass", "raise", "break", "continue", "return", "return x", "yield x", "global x", "sys.exit()", "main()")
    ),
    lambda w: f"raise ValueError({w.expression(1)}) from {w.name()}",
    lambda w: f"x = 1; {w.name()}.fit(X, y); {w.name()} = {w.expression(1)}",
    lambda w: f"{w.name()} = {w.name()} + \\\n  {w.atom()}",
    lambda w: w.pick(("'a text'", '"""' + "text\n" * w.number(3) + '"""', f"x = '''\n{FENCE}\n'''")),
)


def _if(w: ProgramWriter, d: int) -> Lines:
    lines = w.block(
        w.pick((f"if {w.expression()}:", 'if __name__ == "__main__":', "if os.path.exists('train.csv'):", "if True:")),
        d,
    )
    for _ in range(w.number(4) - 1):
        lines += w.block(f"elif {w.expression()}:", d)
    return lines + (w.block("else:", d) if w.random() < 0.4 else [])


def _loop(w: ProgramWriter, d: int) -> Lines:
    heads = ("for {0} in {1}:", "for {0}, {2} in ({1}).items():", "for {0} in range({1}):", "while {1}:",
             "for {0}, {2} in KFold(5).split({1}):",
             "for {0}, *{2} in enumerate({1}):", "while True:", "for {0} in [1, 2]:", "for {0} in tqdm({1}):")  # fmt: skip
    lines = w.block(w.pick(heads).format(w.name(), w.expression(), w.name()), d)
    return lines + (w.block("else:", d) if w.random() < 0.1 else [])


def _try(w: ProgramWriter, d: int) -> Lines:
    star = w.pick(("", "", "", "*"))
    lines = w.block("try:", d)
    for _ in range(w.number(3)):
        lines += w.block(
            f"except{star} {w.pick(('Exception', 'ValueError as e', '(KeyError, OSError)', 'a.B as b'))}:", d
        )
    lines += w.block("else:", d) if w.random() < 0.2 else []
    return lines + (w.block("finally:", d) if w.random() < 0.2 else [])


def _with(w: ProgramWriter, d: int) -> Lines:
    mode, target = w.pick(("", ", 'w'", ", mode='r'")), w.pick(("f", "x", "(a, b)", "self.f"))
    opens = f"open({w.pick(FILES)}{mode}) as {target}"
    return w.block(
        w.pick((f"with {opens}:", f"with {opens}, {w.expression(1)}:", "with torch.no_grad():", f"with ({opens}):")), d
    )


def _match(w: ProgramWriter, d: int) -> Lines:
    cases: Lines = []
    for _ in range(w.number(4)):
        guard = f" if {w.expression(1)}" if w.random() < 0.2 else ""
        cases += w.block(f"case {w.pattern()}{guard}:", d + 1)
    return [f"match {w.expression(1)}:", *(w.indent + line for line in cases)]


def _function(w: ProgramWriter, d: int) -> Lines:
    decorators = (
        w.simple(w.pick(("@cache", "@staticmethod", "@torch.no_grad()", "@wraps(f)", "@jit")))
        if w.random() < 0.2
        else []
    )
    parameters = w.pick(
        ("", "x", "x, y", "X, y=None, *a, **k", "a, /, b, *, c: int = 1", "self", "self, X, y", "df: pd.DataFrame")
    )
    lines = w.block(
        f"{w.pick(('def', 'def', 'def', 'async def'))} {w.name()}({parameters}){w.pick(('', ' -> int'))}:", d
    )
    if len(lines) > 1 and w.random() < 0.7:
        lines.append(
            w.indent + w.simple(f"{w.pick(('return', 'return', 'yield', 'yield from'))} {w.expression(1)}")[0]
        )
    return [*decorators, *lines]


def _class(w: ProgramWriter, d: int) -> Lines:
    bases = w.pick(
        ("", "(nn.Module)", "(object)", f"({w.name()})", "(A, metaclass=M)", "(BaseEstimator, ClassifierMixin)")
    )
    lines = w.simple(f"class {w.pick(('Net', 'MyModel', 'A', 'Model'))}{bases}:")
    for _ in range(w.number(4)):
        lines += [w.indent + line for line in _function(w, d + 1)]
    return lines


COMPOUND = (_if, _loop, _loop, _try, _with, _match, _function, _function, _class)


def _repeated(w: ProgramWriter) -> Lines:
    lines = w.statement(0) if w.random() < 0.5 else w.simple(w.pick(SIMPLE)(w))
    length = sum(map(len, lines)) + len(lines)
    count = min(w.number(3000), max(w.left, 0) // max(length, 1) + 1)
    w.left -= length * (count - 1)
    return lines * count


def _length(w: ProgramWriter, most: int) -> int:
    return min(w.number(most), max(w.left, 1))


def _nested(w: ProgramWriter) -> Lines:
    depth = _length(w, 95)
    return w.simple("\n".join([*(" " * level + "if x:" for level in range(depth)), " " * depth + "pass"]))


WILD: tuple[Callable[[ProgramWriter], Lines], ...] = (
    _repeated,
    _repeated,
    lambda w: w.simple(f"{w.name()} = {'9' * _length(w, 4200)}"),
    lambda w: w.simple(f"for {w.name()} in range({'9' * _length(w, 30)}): {w.name()}.fit(X, y)"),
    lambda w: w.simple(f"{w.name()} = 0x{'f' * _length(w, 6000)}"),
    lambda w: w.simple(f"{'n' * (size := _length(w, 9000))} = {w.expression()}\nprint({'n' * size})"),
    lambda w: w.simple(f"{w.name()} = '{'train' * _length(w, 4000)}'"),
    lambda w: w.simple(f"{w.name()} = [{', '.join(w.expression(1) for _ in range(_length(w, 1500)))}]"),
    lambda w: w.simple(f"{w.name()} = {'+'.join(w.atom() for _ in range(_length(w, 900)))}"),
    lambda w: w.simple(f"{w.name()} = {'[' * (depth := _length(w, 90))}{w.atom()}{']' * depth}"),
    lambda w: w.simple(f"{w.name()} = {'mean(' * (depth := _length(w, 90))}{w.name()} - y_val{')' * depth}"),
    lambda w: w.simple(f"{w.name()} = {w.name()}{'.drop(1)' * _length(w, 500)}"),
    lambda w: w.simple(f"{w.name()} = {'lambda: ' * _length(w, 80)}{w.atom()}"),
    _nested,
    lambda w: w.simple(f"f({', '.join(f'a{k}={w.atom()}' for k in range(_length(w, 300)))})"),
    lambda w: w.simple("; ".join(w.pick(SIMPLE[:8])(w) for _ in range(_length(w, 300)))),
    lambda w: w.simple(f"{'x = ' * _length(w, 900)}{w.expression(1)}"),
    lambda w: w.simple("\n" * _length(w, 3000) + "pass"),
)  # fmt: skip
