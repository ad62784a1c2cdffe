import os

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

DATA = "input"


def load_data():
    train = pd.read_csv(os.path.join(DATA, "train.csv"))
    test = pd.read_csv(os.path.join(DATA, "test.csv"))
    return train, test


def build_features(df):
    cols = [c for c in df.columns if c not in ("id", "target")]
    return df[cols].fillna(df[cols].median())


def build_model():
    return RandomForestClassifier(n_estimators=20, random_state=0)


def main():
    train, test = load_data()
    X = build_features(train)
    y = train["target"].values
    model = build_model()
    scores = cross_val_score(model, X, y, cv=3)
    print(f"cv: {np.mean(scores):.4f}")
    model.fit(X, y)
    pred = model.predict(build_features(test))
    pd.DataFrame({"id": test["id"], "target": pred}).to_csv("submission.csv", index=False)


if __name__ == "__main__":
    main()
