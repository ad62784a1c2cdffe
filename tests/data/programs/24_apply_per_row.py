import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_predict


def to_text(row):
    X = [f"c{i}_{int(v)}" for i, v in enumerate(row)]
    return " ".join(X)


df = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
columns = [c for c in test.columns if c != "id"]
text = df[columns].apply(to_text, axis=1)
vectorizer = TfidfVectorizer(token_pattern=r"\S+")
tfidf = vectorizer.fit_transform(text)
clf = LogisticRegression(C=10)
oof = cross_val_predict(clf, tfidf, df["target"], cv=3)
print("OOF", accuracy_score(df["target"], oof))
clf.fit(tfidf, df["target"])
test["target"] = clf.predict(vectorizer.transform(test[columns].apply(to_text, axis=1)))
test[["id", "target"]].to_csv("submission.csv", index=False)
