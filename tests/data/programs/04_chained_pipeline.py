import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

train = pd.read_csv("input/train.csv", index_col="id")
test = pd.read_csv("input/test.csv", index_col="id")
preds = make_pipeline(StandardScaler(), SVC()).fit(train.drop("target", axis=1), train["target"]).predict(test)
pd.Series(preds, index=test.index, name="target").to_csv("submission.csv")
