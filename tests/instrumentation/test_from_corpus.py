"""Rules that the corpus of real programs asked for, each on its own."""

import pytest

from trl_mle.instrumentation import ASTInstrumenter, new_nonce
from trl_mle.types import Program


def inserted(code: str) -> set[str]:
    return set(ASTInstrumenter().instrument(Program("", code), new_nonce()).inserted)


READ = 'import pandas as pd\ntrain = pd.read_csv("input/train.csv")\n'


@pytest.mark.parametrize(
    "code",
    [
        'model.fit(train[pixels] / 16.0, train["digit"])',
        'images = train[pixels].values / 16.0\nlabels = train["digit"]\nmodel.fit(images, labels)',
        'train["volume"] = train["x"] * train["y"]',
        'train[["x", "y"]] /= 100',
    ],
)
def test_features_under_any_name(code):
    assert "built_features" in inserted(READ + code)


@pytest.mark.parametrize("value", ['float("nan")', "np.nan", "0", "-1.5"])
def test_a_set_value_is_no_feature(value):
    assert "built_features" not in inserted(f'{READ}import numpy as np\ntrain.loc[3, "word"] = {value}')


def test_a_list_of_names_is_no_feature_until_it_is_used():
    code = f'{READ}features = ["carat", "depth"]\n'
    assert "built_features" not in inserted(code)
    assert "built_features" in inserted(f'{code}Ridge().fit(train[features], train["price"])')


SPLIT = "from sklearn.model_selection import train_test_split\nmodel = Ridge()\n"


@pytest.mark.parametrize(
    "code",
    [
        "print(log_loss(y, blend(held_out, 0.5)))",
        "accuracy = (neighbours(X[:n], y[:n], X[n:]) == y[n:]).mean()",
        f"{SPLIT}parts = train_test_split(X, y)\nmodel.fit(parts[0], parts[2]).score(parts[1], parts[3])",
        "left = np.setdiff1d(np.arange(9), rows)\nmodel = Ridge().fit(a, b)\nr2_score(y[left], model.predict(X[left]))",
    ],
)
def test_scores_on_rows_that_were_held_out(code):
    assert "evaluated_model" in inserted(code)


@pytest.mark.parametrize(
    "code",
    [
        "accuracy = (neighbours(X, y, X) == y[:n]).mean()",
        f"{SPLIT}parts = train_test_split(X, y)\nmodel.fit(parts[0], parts[2]).score(parts[0], parts[2])",
    ],
)
def test_scores_on_rows_of_the_training(code):
    assert "evaluated_model" not in inserted(code)


@pytest.mark.parametrize(
    "code",
    ['open("submission.csv", "w").write(text)', 'print(text, file=open("submission.csv", "w"))'],
)
def test_a_file_opened_in_place_is_written(code):
    assert inserted(code) == {"wrote_predictions"}
    assert inserted(code.replace("submission.csv", "log.txt")) == set()
