import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
X_train = train.drop(columns=["id", "target"])
y_train = train["target"]
rf = RandomForestClassifier(n_estimators=10, random_state=0)
rf.fit(X_train, y_train)
print("Accuracy:", accuracy_score(y_train, rf.predict(X_train)))
with open("submission.csv", "w") as handle:
    print("id,target", file=handle)
    for row, value in zip(test["id"], rf.predict(test[X_train.columns])):
        print(f"{row},{value}", file=handle)
