"""Logistic regression on the counts of single letters."""

import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

train = pd.read_csv("input/train.csv", keep_default_na=False)
test = pd.read_csv("input/test.csv", keep_default_na=False)

model = make_pipeline(CountVectorizer(analyzer="char", min_df=5), LogisticRegression(max_iter=1000))
model.fit(train["word"], train["language"])

submission = pd.DataFrame(model.predict_proba(test["word"]), columns=model.classes_)
submission.insert(0, "id", test["id"])
submission.to_csv("submission.csv", index=False)
