import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

train = pd.read_csv("./input/train.csv"); test = pd.read_csv("./input/test.csv")
features = [c for c in train.columns if c not in ["id", "target"]]
skf = StratifiedKFold(n_splits=3, shuffle=True, random_state=1)
oof = np.zeros((len(train), train["target"].nunique()))
test_pred = np.zeros((len(test), train["target"].nunique()))
for fold, (tr, va) in enumerate(skf.split(train[features], train["target"])):
    clf = HistGradientBoostingClassifier(max_iter=20, random_state=fold)
    clf.fit(train.iloc[tr][features], train.iloc[tr]["target"])
    oof[va] = clf.predict_proba(train.iloc[va][features])
    test_pred += clf.predict_proba(test[features]) / 3
print("oof log loss:", log_loss(train["target"], oof))
sub = pd.DataFrame({"id": test["id"], "target": test_pred.argmax(axis=1)})
sub.to_csv("submission.csv", index=False)
