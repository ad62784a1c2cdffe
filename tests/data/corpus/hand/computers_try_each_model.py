import pandas as pd
import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.linear_model import LinearRegression, Lasso
from sklearn.tree import DecisionTreeRegressor

try:
    import lightgbm as lgb
    HAVE_LGB = True
except ImportError:
    HAVE_LGB = False
    print("no lightgbm, falling back")

df = pd.read_csv("input/train.csv")
df_test = pd.read_csv("input/test.csv")
y = df["price"].values
X = pd.get_dummies(df.drop(["id", "price"], axis=1), drop_first=True)
X_test = pd.get_dummies(df_test.drop("id", axis=1), drop_first=True).reindex(columns=X.columns, fill_value=0)
X_tr, X_va, y_tr, y_va = train_test_split(X, y, random_state=3)

candidates = []
if HAVE_LGB:
    candidates.append(("lgb", lgb.LGBMRegressor(n_estimators=200)))
candidates += [("ols", LinearRegression()), ("lasso", Lasso(alpha=1.0)), ("tree", DecisionTreeRegressor(max_depth=8, random_state=0))]
results = {}
for name, est in candidates:
    try:
        est.fit(X_tr, y_tr)
        results[name] = np.sqrt(np.mean((est.predict(X_va) - y_va) ** 2))
        print(f"{name:8s} {results[name]:.2f}")
    except Exception as e:
        print(name, "failed:", e)
best = min(results, key=results.get)
print("using", best)
final = dict(candidates)[best].fit(X, y)
pd.DataFrame({"id": df_test["id"], "price": final.predict(X_test)}).to_csv("submission.csv", index=False)
