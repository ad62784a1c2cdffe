"""Linear discriminant analysis on the raw features."""

import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
features = [column for column in test.columns if column != "id"]

model = LinearDiscriminantAnalysis()
model.fit(train[features], train["category"])

submission = pd.DataFrame(model.predict_proba(test[features]), columns=model.classes_)
submission.insert(0, "id", test["id"])
submission.to_csv("submission.csv", index=False)
