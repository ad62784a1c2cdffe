import pandas as pd

train = pd.read_csv("input/train.csv"
model.fit(train)
