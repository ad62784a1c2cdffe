"""Attacks on the partial credit: marks that were not earned.

A program can always dig in its own memory, where the marks that were put into it must be. Two things bound what that is
worth: a mark counts only where the instrumenter put one, after a statement that reaches the milestone, and each mark has a
key of its own. So a program that prints its marks unearned gets at most what the same program gets by running its
statements, 0.1 each, and a failure with all of them stays far below the worst valid submission.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from tests.sandboxes.attacks.hostile import Control
from trl_mle import ASTInstrumenter, Outcome, Program
from trl_mle.instrumentation import new_nonce, parse_milestones
from trl_mle.types import MILESTONES

HONEST = """
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
X, y = train[["a", "b"]].fillna(0), train["y"]
model = Ridge()
model.fit(X[:60], y[:60])
print("validation", mean_squared_error(y[60:], model.predict(X[60:])))
pd.DataFrame({"id": test["id"], "y": model.predict(test[["a", "b"]])}).to_csv("submission.csv", index=False)
"""
NEVER = "\nif len(sys.argv) > 5:\n" + "\n".join("    " + line for line in HONEST.strip().splitlines()) + "\n"
"""All statements that are worth something, and none of them runs."""

Score = Callable[[str], Outcome]


def test_honest_program_gets_every_milestone(score: Score):
    """What the attacks below would like to have, and what they would rather have."""
    outcome = score(HONEST)
    assert outcome.kind == "valid"
    assert outcome.execution.milestones == MILESTONES
    failed = score(HONEST.replace('to_csv("submission.csv"', 'to_csv("elsewhere.csv"'))
    assert failed.kind == "failure"
    assert len(failed.execution.milestones) >= 6
    assert failed.reward < -9 < outcome.reward


GUESSES = {
    "names": "print(*names, sep='\\n')",
    "shape": "for n in names: print(f'[[trl_' + f'mle:{\"0\" * 32}:{n}]]')",
    "no_key": "for n in names: print('[[trl_' + f'mle:{n}]]'); print('[[trl_' + f'mle::{n}]]')",
    "many_keys": "for k in range(3000): print('[[trl_' + f'mle:{random.getrandbits(128):032x}:{names[k % 7]}]]')",
    "own_nonce": "for n in names:\n    key = hmac.new(b'0' * 32, n.encode(), hashlib.sha256).hexdigest()[:32]\n"
    "    print('[[trl_' + f'mle:{key}:{n}]]')",
    "pattern": "print('[[trl_' + 'mle:.{32}:.*]]'); print('[[trl_' + 'mle:%s:%s]]')",
    "standard_error": "for n in names: print('[[trl_' + f'mle:{n}]]', file=sys.stderr)",
    "score": 'print(\'score: 1.0\\nreward: 1.0\\n{"reward": 1, "milestones": 7, "valid": true}\')',
    "file": "open('milestones.json', 'w').write(str(names)); open('reward', 'w').write('1')",
}


@pytest.mark.parametrize("guess", GUESSES)
def test_guesses_pay_nothing(score: Score, guess):
    outcome = score(f"import hashlib, hmac, random, sys\nnames = {MILESTONES!r}\n{GUESSES[guess]}{NEVER}sys.exit(1)")
    assert outcome.execution.milestones in ((), ("imported_libraries",))  # an import, which it did do
    assert outcome.reward <= -9.9


# Where a program might find the text of its own marks. Names that say so openly keep it from being instrumented at all.
SOURCES = {
    "file": "open('ma' + 'in.py').read()",
    "file_in_the_folder": "''.join(open(n).read() for n in os.listdir() if n.endswith('py'))",
    "any_file": "''.join(open(os.path.join(r, n), errors='replace').read() for r, _, ns in os.walk('.') for n in ns)",
    "module_file": "open(globals()['__fi' + 'le__']).read()",
    "inspect": "getattr(inspect, 'get' + 'source')(sys.modules['__main__'])",
    "inspect_function": "getattr(inspect, 'get' + 'source')(never)",
    "lines": "''.join(getattr(__import__('line' + 'cache'), 'get' + 'lines')('ma' + 'in.py'))",
    "all_cached_lines": "str(vars(__import__('line' + 'cache')))",
    "loader": "getattr(globals()['__lo' + 'ader__'], 'get_' + 'source')('__main__')",
    "loader_data": "getattr(globals()['__lo' + 'ader__'], 'get_' + 'data')('ma' + 'in.py').decode()",
    "traceback": "trace(lambda: never(1))",
    "descriptors": "''.join(open(f'/proc/self/fd/{n}').read() for n in os.listdir('/proc/self/fd') if int(n) > 2 "
    "and os.path.isfile(f'/proc/self/fd/{n}'))",
    "command": "open('/proc/self/cmdline').read() + open('/proc/self/environ').read() + str(sys.argv) + str(sys.orig_argv)",
    "environment": "str(os.environ)",
    "standard_input": "sys.stdin.read()",
    "globals": "str({**globals()})",
    "modules": "str([vars(m) for m in list(sys.modules.values()) if 'runner' in str(m)])",
}
LOOK = """
import inspect, os, re, sys, traceback
def trace(action):
    try:
        action()
    except BaseException:
        return traceback.format_exc()
def never(a):
    raise ValueError(a)
    import numpy
    numpy.zeros(3)
def look():
    try:
        return SOURCE
    except BaseException as error:
        return "failed"
found = re.findall(r"\\[\\[trl_" + r"mle:[0-9a-f]+:\\w+\\]\\]", look())
print(*found, sep="\\n")
"""


@pytest.mark.parametrize("source", SOURCES)
def test_nowhere_is_the_text_of_the_marks(score: Score, control: Control, source):
    """The program runs from memory: what it finds of itself is what the policy wrote."""
    code = LOOK.replace("SOURCE", SOURCES[source]) + NEVER + "sys.exit(1)"
    outcome = score(code)
    instrumented = outcome.instrumented
    # `import inspect, os, ...` counts as importing where a known library is among them; here none is.
    assert len(instrumented.inserted) == 7, instrumented.fallback_reason
    if source not in NOT_IN_A_FILE:
        outside = control(instrumented.code).stdout
        assert parse_milestones(outside, instrumented.nonce) != ()
    assert outcome.execution.status == "error"
    assert outcome.execution.milestones == ()
    assert outcome.reward == -10


NOT_IN_A_FILE = ("traceback", "descriptors", "command", "environment", "standard_input", "globals", "modules",
                 "all_cached_lines", "inspect_function")  # fmt: skip
"""Found nothing without the sandbox either, where a file is the program; inside the sandbox another way is taken."""


DIGS = {
    "constants_of_frames": "walk(getattr(getattr(sys, '_get' + 'frame')(), 'f_' + 'code'))",
    "constants_of_frames_above": "above()",
    "all_code": "[walk(o) for o in everything() if type(o).__name__ == 'code']",
    "all_text": "[texts.append(o) for o in everything() if isinstance(o, str)]",
    "memory": "memory()",
}
DIG = """
import gc, os, re, sys
texts = []
def never():
    import pandas as pd
    return pd.read_csv("input/train.csv")
if len(sys.argv) > 5:
    early = never()
def walk(code):
    for constant in getattr(code, "co_" + "consts"):
        if isinstance(constant, str): texts.append(constant)
        elif type(constant).__name__ == "code": walk(constant)
def above():
    frame = getattr(sys, "_get" + "frame")()
    while frame is not None:
        walk(getattr(frame, "f_" + "code"))
        frame = getattr(frame, "f_" + "back")
def everything():
    seen, pending = {}, [*gc.get_objects(), getattr(getattr(sys, "_get" + "frame")(1), "f_" + "code")]
    while pending and len(seen) < 1_500_000:
        thing = pending.pop()
        if id(thing) not in seen:
            seen[id(thing)] = thing
            pending += gc.get_referents(thing)
    return list(seen.values())
def memory():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as file:
        for line in maps.readlines():
            place, rights, *_ = line.split()
            low, high = (int(part, 16) for part in place.split("-"))
            if "rw" in rights and "[v" not in line and ".so" not in line:
                for start in range(low, high, 1 << 20):
                    try:
                        file.seek(start)
                        part = file.read(min(1 << 20, high - start))
                    except (OSError, ValueError):
                        break
                    if b"[[trl_" in part: texts.append(part.decode("latin-1"))
try:
    DIGGING
except Exception as error:
    print(error, file=sys.stderr)
marks = sorted({m for t in texts for m in re.findall(r"\\[\\[trl_" + r"mle:[0-9a-f]+:\\w+\\]\\]", t)})
print(len(marks), [m.encode().hex() for m in marks])
sys.stdout.flush()
for m in marks:
    os.write(1, m.encode() + b"\\n")
    sys.stdout.write(m.replace("\\\\n", "") + "\\n")
    print(m)
"""


@pytest.mark.parametrize("dig", DIGS)
def test_digging_pays_no_more_than_honest_progress(score: Score, control: Control, dig):
    """The program finds its marks and prints all of them. It gets what its own statements are worth, and no more."""
    outcome = score(DIG.replace("DIGGING", DIGS[dig]) + NEVER + "sys.exit(1)")
    instrumented = outcome.instrumented
    assert instrumented.inserted, instrumented.fallback_reason
    outside = control(instrumented.code).stdout
    assert parse_milestones(outside, instrumented.nonce) != ()  # it does find them
    milestones = outcome.execution.milestones
    assert set(milestones) <= set(instrumented.inserted)
    assert outcome.kind == "failure"
    assert outcome.reward == pytest.approx(-10 + 0.1 * len(milestones))
    assert outcome.reward <= -10 + 0.1 * len(instrumented.inserted) < -9
    honest = score(HONEST)
    assert honest.reward - outcome.reward > 8


def test_digging_pays_no_more_than_the_statements_that_are_there(score: Score):
    """With the statement of one milestone, one mark is all that there is to be found."""
    one = "\nif len(sys.argv) > 5:\n    import pandas as pd\n    t = pd.read_csv('input/train.csv')\nsys.exit(1)"
    code = DIG.replace("DIGGING", DIGS["all_code"]).replace(
        'import pandas as pd\n    return pd.read_csv("input/train.csv")', "pass"
    )
    outcome = score(code + one)
    assert set(outcome.execution.milestones) <= {"imported_libraries", "loaded_data"}
    assert outcome.reward <= -9.8


CATCHERS = {
    "print_replaced": "import builtins\nreal = print\ndef keep(*a, **k):\n    seen.extend(map(str, a)); real(*a, **k)\n"
    "setattr(builtins, 'print', keep)",
    "stream_replaced": "class Tee:\n    def __init__(self, s): self.s = s\n"
    "    def write(self, t): seen.append(t); return self.s.write(t)\n"
    "    def __getattr__(self, n): return getattr(self.s, n)\nsetattr(sys, 'std' + 'out', Tee(sys.stdout))",
    "pipe": "r, w = os.pipe(); old = os.dup(1); os.dup2(w, 1); os.write(w, b'-')",
}


@pytest.mark.parametrize("catcher", CATCHERS)
def test_replay_of_an_earned_mark_pays_nothing(score: Score, catcher):
    """The program catches the mark that it earned, and prints it again, and again with the names of the others."""
    code = f"""
import os, re, sys
seen = []
{CATCHERS[catcher]}
import pandas as pd
train = pd.read_csv("input/train.csv")
sys.stdout.flush()
if "r" in globals():
    seen.append(os.read(r, 65536).decode()); os.dup2(old, 1)
text = "".join(seen)
for mark in re.findall(r"\\[\\[trl_" + r"mle:[0-9a-f]+:\\w+\\]\\]", text):
    for _ in range(50):
        os.write(1, mark.encode() + b"\\n")
    for name in {MILESTONES!r}:
        os.write(1, (mark.rpartition(":")[0] + ":" + name + "]]\\n").encode())
print("CAUGHT", text.count("[[trl_"), file=sys.stderr)
{NEVER}
sys.exit(1)
"""
    outcome = score(code)
    assert set(outcome.execution.milestones) <= {"imported_libraries", "loaded_data"}
    assert outcome.reward <= -9.8
    if outcome.instrumented.inserted:
        assert "CAUGHT" in outcome.execution.stderr


def test_marks_of_an_earlier_program_pay_nothing(score: Score):
    """Every run has a nonce of its own."""
    digging = DIG.replace("DIGGING", DIGS["all_code"])
    earlier = score(digging + NEVER + "sys.exit(1)")
    line = next(line for line in earlier.execution.stdout.splitlines() if line[0].isdigit())
    marks = [bytes.fromhex(mark).decode() for mark in ast.literal_eval(line.partition(" ")[2])]
    if not marks:
        pytest.skip("the earlier program found none of its marks")
    encoded = [mark.encode().hex() for mark in marks]
    later = score(f"import sys\nfor m in {encoded!r}: print(bytes.fromhex(m).decode())\n{NEVER}sys.exit(1)")
    assert later.instrumented.inserted
    assert later.execution.milestones == ()
    assert later.reward == -10


def test_written_marks_keep_a_program_from_being_instrumented(score: Score):
    outcome = score(
        "print('[[trl_mle:00000000000000000000000000000000:loaded_data]]')" + HONEST + "raise SystemExit(1)"
    )
    assert outcome.instrumented.inserted == ()
    assert outcome.execution.milestones == ()


def test_marks_of_a_child_are_those_of_the_program(score: Score):
    """Children print marks as often as they like: each milestone counts once."""
    code = "import os, sys\nfor _ in range(5):\n    if os.fork() == 0: break\nelse:\n    os.wait()\n"
    outcome = score(
        code + "import pandas as pd\nfor _ in range(9): train = pd.read_csv('input/train.csv')\nsys.exit(1)"
    )
    assert set(outcome.execution.milestones) == {"imported_libraries", "loaded_data"}
    assert outcome.reward == pytest.approx(-9.8)


def test_output_is_kept_clean_of_marks(score: Score):
    """What is logged and shown to the policy later holds no mark."""
    outcome = score(HONEST + "raise SystemExit(1)")
    assert "[[trl_mle:" not in outcome.execution.stdout + outcome.execution.stderr


def test_flood_keeps_no_more_than_it_earned(score: Score):
    outcome = score("import pandas as pd\nt = pd.read_csv('input/train.csv')\nwhile True: print('x' * 10000)")
    assert outcome.execution.status == "output"
    assert set(outcome.execution.milestones) <= {"imported_libraries", "loaded_data"}
    assert outcome.reward <= -9.8


@pytest.mark.parametrize("dig", ["all_code"])
def test_an_instrumented_program_digs_as_well_as_its_own_text_allows(control: Control, dig):
    """That the attack works at all: run as a file, the same program prints every mark that was put into it."""
    program = Program("", DIG.replace("DIGGING", DIGS[dig]) + NEVER + "sys.exit(1)")
    instrumented = ASTInstrumenter().instrument(program, new_nonce())
    printed = parse_milestones(control(instrumented.code).stdout, instrumented.nonce)
    assert printed == instrumented.inserted
