import pandas as pd
from sklearn.ensemble import GradientBoostingRegressor

class Config:
    train_path = "input/train.csv"
    test_path = "input/test.csv"
    target = "Price"

cfg = Config()
train = pd.read_csv(cfg.train_path)
test = pd.read_csv(cfg.test_path)
y = train[cfg.target]
X = train.drop(columns=["id", cfg.target])
reg = GradientBoostingRegressor()
reg.fit(X, y)
test["price"] = reg.predict(test.drop(columns="id"))
test[["id", "price"]].to_csv("submission.csv", index=False)
