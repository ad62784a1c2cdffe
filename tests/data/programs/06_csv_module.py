import csv
from collections import Counter

import numpy as np

with open("input/train.csv", newline="") as f:
    reader = csv.DictReader(f)
    rows = list(reader)
names = [k for k in rows[0] if k not in ("id", "target")]
X = np.array([[float(r[k]) for k in names] for r in rows])
y = np.array([int(float(r["target"])) for r in rows])
mean, std = X.mean(0), X.std(0) + 1e-9


class NearestCentroidByHand:
    def fit(self, X, y):
        self.labels = np.unique(y)
        self.centers = np.stack([X[y == k].mean(0) for k in self.labels])
        return self

    def predict(self, X):
        return self.labels[((X[:, None] - self.centers) ** 2).sum(-1).argmin(1)]


split = len(X) * 3 // 4
clf = NearestCentroidByHand().fit((X[:split] - mean) / std, y[:split])
y_val = y[split:]
acc = np.mean(clf.predict((X[split:] - mean) / std) == y_val)
print(Counter(y.tolist()), f"val acc {acc:.3f}")
with open("input/test.csv", newline="") as f:
    test = list(csv.DictReader(f))
T = (np.array([[float(r[k]) for k in names] for r in test]) - mean) / std
with open("submission.csv", "w", newline="") as f:
    writer = csv.writer(f)
    writer.writerow(["id", "target"])
    for r, p in zip(test, clf.predict(T)):
        writer.writerow([r["id"], p])
