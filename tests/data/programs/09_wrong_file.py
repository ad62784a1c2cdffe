import pandas as pd
from sklearn.ensemble import RandomForestClassifier

train = pd.read_csv("input/training_data.csv")
model = RandomForestClassifier()
model.fit(train.drop("target", axis=1), train["target"])
