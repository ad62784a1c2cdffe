import re
import pandas as pd
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.feature_extraction.text import TfidfVectorizer, HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.metrics import log_loss, classification_report

SEED = 0


def clean(s):
    return re.sub(r"\s+", " ", str(s).lower())


def main():
    train = pd.read_csv("input/train.csv", keep_default_na=False)
    test = pd.read_csv("input/test.csv", keep_default_na=False)
    sample = pd.read_csv("input/sample_submission.csv")
    train["word"] = train["word"].map(clean)
    test["word"] = test["word"].map(clean)
    union = FeatureUnion([
        ("char", TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2)),
        ("wb", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), min_df=3)),
    ])
    clf = Pipeline([("features", union), ("clf", SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=15, random_state=SEED))])
    X_tr, X_va, y_tr, y_va = train_test_split(train.word, train.language, test_size=0.1, stratify=train.language, random_state=SEED)
    clf.fit(X_tr, y_tr)
    print(classification_report(y_va, clf.predict(X_va)))
    print("log loss", log_loss(y_va, clf.predict_proba(X_va), labels=clf.classes_))
    proba = clf.predict_proba(test.word)
    for i, c in enumerate(clf.classes_):
        sample[c] = proba[:, i]
    sample.to_csv("submission.csv", index=False)


main()
