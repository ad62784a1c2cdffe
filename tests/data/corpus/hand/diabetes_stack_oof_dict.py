import pandas as pd
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import RidgeCV, ElasticNetCV, BayesianRidge
from sklearn.svm import SVR
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.model_selection import KFold, cross_val_predict

train = pd.read_csv("input/train.csv", index_col="id")
test = pd.read_csv("input/test.csv", index_col="id")
y = train.pop("progression")

BASE = {
    "ridge": Pipeline([("sc", StandardScaler()), ("m", RidgeCV())]),
    "enet": Pipeline([("sc", StandardScaler()), ("m", ElasticNetCV(random_state=0))]),
    "svr": Pipeline([("sc", StandardScaler()), ("m", SVR(C=50))]),
}
cv = KFold(5, shuffle=True, random_state=0)
oof = pd.DataFrame({k: cross_val_predict(m, train, y, cv=cv) for k, m in BASE.items()})
print(oof.sub(y.values, axis=0).pow(2).mean().pow(.5))
meta = BayesianRidge().fit(oof, y)
level1 = pd.DataFrame({k: clone(m).fit(train, y).predict(test) for k, m in BASE.items()})
sub = pd.DataFrame({"id": test.index, "progression": meta.predict(level1)})
sub.to_csv("./submission.csv", index=False)
