"""Texts that a policy could write to keep extraction or instrumentation busy, made by reading that code.

Each generator takes a size and gives a text whose length grows with it. `random_text` mixes pieces of programs and completions.
"""

from __future__ import annotations

import random
from collections.abc import Callable

FENCE = "```"


def _rebinding(n: int) -> str:
    pairs = [(f"v{k}", f"v{k + 1}") for k in range(n)]
    lines = [
        line for a, b in pairs for i in range(12) for line in (f"{a} = {b}", f"{a}[{i}] = {b}", f"{a}.x{i} = {b}")
    ]
    return "\n".join([*lines, "v0.fit(v0, v0)", "v0.score(v0, v0)", "clf(v0).transform(v0)", "f1_score(v0, v0)"])


def _cycle(n: int) -> str:
    lines = [f"v{k} = [v{(k * 7 + i) % n}, v{(k * 3 + i) % n}.fit(v{i % n})]" for k in range(n) for i in range(12)]
    return "\n".join([*lines, *(f"v{k}.fit(v{k}, v{k})" for k in range(n))])


def _paths(n: int) -> str:
    lines = [f"v{k} = " + " + ".join([f"v{k + 1}"] * 36) for k in range(n) for _ in range(12)]
    return "\n".join([*lines, *["pd.read_csv(v0)"] * n])


def _classes(n: int) -> str:
    lines = [f"class A{k}(A{k + 1}, B{k + 1}): pass\nclass B{k}(A{k + 1}, B{k + 1}): pass" for k in range(n)]
    return "\n".join([*lines, f"class A{n}(A0): pass", "m = A0()", "m.fit(1, 2)"])


def _readers(n: int) -> str:
    lines = [f"r{k} = csv.reader(r{k + 1})" for k in range(n) for _ in range(12)]
    return "\n".join([*lines, *["for x in r0: pass"] * n])


def _calls(n: int) -> str:
    lines = [f"def f{k}(a, b):\n    f{k + 1}(b, a); return f{k + 1}(f{k + 1}(a, b), f{k + 1}(b, a))" for k in range(n)]
    return "\n".join([*lines, f"def f{n}(a, b):\n    return pd.read_csv(a)", "f0(1, 2).fit(3, 4)"])


def _loops(n: int) -> str:
    depth = min(n, 18)
    lines = [" " * k + f"for x{k} in range({9 ** (n % 50 + 1)}):" for k in range(depth)]
    return "\n".join(["def f(x):", " return x", *lines, " " * depth + "f(1)"])


def _number(n: int) -> str:
    return f"from sklearn.model_selection import KFold\nfor a, b in KFold(1{'0' * n}).split([1]):\n    f(a)\n"


def _nested(opening: str, middle: str, closing: str) -> Callable[[int], str]:
    return lambda n: "x = " + opening * n + middle + closing * n


def _wide(line: str) -> Callable[[int], str]:
    return lambda n: "import pandas as pd\n" + line * n


def _marks_in_one_line(n: int) -> str:
    return "import pandas as pd; " + "; ".join(["t = pd.read_csv('t')"] * n)


def _elifs(n: int) -> str:
    return "import pandas as pd\nif a: pass\n" + "elif a: t = pd.read_csv('train.csv')\n" * n


def _parameters(n: int) -> str:
    names = ", ".join(f"a{k}" for k in range(n))
    return f"def f({names}):\n    return a0\n" + f"f({names})\n" * 12


PROGRAMS: dict[str, Callable[[int], str]] = {
    "rebinding": _rebinding,
    "cycle": _cycle,
    "paths": _paths,
    "classes": _classes,
    "readers": _readers,
    "calls": _calls,
    "loops": _loops,
    "number": _number,
    "parameters": _parameters,
    "elifs": _elifs,
    "marks in one line": _marks_in_one_line,
    "nested calls": _nested("list(", "1", ")"),
    "nested means": _nested("mean(", "a - y_val", ")"),
    "nested lists": _nested("[", "", "]"),
    "lambdas": _nested("lambda: ", "1", ""),
    "signs": _nested("-", "1", ""),
    "attributes": _nested("a", ".b", ".c().d"),
    "sums": _nested("a+", "a", ""),
    "f-strings": _wide("x = f'{a} {b!r:>{c}}'\n"),
    "assignments": _wide("x = 1\n"),
    "reads": _wide("t = pd.read_csv('train.csv')\n"),
    "fits": _wide("m = m.fit(X_train, y_train); s = f1_score(y_val, m.predict(X_val))\n"),
    "comprehensions": _wide("z = [x for x in y for y in z if x]\n"),
    "matches": _wide("match a:\n    case [1, *b]: t = pd.read_csv(b)\n"),
    "tuples": _wide("a, (b, c), *d = e, (f, g), h\n"),
    "strings": lambda n: f"x = '{'train' * n}'\npd.read_csv(x)\n",
    "carriage returns": lambda n: "x = 1\r" * n,
    "form feeds": lambda n: "\f\n" * n + "import pandas",
    "surrogates": lambda n: "x = '\\ud800'\n" * n,
    "dotted import": lambda n: f"import {'a.' * n}a as b\nb()\n",
    "combining characters": lambda n: "a" + "\u0315\u0300" * n + " = 1\n",
    "long class name": lambda n: f"from m import {'ForA' * n}\u00b7 as a\n" + "a()\n" * n,
    "long answers": lambda n: f"import numpy as np\nnp.mean(p == y_{'target' * n}\u00b7)\n",
    "constants": lambda n: "import pandas\n" + "X = " * n + f"[{'1, ' * n}]\n",
    "slashes": lambda n: f"import pandas as pd\nx = '{'/' * n}'\n" + "pd.read_csv(x)\n" * n,
    "imports in elif": lambda n: "if a: f()\n" + "elif a: f()\n" * min(n, 300) + "else:\n import pandas\n f()\n",
    "continued lines": lambda n: "x = 1 + \\\n" * n + "1",
}
"""Name -> text of a program of the given size."""

COMPLETIONS: dict[str, Callable[[int], str]] = {
    "fences": lambda n: f"{FENCE}\n" * n,
    "growing fences": lambda n: "".join("`" * (k % 300 + 3) + "\n" for k in range(n)),
    "open strings": lambda n: f"{FENCE}python\n'''\n$$\n{FENCE}\n" * n,
    "heavy open strings": lambda n: (f"{FENCE}py\n" + "a=[1,2,3,4,5,6]\n" * 20 + f"'''$\n{FENCE}\n") * n,
    "untagged": lambda n: f"{FENCE}\nx = f(1)(\n{FENCE}\n" * n,
    "thinking": lambda n: "<think>\n</think>\n" * n,
    "thinking in one line": lambda n: "<think></think>" * n,
    "open thinking": lambda n: "<think>" * n,
    "ends of thinking": lambda n: "</think>" * n,
    "quoted ends of thinking": lambda n: '"</think>"' * n,
    "long tags": lambda n: "<thinking " * n,
    "spaces": lambda n: " " * n + "`",
    "list marks": lambda n: "1. - " * n,
    "indented fences": lambda n: "".join(" " * (k % 90) + f"{FENCE}\n" for k in range(n)),
    "tags after fences": lambda n: f"{FENCE}py\n{FENCE}" + "<a> <|b" * n + f"\n{FENCE}" + "<a>" * n,
    "line separators": lambda n: "\u2028" * n,
}
"""Name -> text of a completion of the given size."""

PIECES = (
    "import pandas as pd", "t = pd.read_csv('input/train.csv')", "m = Ridge()", "m.fit(X, y)", "m = m.fit", "for i in range(9):",
    "    ", "\n", "\n", "(", ")", "[", "]", "{", "}", "'", '"', "'''", "\\", ":", "=", ",", "*", "class A(A):", "def f(x):",
    "return f", "if a:", "else:", "try:", "except E as e:", "with open(x) as f:", "lambda x:", "await", "yield", "1e999",
    "9" * 400,
    "0x" + "f" * 50, FENCE, f"{FENCE}python\n", f"\n{FENCE}\n", "~~~", "<think>", "</think>", "[THINK]", "\0", "\ud800", "\ufeff",
    "\r", "\f", "\t", "# coding: utf-7\n", "é", "print(", "exec('x')", "globals()", "[[mle:", "f'{", "}'", "@", "match x:",
    "case _:",
    "accuracy_score(y_val, p)", "pd.DataFrame(p).to_csv('submission.csv')", "x." * 30, "(" * 30, " " * 50, "import *", ";",
    "not a -",
)  # fmt: skip


def random_text(source: random.Random) -> str:
    """A text of pieces, most of them short; half of them inside a fenced block."""
    pieces = source.choices(PIECES, k=source.choice((3, 10, 30, 100)))
    text = source.choice(("", "\n", " ")).join(pieces)
    return text if source.random() < 0.5 else f"Plan.\n{FENCE}python\n{text}\n{FENCE}\n"
