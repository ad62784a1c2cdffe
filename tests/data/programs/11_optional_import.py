import warnings

warnings.filterwarnings("ignore")
import numpy as np
import pandas as pd

try:
    import lightgbm_that_is_not_there as lgb
    HAS_LGB = True
except ImportError:
    HAS_LGB = False
try:
    from xgboost_that_is_not_there import XGBClassifier as Model
except ImportError:
    from sklearn.ensemble import ExtraTreesClassifier as Model

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
X, y = train[[c for c in test.columns if c != "id"]], train["target"]
if HAS_LGB:
    model = lgb.LGBMClassifier()
else:
    model = Model(n_estimators=15, random_state=0)
n = int(len(X) * 0.8)
model.fit(X[:n], y[:n])
X_valid, y_valid = X[n:], y[n:]
print("score", model.score(X_valid, y_valid))
np.savetxt("submission.csv", np.c_[test["id"], model.predict(test[X.columns])], fmt="%d", delimiter=",",
           header="id,target", comments="")
