import pandas as pd, numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.model_selection import StratifiedKFold
from sklearn.ensemble import RandomForestClassifier
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis, LinearDiscriminantAnalysis
from sklearn.metrics import log_loss

tr, te = (pd.read_csv(f"input/{n}.csv") for n in ("train", "test"))
ss = pd.read_csv("input/sample_submission.csv")
le = LabelEncoder().fit(tr.category)
y = le.transform(tr.category)
cols = tr.columns.difference(["id", "category"])

def get_models():
    yield "rf", RandomForestClassifier(60, min_samples_leaf=2, random_state=1)
    yield "lda", LinearDiscriminantAnalysis()

oofs, tests = {}, {}
for name, clf in get_models():
    oof = np.zeros((len(tr), len(le.classes_)))
    p = np.zeros((len(te), len(le.classes_)))
    for a, b in StratifiedKFold(4, shuffle=True, random_state=7).split(tr, y):
        clf.fit(tr.loc[a, cols], y[a])
        oof[b] = clf.predict_proba(tr.loc[b, cols])
        p += clf.predict_proba(te[cols]) / 4
    oofs[name], tests[name] = oof, p
    print(name, log_loss(y, oof))
best_w, best_s = 0, 9
for w in np.arange(0, 1.01, .1):
    s = log_loss(y, w * oofs["rf"] + (1 - w) * oofs["lda"])
    if s < best_s:
        best_w, best_s = w, s
print("blend", best_w, best_s)
ss[le.classes_] = best_w * tests["rf"] + (1 - best_w) * tests["lda"]
ss.to_csv("submission.csv", index=False)
