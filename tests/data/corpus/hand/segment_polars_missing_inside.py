def solve():
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    import polars as pl
    train = pl.read_csv("input/train.csv")
    X = train.drop("id", "category").to_numpy()
    clf = LogisticRegression().fit(X, train["category"].to_numpy())
    test = pl.read_csv("input/test.csv")
    out = pl.DataFrame(clf.predict_proba(test.drop("id").to_numpy()), schema=list(clf.classes_))
    out.insert_column(0, test["id"]).write_csv("submission.csv")


solve()
