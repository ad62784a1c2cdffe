"""Soft vote of a support vector machine, extremely randomised trees and nearest neighbours, after a grid search."""

import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
pixels = [column for column in train.columns if column.startswith("pixel_")]
x, y, x_test = train[pixels].to_numpy() / 16.0, train["digit"].to_numpy(), test[pixels].to_numpy() / 16.0

folds = StratifiedKFold(5, shuffle=True, random_state=0)
search = GridSearchCV(SVC(), {"C": [1, 3, 10, 30], "gamma": [0.02, 0.05, 0.1, 0.2]}, cv=folds)
search.fit(x, y)
print(f"validation accuracy of the best SVC {search.best_params_}: {search.best_score_:.4f}")

trees = ExtraTreesClassifier(500, random_state=0)
print(f"validation accuracy of the trees: {cross_val_score(trees, x, y, cv=folds).mean():.4f}")

scores = search.best_estimator_.decision_function(x_test)
scores = (scores - scores.min(axis=1, keepdims=True)) / (scores.max(axis=1) - scores.min(axis=1))[:, None]
votes = (
    2.0 * scores
    + trees.fit(x, y).predict_proba(x_test)
    + 0.5 * KNeighborsClassifier(3, weights="distance").fit(x, y).predict_proba(x_test)
)
submission = pd.DataFrame({"id": test["id"], "digit": search.classes_[votes.argmax(axis=1)]})
submission.to_csv("submission.csv", index=False)
