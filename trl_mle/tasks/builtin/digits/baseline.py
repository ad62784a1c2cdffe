"""Logistic regression on the pixels."""

import pandas as pd
from sklearn.linear_model import LogisticRegression

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
pixels = [column for column in train.columns if column.startswith("pixel_")]

model = LogisticRegression(max_iter=1000)
model.fit(train[pixels] / 16.0, train["digit"])

submission = pd.DataFrame({"id": test["id"], "digit": model.predict(test[pixels] / 16.0)})
submission.to_csv("submission.csv", index=False)
