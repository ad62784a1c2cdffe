"""Methods of library classes that a program overrides or replaces by ones that compute nothing."""

import pytest

from tests.instrumentation.analysis.test_placement import inserted
from trl_mle.types import Milestone

HEAD = """
import pandas as pd
from sklearn.linear_model import Lasso, Ridge
train = pd.read_csv("input/train.csv")
X, y = train[["a"]], train["y"]
"""
IDLE = "class Idle:\n    def fit(self, X, y): return self\n"


@pytest.mark.parametrize(
    "code",
    [
        "class Model(Ridge):\n    def fit(self, X, y): return self\nmodel = Model()\nmodel.fit(X, y)",
        "class Model(Ridge):\n    def fit(self, *a, **k): self.coef_ = 0\nmodel = Model().fit(X, y)",
        "class Model(Ridge):\n    fit = lambda self, X, y: self\nmodel = Model()\nmodel.fit(X, y)",
        IDLE + "class Own(Ridge, Idle): pass\nclass Model(Idle, Ridge): pass\nmodel = Model()\nmodel.fit(X, y)",
        IDLE.replace("Idle", "Idle(Ridge)") + "class Model(Idle): pass\nmodel = Model()\nmodel.fit(X, y)",
        "Ridge.fit = lambda self, X, y: self\nmodel = Ridge()\nmodel.fit(X, y)",
        "Ridge.fit = lambda self, X, y: self\nRidge().fit(X, y)",
    ],
)
def test_a_method_that_computes_nothing_trains_nothing(code):
    assert Milestone.TRAINED_MODEL not in inserted(HEAD + code)


@pytest.mark.parametrize(
    "code",
    [
        "class Model(Ridge):\n    def fit(self, X, y): return super().fit(X, y)\nmodel = Model()\nmodel.fit(X, y)",
        IDLE + "class Model(Ridge, Idle): pass\nmodel = Model()\nmodel.fit(X, y)",
        IDLE + "class Own(Ridge): pass\nclass Model(Own, Idle): pass\nmodel = Model()\nmodel.fit(X, y)",
        "class Model(Ridge):\n    def score(self, X, y): return 0\nmodel = Model()\nmodel.fit(X, y)",
        "@register\nclass Model(Ridge):\n    def fit(self, X, y): return self\nmodel = Model()\nmodel.fit(X, y)",
        "Ridge.fit = lambda self, X, y: self\nmodel = Lasso()\nmodel.fit(X, y)",
        "model = Ridge()\nmodel.fit(X, y)\nRidge.fit = lambda self, X, y: self",
        "from sklearn.linear_model import Ridge as Base\nBase.fit = lambda self, X, y: self\nmodel = Lasso()\nmodel.fit(X, y)",
    ],
)
def test_what_may_train_keeps_its_mark(code):
    assert Milestone.TRAINED_MODEL in inserted(HEAD + code)
