import pandas as pd
import numpy as np
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.preprocessing import OrdinalEncoder
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.metrics import mean_squared_log_error

df = pd.read_csv("input/train.csv")
holdout = df.sample(2000, random_state=0)
fit = df.drop(holdout.index)
estimator = TransformedTargetRegressor(
    make_pipeline(
        make_column_transformer(
            (OrdinalEncoder(), make_column_selector(dtype_include=object)), remainder="passthrough"
        ),
        HistGradientBoostingRegressor(max_iter=80, random_state=0),
    ),
    func=np.log1p,
    inverse_func=np.expm1,
)
columns = [c for c in df if c not in ("id", "price")]
estimator.fit(fit[columns], fit["price"])
print("RMSLE", mean_squared_log_error(holdout["price"], estimator.predict(holdout[columns]).clip(0)) ** 0.5)
test = pd.read_csv("input/test.csv")
answer = test[["id"]].assign(price=estimator.predict(test[columns]).clip(0))
answer.to_csv("submission.csv", index=False)
