import pandas as pd
from sklearn.ensemble import RandomForestClassifier

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
  X = train.drop(columns=["id", "category"])
y = train["category"]
model = RandomForestClassifier()
model.fit(X, y)
