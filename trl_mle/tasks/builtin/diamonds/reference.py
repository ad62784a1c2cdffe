"""Average of gradient boosting and extremely randomised trees on the logarithmic price, with ordered grades."""

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")

GRADES = {
    "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
    "color": list("JIHGFED"),
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}


def features(table):
    out = table.drop(columns=["id", "price"], errors="ignore")
    for column, order in GRADES.items():
        out[column] = out[column].map({grade: rank for rank, grade in enumerate(order)})
    # A diamond without a width was not measured.
    out[["x", "y", "z"]] = out[["x", "y", "z"]].replace(0.0, np.nan)
    for column in ("x", "y", "z"):
        out[column] = out[column].fillna(out[column].median())
    out["volume"] = out["x"] * out["y"] * out["z"]
    out["density"] = out["carat"] / out["volume"]
    out["log_carat"] = np.log(out["carat"])
    out["quality"] = out["color"] + out["clarity"]
    return out


def new_models():
    return [
        HistGradientBoostingRegressor(max_iter=350, learning_rate=0.05, max_leaf_nodes=24, random_state=seed)
        for seed in range(2)
    ] + [ExtraTreesRegressor(60, min_samples_leaf=2, max_features=0.7, random_state=0)]


def predict(x, y, x_new):
    return np.mean([model.fit(x, y).predict(x_new) for model in new_models()], axis=0)


x, y = features(train), np.log1p(train["price"])
fit_x, held_x, fit_y, held_y = train_test_split(x, y, test_size=0.2, random_state=0)
error = np.sqrt(np.mean((predict(fit_x, fit_y, held_x) - held_y) ** 2))
print(f"validation RMSLE: {error:.4f}")

submission = pd.DataFrame({"id": test["id"], "price": np.expm1(predict(x, y, features(test)))})
submission.to_csv("submission.csv", index=False)
