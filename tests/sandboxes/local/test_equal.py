"""What a program writes in the sandbox is, to the byte, what it writes in an interpreter of its own."""

from __future__ import annotations

import pytest

from tests.support.cold_interpreter import cold, run
from trl_mle import list_tasks, load_task

pytestmark = pytest.mark.asyncio(loop_scope="module")


# Changes what a program can change: the global random state, options, filters, signals' handlers, locale, environment.
DISTURB = """
import decimal, locale, logging, os, random, signal, sys, warnings
import numpy as np, pandas as pd, sklearn

np.random.seed(12345)
random.seed(12345)
np.random.rand(1000)
np.seterr(all="raise")
np.set_printoptions(precision=2, suppress=True)
pd.set_option("display.max_rows", 5, "display.precision", 1)
sklearn.set_config(transform_output="pandas")
warnings.simplefilter("ignore")
logging.basicConfig(level=logging.DEBUG)
decimal.getcontext().prec = 3
locale.setlocale(locale.LC_ALL, "C")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.environ["OMP_NUM_THREADS"] = "7"
sys.setrecursionlimit(5000)
pd.read_csv("input/train.csv").to_csv("submission.csv", index=False)
print(np.random.rand())
"""

QUICK = {
    ("computers", "baseline"),
    ("diabetes", "reference"),
    ("digits", "baseline"),
}
"""Tasks' own programs that the default run has, of about a second each; the others are in the slow run."""


def _own_programs():
    for name in list_tasks():
        short = name.removeprefix("builtin:")
        for role in ("baseline", "reference"):
            slow = () if (short, role) in QUICK else (pytest.mark.slow,)
            yield pytest.param(name, role, id=f"{short}-{role}", marks=slow)


@pytest.mark.parametrize(("name", "role"), list(_own_programs()))
async def test_own_programs_of_tasks(warm, tmp_path, name, role):
    task = load_task(name)
    code = getattr(task, role).read_text(encoding="utf-8")
    expected = cold(code, task, tmp_path / "cold")
    assert (expected.exit_code, expected.stderr) == (0, "")
    assert expected.submission
    assert await run(warm, code, task) == expected
    assert (await run(warm, DISTURB, task)).exit_code == 0
    after = await run(warm, code, task)
    assert after == expected
    for split in ("public", "private"):
        grade = task.grade(expected.submission, split)
        assert grade.valid
        assert task.grade(after.submission, split) == grade


PROGRAMS = {
    "numpy_seed": """
import numpy as np
np.random.seed(3)
print(np.random.rand(3).tolist(), np.random.randn(2).tolist(), np.random.permutation(5))
print(np.random.RandomState(4).rand(2).tolist(), np.random.default_rng(5).normal(size=3).tolist())
""",
    "random_seed": """
import random
random.seed(3)
numbers = list(range(10))
random.shuffle(numbers)
print(random.random(), numbers, random.Random("text").random(), random.sample(range(99), 3))
""",
    "seeded_models": """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier
np.random.seed(0)
x = np.random.rand(200, 4)
y = (x.sum(axis=1) > 2).astype(int)
print(KMeans(3, n_init=2).fit(x).inertia_.hex(), train_test_split(y)[0].tolist())
print(RandomForestRegressor(10).fit(x, x[:, 0]).predict(x[:5]).tolist())
for model in (GradientBoostingClassifier(n_estimators=10), MLPClassifier((8,), max_iter=20)):
    print(cross_val_score(model, x, y, cv=3, scoring="neg_log_loss").tolist())
""",
    "linear_algebra": """
import numpy as np, scipy.linalg, scipy.optimize
x = np.random.default_rng(0).normal(size=(220, 220))
for number in ((x @ x).sum(), np.linalg.svd(x, compute_uv=False).sum(), np.linalg.inv(x)[0, 0], scipy.linalg.expm(x / 99)[0, 0],
               scipy.optimize.minimize(lambda v: ((x[:5, :5] @ v - 1) ** 2).sum(), np.zeros(5)).fun,
               np.fft.fft(x).real.std(), np.exp(x).mean(dtype=np.float32)):
    print(float(number).hex())
""",
    "order_of_sets_and_hashes": """
words = "the order of a set depends on the hashes of its strings".split()
print(set(words), dict.fromkeys(words), frozenset(words), hash("a"), hash(("b", 1))))
import pandas as pd
print(pd.Series(words).value_counts().to_dict(), list({str(number) for number in range(30)}))
""",
    "main_module": """
import __main__, os, sys, threading
print(__name__, sys.argv, os.path.basename(__file__), __spec__, __doc__, __package__)
print(sorted({*vars(__main__)} - {"__annotations__"}), sys.stdin.read(), sys.stdin.isatty())
print(os.path.samefile(sys.path[0], os.getcwd()), os.path.samefile(os.path.dirname(__file__), "."))
print(threading.current_thread().name, threading.main_thread() is threading.current_thread(), threading.active_count())
print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.gettrace(), sys.getprofile(), sys.excepthook is sys.__excepthook__)
print(type(sys.stdout), sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, sys.stdout is sys.__stdout__, sys.displayhook)
""",
    "interpreter_settings": """
import decimal, gc, locale, logging, os, signal, sys, time, unicodedata
print(decimal.getcontext(), gc.isenabled(), gc.get_threshold(), locale.getlocale(), locale.getpreferredencoding())
print(locale.localeconv()["decimal_point"], sys.getfilesystemencoding(), time.tzname, time.strftime("%A %B", time.gmtime(0)))
print(logging.getLogger().handlers, logging.getLogger().level, logging.root.manager.disable, logging.lastResort)
print(logging.raiseExceptions, logging.getLogger("sklearn").handlers)
logging.warning("shown"); logging.info("not shown"); logging.getLogger("mine").error("also shown")
usual = {signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD, signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1}
for number in sorted(usual):
    print(number.name, getattr(signal.getsignal(number), "__name__", signal.getsignal(number)))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getitimer(signal.ITIMER_REAL), os.umask(0), os.nice(0))
""",
    "library_settings": """
import numpy as np, pandas as pd, sklearn, warnings
print(np.geterr(), np.get_printoptions(), sklearn.get_config())
pd.describe_option()
np.arange(3) / np.array([0, 1, 2])
print(pd.DataFrame({"a": np.arange(40) / 7, "b": ["x" * number for number in range(40)]}))
print(np.arange(2000) / 3, np.float32(0.1), np.float64(1) / 3, 0.1 + 0.2, 1e22, [np.int64(3)])
""",
    "warnings": """
import warnings
for _ in range(3):
    warnings.warn("once for each place")
warnings.warn("another place")
warnings.warn("shown in the main module", DeprecationWarning)
warnings.warn("not shown", ImportWarning)
import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
x, y = make_classification(100, random_state=0)
for _ in range(2):
    LogisticRegression(max_iter=1).fit(x, y)
    np.log(np.zeros(2)), np.mean([])
import pandas as pd
frame = pd.DataFrame({"a": [1, 2]})
print([entry[:3] for entry in warnings.filters if entry[2] in (UserWarning, DeprecationWarning, FutureWarning)])
pd.to_datetime(["1/2/2020", "13/2/2020", "text"], errors="coerce")
""",
    "failure_in_a_library": """
import pandas as pd
def load():
    return pd.DataFrame({"a": [1]})["no such column"]
try:
    load()
except KeyError as error:
    raise RuntimeError("second") from error
""",
    "failure_of_several": "raise ExceptionGroup('several', [ValueError(1), KeyError('k')])",
    "failure_to_compile": "x = 1\nif x\n    print(x)\n",
    "failure_to_import": "import json.no_such_part",
    "failure_in_a_thread": """
import threading
thread = threading.Thread(target=lambda: 1 / 0, name="mine")
thread.start(); thread.join()
print("main goes on")
""",
    "failure_at_the_end": """
import atexit, sys
atexit.register(print, "first registered, last called")
@atexit.register
def fail(): raise ValueError("at the end")
sys.exit(5)
""",
    "exit_with_a_text": "import sys\nprint('out')\nsys.exit('text')",
    "exit_with_a_large_number": "import sys; sys.exit(258)",
    "output_in_order": """
import os, sys, subprocess
print("a", end=""); sys.stdout.flush(); os.write(1, b"b"); print("c", flush=True)
subprocess.run(["echo", "d"]); sys.stderr.write("e\\n"); print("\\N{SNOWMAN} \\udcff".encode("utf-8", "replace"))
""",
    "pickle_and_classes": """
import dataclasses, inspect, io, joblib, pickle
from typing import get_type_hints
@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: "Point | None" = None
number: int = 3
print(pickle.loads(pickle.dumps(Point(1, Point(2)))), get_type_hints(Point), __annotations__, inspect.getsource(Point))
joblib.dump(Point(3), "point"); print(joblib.load("point"), Point.__module__, Point.__qualname__)
""",
    "files": """
import os, tempfile
with tempfile.NamedTemporaryFile("w+") as file: print(file.encoding, os.path.isdir(tempfile.gettempdir()))
print(sorted(os.listdir()), sorted(os.listdir("input")), os.path.isfile("main.py"), open("main.py").read() != "")
open("submission.csv", "w").write("id,y\\n\u00e9,1\\n")
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
async def test_programs(warm, task, tmp_path, name):
    expected = cold(PROGRAMS[name], task, tmp_path / "cold")
    assert (await run(warm, DISTURB, task)).exit_code == 0
    assert await run(warm, PROGRAMS[name], task) == expected


async def test_what_has_no_seed_differs_between_runs(warm, task):
    code = """
import os, random, secrets, tempfile, uuid
import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import ShuffleSplit, train_test_split
x = np.linspace(0, 1, 200).reshape(-1, 2)
print(random.random(), random.Random().random(), secrets.token_hex(), uuid.uuid4(), os.urandom(8).hex())
print(np.random.rand(), np.random.default_rng().random(), np.random.RandomState().rand())
print(RandomForestRegressor(5, random_state=None).fit(x, x[:, 0]).predict(x).sum(), hash(tuple(train_test_split(range(50))[0])))
print(KMeans(7, n_init=1).fit(x).cluster_centers_[0, 0], next(ShuffleSplit(1).split(x))[0].tolist(), tempfile.mktemp())
"""
    first, second = [(await run(warm, code, task)).stdout.splitlines() for _ in range(2)]
    assert len(first) == len(second) == 4
    for one, other in zip(first, second, strict=True):
        assert not set(one.split(" ")[:2]) & set(other.split(" ")[:2])
    assert not set(" ".join(first[:3]).split()) & set(" ".join(second[:3]).split())


async def test_modules_of_a_cold_interpreter_are_there(warm, task, tmp_path):
    code = "import sys, json, numpy, pandas, sklearn.linear_model\nprint(*sorted(sys.modules))"
    expected = set(cold(code, task, tmp_path / "cold").stdout.split())
    found = set((await run(warm, code, task)).stdout.split())
    libraries = ("numpy", "pandas", "scipy", "sklearn", "joblib", "threadpoolctl", "dateutil", "json")
    of_libraries = {name for name in expected if name.partition(".")[0] in libraries}
    assert len(of_libraries) > 300
    assert of_libraries - found == set()
