import pandas as pd
from sklearn.linear_model import LogisticRegression

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
X = train.drop(columns=["id", "target", "no_such_column"])
y = train["target"]
model = LogisticRegression()
model.fit(X, y)
pd.DataFrame({"id": test.id, "target": model.predict(test)}).to_csv("submission.csv", index=False)
