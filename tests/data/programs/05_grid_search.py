import pandas as pd
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

df_train = pd.read_csv("input/train.csv")
df_test = pd.read_csv("input/test.csv")

pipe = Pipeline([
    ("scale", StandardScaler()),
    ("pca", PCA()),
    ("knn", KNeighborsClassifier()),
])
grid = GridSearchCV(
    pipe,
    {"pca__n_components": [3, 5], "knn__n_neighbors": [3, 7]},
    cv=3,
)
grid.fit(df_train.drop(columns=["id", "target"]), df_train["target"])
best = grid.best_score_
print("best", best)
out = df_test[["id"]].copy()
out["target"] = grid.predict(df_test.drop(columns=["id"]))
out.to_csv("submission.csv", index=False)
