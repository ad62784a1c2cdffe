def load():
    import pandas as pd

    return pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")


def train_and_predict(train, test):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    cols = [c for c in test.columns if c != "id"]
    lda = LinearDiscriminantAnalysis()
    lda.fit(train[cols], train["target"])
    return lda.predict(test[cols])


train, test = load()
prediction = train_and_predict(train, test)
out = test[["id"]].assign(target=prediction)
out.to_csv("submission.csv", index=False)
