"""Scores that a program computes by hand, and paths that its command line arguments hold."""

import pytest

from tests.instrumentation.analysis.test_placement import inserted
from trl_mle.types import Milestone

HEAD = """
import argparse
import numpy as np, pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, train_test_split
train = pd.read_csv("input/train.csv")
X = train[["a", "b"]]
y = train["y"]
X_train, X_val, y_train, y_val = train_test_split(X, y)
model = Ridge().fit(X_train, y_train)
"""
RMSE = "def rmse(a, b): return float(np.sqrt(np.mean((np.asarray(a) - np.asarray(b)) ** 2)))\n"
FOLDS = "oof = np.zeros(len(y))\nfor fit, rest in KFold(3).split(X):\n    oof[rest] = model.predict(X.iloc[rest])\n"


@pytest.mark.parametrize(
    "code",
    [
        RMSE + "rmse(y_val, model.predict(X_val))",
        RMSE + "rmse(model.predict(X_val), y_val)",
        RMSE + FOLDS + "rmse(y, oof)",
        RMSE + FOLDS + 'rmse(train["y"], oof)',
        "def mse(p, t):\n    error = p - t\n    return (error ** 2).mean()\nmse(model.predict(X_val), y_val)",
        "error = model.predict(X_val) - y_val\nprint((error ** 2).mean())",
        "print(np.linalg.norm(model.predict(X_val) - y_val))",
    ],
)
def test_a_score_by_hand_of_held_out_rows_is_an_evaluation(code):
    assert Milestone.EVALUATED_MODEL in inserted(HEAD + code)


@pytest.mark.parametrize(
    "code",
    [
        RMSE + "rmse(y_train, model.predict(X_train))",
        RMSE + "rmse(X_val, X_val.mean())",
        RMSE + "print(rmse)",
        RMSE + FOLDS + "rmse(oof, oof.mean())",
        "error = y_val - 1\nprint(error.mean())",
        "error = model.predict(X_train) - y_train\nprint((error ** 2).mean())",
        "spread = X_val - X_train.mean()\nprint(spread.mean())",
        "n_test = 3\nprint(np.sqrt(len(y) - n_test))",
        "years = 3\ntest_size = 9\nprint(np.mean(years - test_size))",
        'test = pd.read_csv("input/test.csv")\nprint(np.mean(y.mean() - test["a"]))',
        'test = pd.read_csv("input/test.csv")\nage = test.YrSold - test.YearBuilt\nprint(age.mean())',
        'test = pd.read_csv("input/test.csv")\nprint((test == y_train.mode()[0]).sum())',
        "def never():\n    error = model.predict(X_val) - y_val\nerror = np.zeros(3)\nprint(error.mean())",
        "d = X_train\nprint(d.mean())\nd = model.predict(X_val) - y_val",
    ],
)
def test_other_differences_are_none(code):
    assert Milestone.EVALUATED_MODEL not in inserted(HEAD + code)


def test_the_default_of_an_argument_is_the_path():
    code = """
parser = argparse.ArgumentParser()
parser.add_argument("-t", "--train-file", default="input/train.csv")
parser.add_argument("--out", default=%r)
args = parser.parse_args([])
data = pd.read_csv(args.train_file)
data.to_csv(args.out)
"""
    head = "import argparse\nimport pandas as pd\n"
    assert {Milestone.LOADED_DATA, Milestone.WROTE_PREDICTIONS} <= inserted(head + code % "submission.csv")
    assert Milestone.WROTE_PREDICTIONS not in inserted(head + code % "table.csv")


@pytest.mark.parametrize(
    "code",
    [
        'args = parser.parse_args(["--f", "input/test.csv"])\npd.read_csv(args.f)',
        'class C: pass\nc = C()\nc.f = "input/test.csv"\npd.read_csv(c.f)',
        'class C: f = "input/test.csv"\npd.read_csv(C.f)',
    ],
)
def test_what_is_no_default_is_not_taken_for_one(code):
    head = "import argparse\nimport pandas as pd\nparser = argparse.ArgumentParser()\n"
    assert Milestone.LOADED_DATA not in inserted(
        head + 'parser.add_argument("--f", default="input/train.csv")\n' + code
    )


def test_arguments_by_a_function():
    code = """
import argparse, sys
import pandas as pd
def arguments(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="input/train.csv")
    return parser.parse_args(argv)
def main(argv=None):
    args = arguments(argv)
    data = pd.read_csv(args.data)
main()
"""
    assert Milestone.LOADED_DATA in inserted(code)
