import numpy as np

raw = np.genfromtxt("input/train.csv", delimiter=",", skip_header=1)
test = np.genfromtxt("input/test.csv", delimiter=",", skip_header=1)
X = raw[:, 1:-1]
y = (raw[:, -1] == 1).astype(float)
mu, sd = X.mean(0), X.std(0)
X = np.c_[np.ones(len(X)), (X - mu) / sd]
X_train, y_train, X_val, y_val = X[40:], y[40:], X[:40], y[:40]
w = np.zeros(X.shape[1])
lr = 0.1
for step in range(2000):
    p = 1 / (1 + np.exp(-X_train @ w))
    grad = X_train.T @ (p - y_train) / len(y_train)
    w -= lr * grad
val_pred = (X_val @ w > 0).astype(float)
print("val accuracy", (val_pred == y_val).mean())
T = np.c_[np.ones(len(test)), (test[:, 1:] - mu) / sd]
f = open("submission.csv", "w")
f.write("id,target\n")
for i, p in zip(test[:, 0].astype(int), (T @ w > 0).astype(int)):
    f.write(f"{i},{p}\n")
f.close()
