import sys

import pandas as pd
from sklearn.dummy import DummyClassifier


def main(argv):
    train = pd.read_csv("input/train.csv")
    if len(train) > 10:
        print("too much data")
        return 3
    X = train.drop(columns="target")
    model = DummyClassifier().fit(X, train["target"])
    model.predict(X)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
