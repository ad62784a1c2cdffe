"""The nearest class mean in the space of 20 principal components."""

import pandas as pd
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
pixels = [column for column in train.columns if column.startswith("pixel_")]

model = make_pipeline(PCA(20, random_state=0), NearestCentroid())
model.fit(train[pixels], train["digit"])

submission = pd.DataFrame({"id": test["id"], "digit": model.predict(test[pixels])})
submission.to_csv("submission.csv", index=False)
