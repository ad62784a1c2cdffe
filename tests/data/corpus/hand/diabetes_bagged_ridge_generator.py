import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.utils import resample
from sklearn.metrics import mean_squared_error

rng = np.random.RandomState(11)


def bootstraps(X, y, n):
    for _ in range(n):
        idx = rng.randint(0, len(X), len(X))
        left = np.setdiff1d(np.arange(len(X)), idx)
        yield X[idx], y[idx], left


train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
X = train.filter(like="f").to_numpy()
y = train["progression"].to_numpy()
T = test.filter(like="f").to_numpy()

models, oob = [], []
for bx, by, left in bootstraps(X, y, 25):
    m = Ridge(alpha=30).fit(bx, by)
    oob.append(mean_squared_error(y[left], m.predict(X[left])) ** 0.5)
    models.append(m)
print(f"OOB rmse {np.mean(oob):.2f} +- {np.std(oob):.2f}")
test["progression"] = sum(m.predict(T) for m in models) / len(models)
test.to_csv("submission.csv", index=False, columns=["id", "progression"])
