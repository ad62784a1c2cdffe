import numpy as np
import pandas as pd


class LinearGD:
    def __init__(self, lr=0.05, n_iter=400, l2=0.1):
        self.lr, self.n_iter, self.l2 = lr, n_iter, l2

    def fit(self, X, y):
        n, d = X.shape
        self.w = np.zeros(d)
        self.b = y.mean()
        for _ in range(self.n_iter):
            err = X @ self.w + self.b - y
            self.w -= self.lr * (X.T @ err / n + self.l2 * self.w / n)
            self.b -= self.lr * err.mean()
        return self

    def predict(self, X):
        return X @ self.w + self.b


def rmse(a, b):
    return float(np.sqrt(np.mean((np.asarray(a) - np.asarray(b)) ** 2)))


df = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
cols = [f"f{i}" for i in range(10)]
mean, std = df[cols].mean(), df[cols].std()
Z = ((df[cols] - mean) / std).values
t = df["progression"].values.astype(float)
split = 240
lin = LinearGD().fit(Z[:split], t[:split])
print("train", rmse(lin.predict(Z[:split]), t[:split]))
print("valid", rmse(lin.predict(Z[split:]), t[split:]))
lin = LinearGD().fit(Z, t)
with open("submission.csv", "w") as f:
    f.write("id,progression\n")
    for i, v in zip(test["id"], lin.predict(((test[cols] - mean) / std).values)):
        f.write(f"{i},{v}\n")
