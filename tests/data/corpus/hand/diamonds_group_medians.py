"""No learner at all: the median price of similar stones."""
import pandas as pd
import numpy as np

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
bins = np.quantile(train.carat, np.linspace(0, 1, 41))
bins[0], bins[-1] = -np.inf, np.inf
bins = np.unique(bins)
for t in (train, test):
    t["bucket"] = pd.cut(t.carat, bins, labels=False)
table = train.groupby(["bucket", "clarity"]).price.median()
coarse = train.groupby("bucket").price.median()
key = pd.MultiIndex.from_frame(test[["bucket", "clarity"]])
price = table.reindex(key).to_numpy()
price = np.where(np.isnan(price), test.bucket.map(coarse), price)
pd.DataFrame({"id": test.id, "price": price}).to_csv("submission.csv", index=False)
