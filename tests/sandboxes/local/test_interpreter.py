"""A warm worker is as good as a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIT = """
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

train, test = pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")
forest = RandomForestClassifier(20, random_state=0).fit(train[["a", "b"]], train["y"])
linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(train[["a", "b"]], train["y"])
test["y"] = (forest.predict_proba(test[["a", "b"]])[:, 1] + linear.predict_proba(test[["a", "b"]])[:, 1]) / 2
test[["id", "y"]].to_csv("submission.csv", index=False)
"""


async def test_fit_equals_that_of_a_cold_interpreter(warm, task, tmp_path):
    execution = await warm.run(FIT, task)
    assert (execution.status, execution.stderr) == ("ok", "")
    (tmp_path / "input").symlink_to(task.public_dir)
    (tmp_path / "main.py").write_text(FIT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "main.py"], cwd=tmp_path, env=environment, check=True)
    assert execution.submission == (tmp_path / "submission.csv").read_bytes()


async def test_state_is_fresh_for_every_program(warm, task):
    change = """
import os, sys, random, numpy, pandas
numpy.CHANGED = pandas.CHANGED = True
sys.modules["mine"] = numpy; sys.path.append("/changed"); os.environ["CHANGED"] = "1"; os.chdir("/")
open(os.environ["TMPDIR"] + "/changed", "w").close()
numpy.set_printoptions(precision=1)
"""
    look = """
import os, sys, numpy, pandas
print(hasattr(numpy, "CHANGED"), hasattr(pandas, "CHANGED"), "mine" in sys.modules, "/changed" in sys.path,
      "CHANGED" in os.environ, sorted(os.listdir()), os.listdir(os.environ["TMPDIR"]), numpy.get_printoptions()["precision"])
"""
    assert (await warm.run(change, task)).status == "ok"
    execution = await warm.run(look, task)
    assert execution.stdout == "False False False False False ['input', 'main.py', 'tmp'] [] 8\n"


async def test_random_numbers_differ_between_programs_and_a_seed_holds(warm, task):
    code = "import random, numpy\nprint(random.random(), numpy.random.rand(), numpy.random.default_rng().random())"
    first, second = [(await warm.run(code, task)).stdout.split() for _ in range(2)]
    assert len(first) == 3
    assert not set(first) & set(second)
    seeded = "import numpy\nnumpy.random.seed(3)\nprint(numpy.random.rand())"
    assert (await warm.run(seeded, task)).stdout == (await warm.run(seeded, task)).stdout


async def test_main_is_main(warm, task):
    code = """
import inspect, sys
def f(): return 1
print(__name__, sys.argv, sys.modules["__main__"].f is f, inspect.getsource(f).strip(), sys.stdin.read())
"""
    execution = await warm.run(code, task)
    assert execution.stdout == "__main__ ['main.py'] True def f(): return 1 \n"


async def test_what_the_task_does_not_allow_is_not_installed(warm, task):
    code = """
import importlib.util
print(importlib.util.find_spec("torch"), importlib.util.find_spec("trl_mle"), importlib.util.find_spec("scipy") is None)
import torch
"""
    execution = await warm.run(code, task)
    assert execution.stdout == "None None False\n"
    assert execution.stderr.endswith(
        "ModuleNotFoundError: No module named 'torch' (allowed packages: numpy, pandas, scikit-learn, scipy)\n"
    )
    assert "imports.py" not in execution.stderr


async def test_a_preloaded_package_that_the_task_does_not_allow_is_not_there(warm, task):
    task = replace(task, packages=("numpy",))
    assert (await warm.run("import numpy", task)).status == "ok"
    execution = await warm.run("import pandas", task)
    assert "No module named 'pandas' (allowed packages: numpy)" in execution.stderr


async def test_a_package_that_is_allowed_but_not_preloaded_can_be_imported(warm, task):
    task = replace(task, packages=("numpy", "sortedcontainers"))
    execution = await warm.run("import sortedcontainers; print(sortedcontainers.SortedList([2, 1]))", task)
    assert execution.stdout == "SortedList([1, 2])\n", execution.stderr


async def test_own_modules_can_be_imported(warm, task):
    execution = await warm.run("open('helper.py', 'w').write('x = 5')\nimport helper\nprint(helper.x)", task)
    assert execution.stdout == "5\n"


async def test_data_of_built_in_tasks_cannot_be_looked_up(warm, task):
    execution = await warm.run("from sklearn.datasets import load_digits; load_digits()", task)
    assert execution.status == "error"
    code = "from sklearn.datasets import make_blobs; print(make_blobs(5)[0].shape)"
    assert (await warm.run(code, task)).stdout == "(5, 2)\n"


async def test_started_interpreters_see_the_same_packages(warm, task):
    code = """
import subprocess, sys
for name in ("numpy", "torch"):
    done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, text=True)
    print(done.stderr.strip().splitlines()[-1:])
"""
    execution = await warm.run(code, task)
    assert execution.stdout == "[]\n[\"ModuleNotFoundError: No module named 'torch'\"]\n"


async def test_joblib_and_multiprocessing_work(warm, task):
    code = """
import multiprocessing
from joblib import Parallel, delayed
def square(x): return x * x
print(Parallel(n_jobs=2)(delayed(square)(x) for x in range(4)))
with multiprocessing.Pool(2) as pool: print(pool.map(square, range(4)))
"""
    execution = await warm.run(code, task)
    assert execution.stdout == "[0, 1, 4, 9]\n[0, 1, 4, 9]\n", execution.stderr


@pytest.mark.parametrize("threads", [1, 2])
async def test_threads_are_what_the_limits_say(warm, task, threads):
    code = """
import os, sklearn, threadpoolctl
print({library["num_threads"] for library in threadpoolctl.threadpool_info()}, os.environ["OMP_NUM_THREADS"])
"""
    limits = replace(warm_limits(task), threads=threads)
    assert (await warm.run(code, task, limits)).stdout == f"{{{threads}}} {threads}\n"


def warm_limits(task):
    from trl_mle.types import Limits

    return Limits.for_task(task)
