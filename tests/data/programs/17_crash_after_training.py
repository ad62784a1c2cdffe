import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
scaler = StandardScaler()
Z = scaler.fit_transform(train.drop(columns=["id", "target"]))
clf = LogisticRegression(max_iter=300).fit(Z, train["target"])
print("train accuracy", clf.score(Z, train["target"]))
pred = clf.predict(scaler.transform(test))
submission = pd.DataFrame({"id": test["id"], "target": pred})
submission.to_csv("submission.csv", index=False)
