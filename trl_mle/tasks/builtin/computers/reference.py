"""Gradient boosting on all columns, tuned by cross-validation and averaged over seeds with randomised trees."""

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.model_selection import GridSearchCV, KFold

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")


def features(table):
    out = table.drop(columns=["id", "price"], errors="ignore")
    for column in ("cd", "multi", "premium"):
        out[column] = (out[column] == "yes").astype(int)
    return out


x, y, x_test = features(train), train["price"], features(test)
search = GridSearchCV(
    HistGradientBoostingRegressor(learning_rate=0.08, max_iter=300, random_state=0),
    {"max_leaf_nodes": [8, 16, 31], "min_samples_leaf": [5, 15]},
    cv=KFold(3, shuffle=True, random_state=0),
    scoring="neg_root_mean_squared_error",
)
search.fit(x, y)
print(f"validation RMSE of {search.best_params_}: {-search.best_score_:.1f}")

boosted = [
    HistGradientBoostingRegressor(
        learning_rate=0.05, max_iter=600, max_features=0.7, random_state=seed, **search.best_params_
    )
    for seed in range(3)
]
trees = ExtraTreesRegressor(300, min_samples_leaf=1, max_features=0.8, random_state=0).fit(x, y)
predicted = np.mean([model.fit(x, y).predict(x_test) for model in boosted], axis=0)
predicted = 0.7 * predicted + 0.3 * trees.predict(x_test)

submission = pd.DataFrame({"id": test["id"], "price": predicted})
submission.to_csv("submission.csv", index=False)
