"""Logistic regression on all columns."""
from __future__ import annotations

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
sub = pd.read_csv("input/sample_submission.csv")

X = train.drop(columns=["id", "target"])
y = train["target"]
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.2, random_state=0)

model = LogisticRegression(max_iter=500)
model.fit(X_train, y_train)
print("accuracy", accuracy_score(y_val, model.predict(X_val)))

sub["target"] = model.predict(test.drop(columns=["id"]))
sub.to_csv("submission.csv", index=False)
