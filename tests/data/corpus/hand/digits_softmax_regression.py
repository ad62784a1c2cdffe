import numpy as np
import pandas as pd

np.random.seed(1)


def softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def one_hot(y, k=10):
    return np.eye(k)[y]


data = pd.read_csv("input/train.csv").sample(frac=1, random_state=1)
X = data.drop(columns=["id", "digit"]).to_numpy() / 16.0
X = np.hstack([X, np.ones((len(X), 1))])
y = data["digit"].to_numpy()
X_train, y_train, X_val, y_val = X[200:], y[200:], X[:200], y[:200]

W = np.random.randn(X.shape[1], 10) * 0.01
learning_rate, batch = 0.5, 64
for epoch in range(30):
    order = np.random.permutation(len(X_train))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        P = softmax(X_train[rows] @ W)
        grad = X_train[rows].T @ (P - one_hot(y_train[rows])) / len(rows)
        W = W - learning_rate * grad
    if epoch % 10 == 9:
        acc = np.mean(softmax(X_val @ W).argmax(1) == y_val)
        print(f"epoch {epoch + 1}: val acc {acc:.3f}")

test = pd.read_csv("input/test.csv")
T = np.hstack([test.drop(columns="id").to_numpy() / 16.0, np.ones((len(test), 1))])
result = pd.DataFrame({"id": test["id"], "digit": (T @ W).argmax(axis=1)})
result.to_csv("submission.csv", index=False)
