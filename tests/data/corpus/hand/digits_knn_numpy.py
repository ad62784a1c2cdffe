import numpy as np

def load(path):
    with open(path) as f:
        header = f.readline().strip().split(",")
        table = np.array([line.strip().split(",") for line in f], dtype=float)
    return header, table

header, train = load("input/train.csv")
_, test = load("input/test.csv")
target = header.index("digit")
X = np.delete(train, [0, target], axis=1)
y = train[:, target].astype(int)
Xt = test[:, 1:]

def knn(A, labels, B, k=3):
    d = (B ** 2).sum(1)[:, None] - 2 * B @ A.T + (A ** 2).sum(1)[None]
    near = np.argsort(d, axis=1)[:, :k]
    return np.array([np.bincount(labels[row]).argmax() for row in near])

n = 800
acc = (knn(X[:n], y[:n], X[n:]) == y[n:]).mean()
print("accuracy on held-out rows: %.4f" % acc)
pred = knn(X, y, Xt)
np.savetxt("submission.csv", np.c_[test[:, 0].astype(int), pred], fmt="%d", delimiter=",", header="id,digit", comments="")
