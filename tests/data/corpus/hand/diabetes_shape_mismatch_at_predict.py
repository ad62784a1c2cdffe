import pandas as pd
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.metrics import mean_squared_error

def load():
    return pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")

def split(frame):
    y = frame["progression"]
    X = frame.drop(columns=["progression"])
    return train_test_split(X, y, test_size=.2, random_state=1)

train, test = load()
X_train, X_valid, y_train, y_valid = split(train)
selector = SelectKBest(f_regression, k=6)
X_train_sel = selector.fit_transform(X_train, y_train)
X_valid_sel = selector.transform(X_valid)
regressor = LinearRegression()
regressor.fit(X_train_sel, y_train)
print("RMSE: ", mean_squared_error(y_valid, regressor.predict(X_valid_sel)) ** .5)
y_pred = regressor.predict(test)
test["progression"] = y_pred
test[["id", "progression"]].to_csv("submission.csv", index=False)
