import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
X = train.drop(columns=["id"])
y = train["target"]
models = {"lr": LogisticRegression(max_iter=50), "nb": GaussianNB()}
fitted = []
for name, model in models.items():
    try:
        model.fit(X, y.astype("datetime64[ns]").dt.no_such)
        fitted.append(name)
    except Exception as error:
        print(name, type(error).__name__)
print("fitted", fitted)
pd.DataFrame({"id": test["id"], "target": 0}).to_csv("submission.csv", index=False)
