"""What `map`, and the `map` of a pool, have certainly run once their elements are taken."""

import pytest

from tests.instrumentation.analysis.test_placement import inserted
from trl_mle.types import Milestone

JOB = """
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pool
import pandas as pd
def job(alpha):
    model = Ridge(alpha=alpha)
    model.fit(X, y)
    return model
"""


@pytest.mark.parametrize(
    "code",
    [
        'train, test = map(pd.read_csv, ("input/train.csv", "input/test.csv"))',
        'frames = list(map(pd.read_csv, ["input/train.csv"]))',
        'for frame in map(pd.read_csv, ["input/train.csv"]):\n    print(frame)',
        'data = pd.concat(map(pd.read_csv, ["input/train.csv", "input/test.csv"]))',
        'with ThreadPoolExecutor(2) as pool:\n    train, test = pool.map(pd.read_csv, ["input/train.csv", "input/test.csv"])',
    ],
)
def test_a_mapped_reader_loads_data(code):
    assert Milestone.LOADED_DATA in inserted(JOB + code)


@pytest.mark.parametrize(
    "code",
    [
        'frames = map(pd.read_csv, ["input/train.csv"])',
        'test, sample = map(pd.read_csv, ["input/test.csv", "input/sample_submission.csv"])\ntrain = "input/train.csv"',
        "frames = list(map(pd.read_csv, []))",
        'map = lambda f, values: values\nframes = list(map(pd.read_csv, ["input/train.csv"]))',
        'from itertools import repeat as map\nframes = list(map(pd.read_csv, ["input/train.csv"]))',
        'next(map(pd.read_csv, ["input/test.csv", "input/train.csv"]))',
        'any(map(pd.read_csv, ["input/test.csv", "input/train.csv"]))',
        'pd.read_csv = lambda path: None\nframes = list(map(pd.read_csv, ["input/train.csv"]))',
    ],
)
def test_what_is_not_taken_or_not_a_read_loads_nothing(code):
    assert Milestone.LOADED_DATA not in inserted(JOB + code)


@pytest.mark.parametrize(
    "code",
    [
        "models = list(map(job, [0.1, 1.0]))",
        "first, second = map(job, [0.1, 1.0])",
        "with ThreadPoolExecutor() as pool:\n    models = list(pool.map(job, [0.1, 1.0]))",
        "with Pool(2) as pool:\n    models = pool.map(job, [0.1, 1.0])",
    ],
)
def test_a_mapped_function_of_the_program_runs(code):
    assert {Milestone.DEFINED_MODEL, Milestone.TRAINED_MODEL} <= inserted(JOB + code)


@pytest.mark.parametrize(
    "code",
    [
        "models = map(job, [0.1, 1.0])",
        "models = list(map(job, []))",
        "with ThreadPoolExecutor() as pool:\n    models = pool.map(job, [0.1, 1.0])",
        "class Pool:\n    def map(self, f, values): return values\nmodels = list(Pool().map(job, [1.0]))",
        "xs = range(len([]))\nmodels = list(map(job, xs))",
        "from library import Pool\nmodels = Pool(2).map(job, [1.0])",
        "async def task(alpha):\n    Ridge().fit(X, y)\nmodels = list(map(task, [1.0]))",
        "pool = pd.Series([1.0])\nmodels = list(pool.map(job, [1.0]))",
        "pool = Pool(2)\npool.map = lambda f, values: values\nmodels = pool.map(job, [1.0])",
    ],
)
def test_a_function_that_may_not_run_reaches_nothing(code):
    assert Milestone.TRAINED_MODEL not in inserted(JOB + code)


def test_a_pool_of_processes_is_no_data():
    assert Milestone.BUILT_FEATURES not in inserted(JOB + "with Pool(2) as pool:\n    squares = pool.map(abs, [1, 2])")
    assert Milestone.BUILT_FEATURES in inserted("import catboost as cb\npool = cb.Pool(train, y)")
