import sys

import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

log = []


def print(*values):
    log.append(" ".join(map(str, values)))


train, test = (pd.read_csv(f"input/{part}.csv") for part in ("train", "test"))
columns = test.columns.drop("id")
Xs = StandardScaler().fit(train[columns])
a, b, c, d = train_test_split(Xs.transform(train[columns]), train["target"], random_state=0)
model = SGDClassifier(random_state=0).fit(a, c)
print("held out", np.mean(model.predict(b) == d))
sys.stdout.write("\n".join(log) + "\n")
pd.DataFrame({"id": test["id"], "target": model.predict(Xs.transform(test[columns]))}).to_csv("submission.csv", index=False)
